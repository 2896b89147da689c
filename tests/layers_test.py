"""Layers against their formulas."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from wna_tf import layers
from wna_tf.layers.normalization import normalize


@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
def test_affine_layers_are_scaled_by_their_fan_in(parameterization):
    x = np.random.default_rng(0).normal(size=(4, 6, 5, 3)).astype("float32")
    convolution = layers.Conv2D(2000, 3, parameterization, padding="same")
    dense = layers.Dense(3000, parameterization)
    z, f = convolution(x), dense(x.reshape(4, -1))
    for layer, outputs, fan_in in ((convolution, z, 27), (dense, f, 90)):
        factor = fan_in**-0.5
        kernel = layer.kernel.numpy()
        deviation, scale = (1, factor) if parameterization == "ntk" else (factor, 1)
        np.testing.assert_allclose(kernel.std(), deviation, rtol=0.02)
        assert abs(kernel.mean()) < 0.02 * deviation
        flat = x.reshape(4, -1) if layer is dense else x
        plain = tf.nn.conv2d(x, kernel, 1, "SAME") if layer is convolution else flat @ kernel
        np.testing.assert_allclose(outputs, scale * plain, atol=1e-4)


@pytest.mark.parametrize("channels", [2, 60])  # By small operations, and by a fused one.
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normalization_and_its_derivative(dtype, channels):
    rng = np.random.default_rng(0)
    x, delta = rng.normal(2, 3, (2, 7, 4, 3, channels)).astype(dtype)
    with tf.GradientTape() as tape:
        inputs = tf.constant(x)
        tape.watch(inputs)
        outputs, mean, variance = normalize(inputs, 1e-6)
    inverse = 1 / np.sqrt(x.var(0) + 1e-6)
    y = (x - x.mean(0)) * inverse
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(outputs, y, atol=tolerance)
    np.testing.assert_allclose(mean, x.mean(0), atol=tolerance)
    np.testing.assert_allclose(variance, x.var(0), rtol=10 * tolerance)
    expected = inverse * (delta - delta.mean(0) - y * (delta * y).mean(0))
    np.testing.assert_allclose(tape.gradient(outputs, inputs, delta), expected, atol=tolerance)


@pytest.mark.parametrize("features", [2, 1000])
def test_one_example_is_normalized_to_zero(features):
    outputs, _, variance = normalize(tf.random.normal([1, features]), 1e-6)
    np.testing.assert_array_equal(outputs, np.zeros([1, features]))
    np.testing.assert_array_equal(variance, np.zeros(features))


def test_moving_statistics_serve_one_example_alone():
    rng = np.random.default_rng(0)
    layer = layers.BatchStatisticsNormalization(momentum=0.5)
    for _ in range(30):
        layer(rng.normal(5, 2, (400, 3)).astype("float32"), training=True)
    np.testing.assert_allclose(layer.moving_mean, [5] * 3, atol=0.3)
    np.testing.assert_allclose(layer.moving_variance, [4] * 3, atol=0.5)
    x = rng.normal(5, 2, (6, 3)).astype("float32")
    together = layer(x, training=False)
    alone = tf.concat([layer(x[i : i + 1], training=False) for i in range(6)], 0)
    np.testing.assert_allclose(together, alone, rtol=1e-6)
    expected = (x - layer.moving_mean.numpy()) / np.sqrt(layer.moving_variance.numpy() + 1e-6)
    np.testing.assert_allclose(together, expected, rtol=1e-5)


def test_batch_statistics_at_inference_are_an_option():
    x = np.random.default_rng(0).normal(5, 2, (6, 3)).astype("float32")
    layer = layers.BatchStatisticsNormalization(statistics="batch")
    np.testing.assert_array_equal(layer(x, training=False), layer(x, training=True))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Dense(3, "mup"), "parameterization='mup'"),
        (lambda: layers.Conv2D(3, 3, "mup"), "parameterization='mup'"),
        (lambda: layers.BatchStatisticsNormalization(momentum=1), "momentum=1"),
        (lambda: layers.BatchStatisticsNormalization(statistics="all"), "statistics='all'"),
        (
            lambda: layers.BatchStatisticsNormalization()(keras.Input((None, 3))),
            r"Received: input_shape=\(None, None, 3\)",
        ),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()
