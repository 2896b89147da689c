"""The teacher's data, and two-layer networks with a ridge term."""

import keras
import numpy as np
import pytest

import wna_tf
from wna_tf import callbacks, training
from wna_tf.config import Config

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
    config = Config(**CONFIG.to_dict() | {"strides": (1,), "ridge": 0.3})
    data = training.load_data(config)
    learner = training.build(config, data)
    plain = training.build(CONFIG, data)
    plain.set_weights(learner.get_weights())
    x, y = next(iter(data.train))
    (hidden, last), (plain_hidden, plain_last) = learner.updates(x, y), plain.updates(x, y)
    beta = learner.trainable_variables[-1]
    np.testing.assert_allclose(last - plain_last, 0.3 * beta.numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(hidden, plain_hidden, rtol=1e-6)

    losses = learner.fit(
        x, y, batch_size=50, epochs=3, verbose=0, callbacks=[callbacks.RidgeUntil(beta, 1)]
    ).history["loss"]
    # The ridge term is a part of the loss while it lasts.
    assert losses[0] > losses[1] > losses[2]
    np.testing.assert_allclose(learner.updates(x, y)[1] - _gradient(learner, x, y), 0, atol=1e-6)


def _gradient(learner, x, y):
    """Returns the gradient of the mean squared error by the last kernel, by its formula."""
    hidden, beta = (variable.numpy() for variable in learner.trainable_variables)
    h = np.maximum(x.numpy() @ hidden / np.sqrt(x.shape[1]), 0) / np.sqrt(hidden.shape[1])
    return 2 / len(x) * h.T @ (h @ beta - y.numpy())


@pytest.mark.parametrize("value", [-0.1, float("inf")])
def test_wrong_ridges_are_refused(value):
    with pytest.raises(ValueError, match=f"Expected ridge .* Received: ridge={value}"):
        Config(ridge=value)


def test_a_kernel_without_a_regularizer_needs_no_new_trace():
    callback = callbacks.RidgeUntil(keras.Variable([1.0]), 1)
    callback.set_model(keras.Sequential())
    callback.on_epoch_begin(2)
