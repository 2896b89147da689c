"""What tests of learners share: precision, comparison, random weights, compiled learners."""

import contextlib

import keras
import numpy as np
import tensorflow as tf

import wna_tf


@contextlib.contextmanager
def precision(policy):
    """Makes `policy` the dtype policy of what is built inside."""
    floatx = keras.config.floatx()
    before = keras.config.dtype_policy()
    keras.config.set_floatx(policy if policy in ("float32", "float64") else "float32")
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(before)


def assert_close(actual, expected, tolerance=1e-9, name=""):
    """Compares lists of arrays, relative to the largest entry of the expected ones."""
    actual, expected = (
        [np.asarray(array, "float64") for array in arrays] for arrays in (actual, expected)
    )
    scale = max(np.abs(array).max() for array in expected)
    assert scale > 0, name
    for index, (a, b) in enumerate(zip(actual, expected, strict=True)):
        np.testing.assert_allclose(
            a, b, rtol=tolerance, atol=tolerance * scale, err_msg=f"{name} {index}"
        )


def randomize(variables, rng, scale=0.4):
    for variable in variables:
        variable.assign_add(scale * rng.normal(size=variable.shape))


def make_learner(network, rule, loss="mse", **options):
    learner = wna_tf.Learner(network, rule)
    learner.compile(keras.optimizers.SGD(0.1), loss, **options)
    return learner


def gradients(learner, x, y):
    """Gradients of plain Keras training."""
    with tf.GradientTape() as tape:
        y_pred = learner.network(x, training=True)
        loss = learner.compute_loss(x, y, y_pred, training=True)
    return tape.gradient(loss, learner.trainable_variables, unconnected_gradients="zero")
