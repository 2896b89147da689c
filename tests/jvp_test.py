"""Jacobian-vector products of local maps: those that are their own transposes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import wna_tf
from wna_tf.graph.registry import ELEMENTWISE, takes_training
from wna_tf.graph.tracing import trace

SYMMETRIC = {
    "normalization": wna_tf.layers.BatchStatisticsNormalization,
    "elu": layers.ELU,
    "leaky_relu_layer": layers.LeakyReLU,
    "relu_layer": lambda: layers.ReLU(2.0, 0.1),
    # TensorFlow has no second derivative of softsign, which a forward accumulator would need.
    **{
        function.__name__: lambda function=function: layers.Activation(function)
        for function in ELEMENTWISE
        if function.__name__ != "softsign"
    },
}
OTHERS = {
    "softmax": lambda: layers.Activation("softmax"),
    "log_softmax": lambda: layers.Activation("log_softmax"),
    "prelu": lambda: layers.PReLU("ones"),
    "batch_normalization": layers.BatchNormalization,
    "layer_normalization": layers.LayerNormalization,
}


@pytest.mark.parametrize("name", [*SYMMETRIC, *OTHERS])
def test_a_tangent_is_pushed_as_by_a_forward_accumulator(name, double_precision):
    layer = (SYMMETRIC | OTHERS)[name]()
    network = keras.Sequential([keras.Input((4, 3)), layer])
    (step,) = trace(network).maps
    assert step.is_symmetric == (name in SYMMETRIC)
    rng = np.random.default_rng(0)
    x, tangent = (tf.constant(rng.normal(size=(6, 4, 3))) for _ in range(2))
    weights = [tf.convert_to_tensor(variable) for variable in step.weights]
    with keras.StatelessScope(list(zip(step.weights, weights, strict=True))):
        record = step.evaluate([x], weights)
    none = [None] * len(weights)
    with tf.autodiff.ForwardAccumulator(x, tangent) as accumulator:
        outputs = layer(x, training=True) if takes_training(layer.call) else layer(x)
    pushed = step.push(record, [tangent], none)
    np.testing.assert_allclose(pushed[0], accumulator.jvp(outputs), rtol=1e-11, atol=1e-12)
    assert step.push(record, [None], none) == [None]
