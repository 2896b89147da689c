"""The error: what a loss looks at, and the deltas that begin there."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import wna_tf
from tests.helpers import assert_close, gradients, make_learner, precision

LAST = {
    "fused_softmax": (lambda: [layers.Dense(3, activation="softmax")], "categorical_crossentropy"),
    "softmax_layer": (lambda: [layers.Dense(3), layers.Softmax()], "categorical_crossentropy"),
    "sparse": (lambda: [layers.Dense(3, activation="softmax")], "sparse_categorical_crossentropy"),
    "sigmoid": (lambda: [layers.Dense(3), layers.Activation("sigmoid")], "binary_crossentropy"),
    "function": (
        lambda: [layers.Dense(3, activation=lambda z: keras.ops.softmax(2 * z))],
        "categorical_crossentropy",
    ),
    "of_the_outputs": (lambda: [layers.Dense(3, activation="softmax")], "mse"),
}


def make_network(name, scale=1.0):
    make_last, loss = LAST[name]
    hidden = layers.Dense(5, activation="tanh")
    network = keras.Sequential([keras.Input((4,)), hidden, *make_last()])
    for variable in network.trainable_variables:
        variable.assign(scale * np.random.default_rng(0).normal(size=variable.shape))
    return network, loss


def make_batch(loss):
    labels = np.arange(6) % 3
    x = np.random.default_rng(1).normal(size=(6, 4))
    return x, labels if "sparse" in loss else np.eye(3)[labels]


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("name", LAST)
def test_a_loss_looks_through_a_last_activation_as_in_keras(name, scale):
    network, loss = make_network(name, scale)
    learner = make_learner(network, "backprop", loss)
    x, y = make_batch(loss)
    for run in (lambda f: f, lambda f: tf.function(f, autograph=False)):
        expected = run(lambda: gradients(learner, x, y))()
        actual = run(lambda: learner.updates(x, y))()
        if scale == 1 or loss != "mse":  # A saturated softmax sends nothing through.
            assert_close(actual, expected)


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("rule", ["align_zero", "align_ada", "align_prop", "linearized"])
def test_the_align_rules_begin_with_the_same_error(rule):
    network, loss = make_network("fused_softmax")
    x, y = make_batch(loss)
    expected = make_learner(network, "backprop", loss).updates(x, y)
    if rule == "linearized":  # It has no probabilities, so that there is nothing to look through.
        loss = "mse"
        expected = make_learner(network, "backprop", loss).updates(x, y)
    assert_close(make_learner(network, rule, loss).updates(x, y), expected)


@pytest.mark.usefixtures("double_precision")
def test_direct_feedback_projects_the_error_of_the_logits():
    network, loss = make_network("fused_softmax")
    learner = make_learner(network, "direct_feedback_alignment", loss)
    x, y = make_batch(loss)
    hidden = network.layers[0]
    h = np.tanh(x @ hidden.kernel.numpy() + hidden.bias.numpy())
    (feedback,) = learner.feedback_weights
    delta = (network(x).numpy() - y) / len(x) @ feedback.numpy().T * (1 - h**2)
    assert_close(learner.updates(x, y)[:2], [x.T @ delta, delta.sum(0)])


def test_a_softmax_of_a_part_of_its_input_is_not_looked_through():
    inputs = keras.Input((4,))
    x = layers.Dense(5)(layers.Dense(4, activation="tanh")(inputs))
    network = keras.Model(inputs, layers.Lambda(lambda z: keras.ops.softmax(z[:, :3]))(x))
    x, y = make_batch("categorical_crossentropy")
    for rule in ("backprop", "direct_feedback_alignment"):
        learner = make_learner(network, rule, "categorical_crossentropy")
        assert all(np.all(np.isfinite(update)) for update in learner.updates(x, y))
    learner = make_learner(network, "backprop", "categorical_crossentropy")
    assert_close(learner.updates(x, y), gradients(learner, x, y), 1e-4)


def test_forward_credit_finds_the_error_of_the_logits():
    network, loss = make_network("fused_softmax")
    x, y = make_batch(loss)
    exact = wna_tf.Learner(network, "align_zero")
    estimate = wna_tf.Learner(network, "align_zero", credit=wna_tf.credit.Forward(3000))
    kernels = []
    for learner in (exact, estimate):
        learner.compile("sgd", loss)
        kernels.append(np.ravel(learner.updates(x, y)[0]))
    assert np.corrcoef(*kernels)[0, 1] > 0.95


def test_a_probability_in_single_precision_behind_a_half_precise_network():
    with precision("mixed_bfloat16"):
        inputs = keras.Input((4,))
        x = layers.Dense(3)(layers.Dense(5, activation="tanh")(inputs))
        x = layers.Activation("softmax", dtype="float32")(x)
        learner = make_learner(keras.Model(inputs, x), "backprop", "categorical_crossentropy")
    x, y = make_batch("categorical_crossentropy")
    assert_close(learner.updates(x, y), gradients(learner, x, y), 0.02)


def test_an_output_that_is_there_twice_has_two_errors():
    inputs = keras.Input((4,))
    outputs = layers.Dense(3, activation="softmax")(inputs)
    learner = wna_tf.Learner(keras.Model(inputs, [outputs, outputs]), "backprop")
    learner.compile("sgd", ["categorical_crossentropy", "mse"])
    x, y = make_batch("categorical_crossentropy")
    assert_close(learner.updates(x, [y, y]), gradients(learner, x, [y, y]), 1e-5)


def test_direct_feedback_refuses_a_loss_that_looks_at_more_than_one_place():
    network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3), keras.layers.Dense(2)])
    learner = wna_tf.Learner(network, "direct_feedback_alignment")
    learner.compile("sgd", "mse")
    context = learner._learn(np.ones((2, 4), "float32"), np.ones((2, 2)), None).context
    twice = dataclasses.replace(context, errors=[*context.errors, *context.errors])
    with pytest.raises(ValueError, match=r"^Expected a loss that looks at one output.* 2 places"):
        learner.rule.feedback.project(twice)
