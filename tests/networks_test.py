"""Users' own Keras networks, by every rule: against plain Keras, and as Keras takes them."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import assert_close, gradients, make_learner, randomize

pytestmark = pytest.mark.usefixtures("double_precision")

# Each function returns a network, and its loss if not the default.


def fused_convolutions():
    inputs = keras.Input((9, 8, 2))
    x = layers.ZeroPadding2D()(inputs)
    x = layers.Conv2D(3, 3, strides=2, activation="relu")(x)
    x = layers.Conv2D(4, 2, dilation_rate=2, padding="same", activation="tanh")(x)
    x = layers.MaxPooling2D()(x)
    return keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))


def dropout():
    inputs = keras.Input((5,))
    x = layers.Dropout(0.4)(layers.Dense(20, activation="relu")(inputs))
    x = layers.GaussianNoise(0.3)(layers.Dense(20, activation="relu")(x))
    return keras.Model(inputs, layers.Dense(2)(x))


def normalizations():
    inputs = keras.Input((5, 4))
    x = layers.Dense(4)(layers.BatchNormalization()(inputs))
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    x = layers.LayerNormalization()(layers.Dense(4, activation="tanh")(x))
    x = layers.GroupNormalization(2)(layers.Dense(4)(x))
    return keras.Model(inputs, layers.Dense(2)(x))


def inference_mode_normalization():
    # As in Keras, `training` of the call of the whole network takes precedence.
    inputs = keras.Input((5,))
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(4), layers.BatchNormalization()])
    x = layers.BatchNormalization()(inner(inputs, training=False), training=False)
    return keras.Model(inputs, layers.Dense(2)(x))


def regularizers():
    options = {"kernel_regularizer": "l2", "bias_regularizer": "l1"}
    inputs = keras.Input((5,))
    x = layers.BatchNormalization(gamma_regularizer="l2")(layers.Dense(4, **options)(inputs))
    return keras.Model(inputs, layers.Dense(2, **options)(layers.LeakyReLU()(x)))


def nested():
    inputs = keras.Input((5,))
    x = layers.Dropout(0.5)(layers.BatchNormalization()(layers.Dense(8, "relu")(inputs)))
    inner = keras.Model(inputs, x)
    head = keras.Sequential([layers.Dense(4, activation="tanh"), layers.Dense(2)])
    return keras.Sequential([keras.Input((5,)), inner, layers.Dense(5, activation="tanh"), head])


def shared():
    dense, norm = layers.Dense(5, activation="tanh"), layers.BatchNormalization()
    inputs = keras.Input((5,))
    x = norm(dense(norm(dense(inputs))))
    return keras.Model(inputs, layers.Dense(2)(layers.Concatenate()([x, dense(inputs)])))


class Composite(layers.Layer):
    """A user's layer that is made of layers, some with a state."""

    def __init__(self):
        super().__init__()
        self.parts = [layers.Dense(6), layers.BatchNormalization(), layers.Dropout(0.4)]

    def build(self, input_shape):
        for part in self.parts:
            part.build(input_shape)

    def call(self, inputs, training=None):
        dense, norm, drop = self.parts
        return inputs + drop(ops.relu(norm(dense(inputs), training=training)), training=training)


def composite():
    inputs = keras.Input((6,))
    return keras.Model(inputs, layers.Dense(2)(Composite()(Composite()(inputs))))


def graph():
    first, second = keras.Input((4,)), keras.Input((5,))
    x = layers.Dense(5, activation="tanh")(first)
    x = layers.Add()([x, layers.Dense(5)(layers.Concatenate()([x, second]))])
    gate = ops.sigmoid(layers.Dense(5)(second))
    x = layers.PReLU("ones")(x * gate + 0.1 * x**2)
    left, right = ops.split(layers.Dense(4)(x), 2, axis=-1)
    outputs = {"a": left, "b": layers.Dense(3)(right), "x": x}
    return keras.Model([first, second], outputs), dict.fromkeys(outputs, "mse")


def named_outputs():
    inputs = keras.Input((4,))
    x = layers.Dense(3, activation="tanh")(inputs)
    outputs = [layers.Dense(2, name="a")(x), layers.Dense(3, name="b")(x)]
    return keras.Model(inputs, outputs), {"a": "mse", "b": "mae"}


def one_tensor_as_two_outputs():
    inputs = keras.Input((4,))
    outputs = layers.Dense(2, name="same")(layers.Dense(3, activation="tanh")(inputs))
    return keras.Model(inputs, [outputs, outputs]), ["mse", "mae"]


def frozen_layers():
    network = normalizations()
    for index in (2, 3, 6):
        network.layers[index].trainable = False
    return network


def probabilities():
    inputs = keras.Input((4,))
    x = layers.Dense(5, activation="tanh")(inputs)
    return keras.Model(inputs, layers.Dense(3, "softmax")(x)), "categorical_crossentropy"


