"""Layers of users, registered as maps."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import wna_tf
from tests.helpers import assert_close, gradients, make_learner, randomize


class Shifted(layers.Layer):
    """A user's layer with a kernel of its own."""

    def build(self, input_shape):
        self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1], 8))
        self.shift = self.add_weight(name="shift", shape=(8,))

    def call(self, x):
        return ops.tanh(x @ self.kernel + self.shift)


class Split(layers.Layer):
    """A user's layer with two outputs, in a dict."""

    def build(self, input_shape):
        self.gain = self.add_weight(name="gain", shape=input_shape[-1:], initializer="ones")

    def call(self, x):
        return {"gained": x * self.gain, "same": x + 0}


def expand_shifted(layer, emit, x):
    z = emit.affine(layer, ops.matmul, x, layer.kernel, layer.shift)
    return emit.activation(ops.tanh, z)


def expand_split(layer, emit, x):
    gained, same = emit.local_outputs(2, layer, x)
    return {"gained": gained, "same": same}


@pytest.fixture(autouse=True)
def _forget(monkeypatch):
    from wna_tf.graph import registry

    monkeypatch.setattr(registry, "_EXPANSIONS", dict(registry._EXPANSIONS))


def make_network():
    inputs = keras.Input((5,))
    parts = Split()(Shifted(name="shifted")(inputs))
    return keras.Model(inputs, layers.Dense(2)(ops.concatenate(list(parts.values()), axis=-1)))


@pytest.mark.usefixtures("double_precision")
def test_a_registered_layer_is_trained_by_every_rule():
    wna_tf.register_layer(Shifted)(expand_shifted)
    wna_tf.register_layer(Split)(expand_split)
    network = make_network()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 5)), rng.normal(size=(6, 2))
    learner = make_learner(network, "backprop")
    assert_close(learner.updates(x, y), gradients(learner, x, y))
    for rule in ("align_zero", "align_ada", "align_prop"):
        assert_close(make_learner(network, rule).updates(x, y), learner.updates(x, y))
    random = make_learner(network, "feedback_alignment")
    assert [weights.shape for weights in random.feedback_weights] == [(5, 8), (16, 2)]
    randomize(network.trainable_variables, rng)
    for weights, kernel in zip(
        random.feedback_weights, network.trainable_variables[::3], strict=True
    ):
        weights.assign(kernel)
    assert_close(random.updates(x, y), gradients(learner, x, y))


def test_an_error_of_a_registered_function_is_told_as_its_own():
    @wna_tf.register_layer(Shifted)
    def expand(layer, emit, x):
        return emit.affine(layer, ops.matmul, x, layer.kernel, layer.shift) + 1

    with pytest.raises(TypeError, match="unsupported operand") as raised:
        make_learner(make_network(), "backprop")
    assert "expand, which is registered for <Shifted name=shifted" in raised.value.__notes__[0]


@pytest.mark.parametrize("returned", [None, "z", [], ["x", "x"]])
def test_a_registered_function_that_returns_no_places_is_told(returned):
    @wna_tf.register_layer(Shifted)
    def expand(layer, emit, x):
        return [x if leaf == "x" else leaf for leaf in returned] if returned else returned

    with pytest.raises(TypeError, match=r"Expected .*places of .* Received: "):
        make_learner(make_network(), "backprop")


def test_arguments_that_a_registered_function_does_not_take_are_refused():
    @wna_tf.register_layer(Shifted)
    def expand(layer, emit):
        del layer, emit

    with pytest.raises(ValueError, match=r"layer 'shifted' of class Shifted: it is called with"):
        make_learner(make_network(), "backprop")
