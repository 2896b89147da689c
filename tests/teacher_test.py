"""The teacher's data, and two-layer networks with a ridge term."""

import dataclasses

import keras
import numpy as np
import pytest

import wna_tf
from wna_tf import callbacks
from wna_tf.experiments import build
from wna_tf.experiments.config import Config

CONFIG = Config(
    rule="feedback_alignment", dataset="teacher", model="two_layer", width=20, batch_size=50
)


def test_examples_are_normalized_and_made_by_their_seed():
    first, again, other = (wna_tf.datasets.load("teacher", 50, seed=seed) for seed in (3, 3, 4))
    x, y = (np.concatenate(part) for part in zip(*first.test.as_numpy_iterator(), strict=True))
    assert x.shape == (1000, 150)
    assert y.shape == (1000, 1)
    np.testing.assert_allclose([x.mean(), x.var()], [0, 1], atol=0.02)
    np.testing.assert_allclose([y.mean(), y.var()], [0, 1], atol=0.1)
    np.testing.assert_allclose(first.chance["test_loss"], np.mean(y**2), rtol=1e-6)
    assert first.chance == again.chance != other.chance


def test_the_ridge_term_is_added_to_the_last_update_until_it_is_switched_off():
    config = dataclasses.replace(CONFIG, ridge=0.3, learning_rate=0.5)
    data, learner = build.prepare(config)
    x, y = next(iter(data.train))
    for epoch, ridge in enumerate([0.3, 0.0, 0.0]):
        hidden, beta = (variable.numpy() for variable in learner.trainable_variables)
        updates = [update.numpy() for update in learner.updates(x, y)]
        schedule = callbacks.RidgeUntil(1)
        learner.fit(
            x,
            y,
            batch_size=50,
            initial_epoch=epoch,
            epochs=epoch + 1,
            verbose=0,
            callbacks=[schedule],
        )
        after_hidden, after_beta = learner.trainable_variables
        np.testing.assert_allclose(after_hidden, hidden - 0.5 * updates[0], rtol=1e-4, atol=1e-6)
        expected = beta - 0.5 * (updates[1] + ridge * beta)
        np.testing.assert_allclose(after_beta, expected, rtol=1e-4, atol=1e-6)


def test_a_ridge_ends_behind_an_optimizer_that_scales_the_loss():
    learner = wna_tf.Learner(wna_tf.models.mlp((4,), 1, 3, depth=1), "backprop")
    inner = keras.optimizers.SGD(0.1, weight_decay=0.5)
    learner.compile(keras.optimizers.LossScaleOptimizer(inner), "mse")
    (schedule := callbacks.RidgeUntil(1)).set_model(learner)
    schedule.on_epoch_begin(0)
    assert inner.weight_decay == 0.5
    schedule.on_epoch_begin(1)
    assert inner.weight_decay is None


@pytest.mark.parametrize("value", [-0.1, float("inf")])
def test_wrong_ridges_are_refused(value):
    with pytest.raises(ValueError, match=f"Expected ridge .* Received: ridge={value}"):
        Config(ridge=value)