def binary_probabilities():
    inputs = keras.Input((4,))
    x = layers.Dense(3)(layers.Dense(5, activation="tanh")(inputs))
    return keras.Model(inputs, layers.Activation("sigmoid")(x)), "binary_crossentropy"


NETWORKS = (
    fused_convolutions,
    dropout,
    normalizations,
    inference_mode_normalization,
    regularizers,
    nested,
    shared,
    composite,
    graph,
    named_outputs,
    one_tensor_as_two_outputs,
    frozen_layers,
    probabilities,
    binary_probabilities,
)


def each(*networks):
    return pytest.mark.parametrize("network", networks, ids=lambda network: network.__name__)


all_networks = each(*NETWORKS)


def make_case(make):
    """Returns a network at random weights, its loss, inputs and targets."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    network = make()
    network, loss = network if isinstance(network, tuple) else (network, "mse")
    randomize(network.trainable_variables, rng)
    x = [rng.normal(size=(6, *symbol.shape[1:])) for symbol in network.inputs]
    x = x if len(x) > 1 else x[0]
    y = keras.tree.map_structure(
        lambda output: rng.dirichlet(np.ones(output.shape[-1]), output.shape[:-1]), network(x)
    )
    return network, loss, x, y


@all_networks
def test_backprop_is_plain_keras(network):
    network, loss, x, y = make_case(network)
    learner = make_learner(network, "backprop", loss)
    updates = learner.updates(x, y)  # First, since plain Keras draws new dropout masks.
    assert_close(updates, gradients(learner, x, y))


@all_networks
def test_at_initialization_the_align_rules_are_backprop(network):
    network, loss, x, y = make_case(network)
    expected = make_learner(network, "backprop", loss).updates(x, y)
    for rule in ("align_zero", "align_ada", "align_prop"):
        assert_close(make_learner(network, rule, loss).updates(x, y), expected, name=rule)


@all_networks
@pytest.mark.parametrize("rule", ["backprop", "align_ada"])
def test_a_step_leaves_the_state_of_plain_keras(network, rule):
    plain, loss, x, y = make_case(network)
    plain.compile(keras.optimizers.SGD(0.1), loss, run_eagerly=True)
    network, *_ = make_case(network)
    learner = make_learner(network, rule, loss, run_eagerly=True)
    before = [variable.numpy() for variable in network.variables]
    learner.updates(x, y)
    for variable, value in zip(network.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    randomize(learner.initial_weights, np.random.default_rng(1))
    logs = learner.train_on_batch(x, y, return_dict=True)
    for name, value in plain.train_on_batch(x, y, return_dict=True).items():
        np.testing.assert_allclose(logs[name], value, rtol=1e-9, err_msg=name)
    left, right = (
        model.variables if rule == "backprop" else model.non_trainable_variables
        for model in (network, plain)
    )
    for ours, theirs in zip(left, right, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12, err_msg=ours.path)


@each(nested, normalizations)
@pytest.mark.parametrize("rule", ["align_ada", "feedback_alignment"])
def test_a_graph_step_is_an_eager_one(network, rule):
    results = []
    for run_eagerly in (False, True):
        network_, loss, x, y = make_case(network)
        learner = make_learner(network_, rule, loss, run_eagerly=run_eagerly)
        for _ in range(3):
            learner.train_on_batch(x, y)
        results.append(learner.variables)
    assert_close(*results)


def named_inputs():
    second, first = keras.Input((3,), name="second"), keras.Input((3,), name="first")
    return keras.Model([second, first], layers.Dense(2)(layers.Concatenate()([second, first])))


def scalar_input():
    inputs = keras.Input((1,))
    return keras.Model(inputs, layers.Dense(2)(layers.Dense(3, activation="tanh")(inputs)))


@pytest.mark.parametrize(
    ("network", "feed"),
    [
        (named_inputs, lambda x: {"first": x[1], "second": x[0]}),
        (named_inputs, lambda x: {"another": 0 * x[0], "first": x[1], "second": x[0]}),
        (scalar_input, lambda x: x[:, 0]),
    ],
    ids=["names", "more_names_than_inputs", "no_last_axis"],
)
def test_inputs_are_taken_as_keras_takes_them(network, feed):
    network, loss, x, y = make_case(network)
    learner = make_learner(network, "backprop", loss)
    expected = gradients(learner, x, y)
    assert_close(gradients(learner, feed(x), y), expected)
    assert_close(learner.updates(feed(x), y), expected)


def test_sample_weights():
    network, loss, x, y = make_case(fused_convolutions)
    learner = make_learner(network, "align_ada", loss)
    randomize(network.trainable_variables, np.random.default_rng(1))
    weights = np.array([2.0, 0.0] * 3)
    assert_close(learner.updates(x, y, weights), learner.updates(x[::2], y[::2]))
