"""Losses that layers add: outputs whose derivative is one."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import wna_tf


def inside(layer):
    inputs = keras.Input((6,))
    return keras.Model(inputs, layers.Dense(2)(layer(inputs)))


class Variational(layers.Layer):
    """An encoder that adds a loss, as that of a variational autoencoder does."""

    def __init__(self, **options):
        super().__init__(**options)
        self.mean = layers.Dense(3)
        self.log_variance = layers.Dense(3)

    def call(self, inputs):
        mean, log_variance = self.mean(inputs), self.log_variance(inputs)
        terms = 1 + log_variance - ops.square(mean) - ops.exp(log_variance)
        self.add_loss(-0.5 * ops.mean(terms))
        return mean + ops.exp(0.5 * log_variance)


PENALIZED = {
    "layer of layers": lambda: Variational(),
    "activity regularizer": lambda: layers.Dense(3, activation="tanh", activity_regularizer="l2"),
    "activity regularization": lambda: keras.Sequential(
        [layers.Dense(3), layers.ActivityRegularization(l1=0.1)]
    ),
    "and kernels": lambda: layers.Dense(3, kernel_regularizer="l2", activity_regularizer="l1"),
}


@pytest.mark.parametrize("name", PENALIZED)
@pytest.mark.parametrize("loss", ["mse", None])
def test_losses_of_layers_are_those_of_keras(name, loss):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 4, 6)), rng.normal(size=(4, 2))
    results = []
    for wrap in (lambda model: wna_tf.Learner(model, "backprop"), lambda model: model):
        keras.utils.set_random_seed(0)
        model = wrap(inside(PENALIZED[name]()))
        model.compile(keras.optimizers.SGD(0.5), loss)
        logs = [model.train_on_batch(x[0], y), model.test_on_batch(x[1], y)]
        logs.append(model.train_on_batch(x[1], y))
        results.append([*logs, *map(np.asarray, model.trainable_variables)])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_losses_of_layers_go_back_by_feedback_weights():
    inputs = keras.Input((4,))
    x = layers.Dense(5, use_bias=False, name="first")(inputs)
    x = layers.Dense(3, use_bias=False, activity_regularizer="l2", name="second")(x)
    network = keras.Model(inputs, x)
    learner = wna_tf.Learner(network, "feedback_alignment")
    learner.compile("sgd", None)
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    first, second = (variable.numpy() for variable in network.trainable_variables)
    delta = 2 * 0.01 * (x @ first @ second) / len(x)
    expected = [x.T @ delta @ learner.feedback_weights[1].numpy().T, (x @ first).T @ delta]
    for ours, theirs in zip(learner.updates(x, np.zeros((6, 3))), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


def test_losses_of_layers_are_not_for_every_rule():
    network = inside(PENALIZED["activity regularizer"]())
    for options in (
        {"rule": "linearized"},
        {"rule": "direct_feedback_alignment"},
        {"rule": "align_zero", "credit": wna_tf.credit.Forward(1)},
    ):
        with pytest.raises(ValueError, match=r"add no losses.* Received: 1 of them"):
            wna_tf.Learner(network, **options)
