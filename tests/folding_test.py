"""What a normalization undoes is left out of the map before it, and nothing else changes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl

import wna_tf
from wna_tf import layers
from wna_tf.graph.tracing import trace

normalize = layers.BatchStatisticsNormalization


def chain(*operations, input_shape=(6, 6, 2)):
    return keras.Sequential([keras.Input(input_shape), *operations])


def branched():
    x = inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, name="first")(x)
    return keras.Model(inputs, kl.Concatenate()([normalize()(x), x]))


def output_beside():
    inputs = keras.Input((5,))
    x = layers.Dense(3, name="first")(inputs)
    return keras.Model(inputs, [normalize()(x), x])


NETWORKS = {
    "ntk": lambda: chain(layers.Conv2D(4, 3, name="first"), normalize(), kl.ReLU()),
    "standard": lambda: chain(layers.Conv2D(4, 3, "standard", name="first"), normalize()),
    "keras": lambda: chain(kl.Conv2D(4, 3, name="first"), normalize()),
    "no_bias": lambda: chain(layers.Conv2D(4, 3, use_bias=False, name="first"), normalize()),
    "channels_first": lambda: chain(
        kl.Dense(3, name="first"), kl.Permute((3, 1, 2)), normalize(), kl.Flatten()
    ),
    "dense": lambda: chain(layers.Dense(3, name="first"), normalize(), input_shape=(5,)),
    "branched": branched,
    "output_beside": output_beside,
    "keras_normalization": lambda: chain(kl.Dense(3, name="first"), kl.BatchNormalization()),
}
FOLDED = ("ntk", "standard", "keras", "no_bias", "dense")


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_statistics_and_updates_stay(name, double_precision):
    rng = np.random.default_rng(0)
    network = NETWORKS[name]()
    for variable in network.trainable_variables:
        variable.assign_add(rng.normal(size=variable.shape))
    x = tf.constant(rng.normal(size=(6, *network.input_shape[1:])))
    learner = wna_tf.Learner(network, "backprop")
    learner.compile(loss="mse")
    at = learner.evaluate_networks(x)["current"]
    moved = [at.state.get_current_value(v) for v in network.non_trainable_variables]
    with tf.GradientTape() as tape:
        outputs = network(x, training=True)
        y = keras.tree.map_structure(lambda output: rng.normal(size=output.shape), outputs)
        loss = learner.compute_loss(x, y, outputs)
    for actual, expected in zip(at.outputs, keras.tree.flatten(outputs), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)
    for actual, expected in zip(moved, network.non_trainable_variables, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)
    gradients = tape.gradient(loss, network.trainable_variables)
    for actual, expected in zip(learner.updates(x, y), gradients, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"no_bias"}))
def test_only_what_is_but_normalized_is_folded(name):
    network = NETWORKS[name]()
    (step,) = trace(network).affine_maps
    x, kernel = tf.ones((1, *network.input_shape[1:])), tf.convert_to_tensor(step.kernel)
    zero, one = (step.apply(x, kernel, tf.fill(step.weights[1].shape, c)) for c in (0.0, 1.0))
    assert np.array_equal(zero, one) == (name in FOLDED)


def test_a_folded_bias_has_an_update_that_is_exactly_zero():
    learner = wna_tf.Learner(NETWORKS["ntk"](), "align_ada")
    learner.compile(loss="mse")
    rng = np.random.default_rng(0)
    kernel, bias = learner.updates(rng.normal(size=(6, 6, 6, 2)), rng.normal(size=(6, 4, 4, 4)))
    assert np.any(kernel) and not np.any(bias)
