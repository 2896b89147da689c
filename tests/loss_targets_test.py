"""Targets of losses: taken as Keras takes them, or refused where it would broadcast them."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.helpers import assert_close, gradients, make_learner


class LabelLoss(keras.losses.Loss):
    """A user's loss on integer labels, whose name does not say so."""

    def call(self, y_true, y_pred):
        return -ops.take_along_axis(
            ops.log_softmax(y_pred), ops.cast(y_true, "int32")[:, None], axis=1
        )


def label_loss(y_true, y_pred):
    return LabelLoss().call(y_true, y_pred)


def make_network(outputs):
    return keras.Sequential([keras.Input((4,)), layers.Dense(outputs)])


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize(
    ("loss", "outputs", "shape"),
    [
        ("mse", 1, (6,)),
        ("mse", 3, (6, 3, 1)),
        (keras.losses.BinaryCrossentropy(from_logits=True), 1, (6,)),
        (keras.losses.MeanAbsoluteError(), 1, (6, 1)),
        ("sparse_categorical_crossentropy", 3, (6, 1)),
        ("categorical_generalized_cross_entropy", 3, (6,)),
        (LabelLoss(), 3, (6,)),
        (label_loss, 3, (6,)),
    ],
)
def test_what_keras_takes_is_taken(loss, outputs, shape):
    if loss == "categorical_generalized_cross_entropy":
        loss = keras.losses.CategoricalGeneralizedCrossEntropy()
        network = keras.Sequential([make_network(outputs), layers.Softmax()])
        network.build((None, 4))
    else:
        network = make_network(outputs)
    x = np.random.default_rng(0).normal(size=(6, 4))
    y = np.arange(np.prod(shape)).reshape(shape) % (3 if outputs == 3 else 2)
    learner = make_learner(network, "backprop", loss)
    assert_close(learner.updates(x, y), gradients(learner, x, y))


@pytest.mark.parametrize("loss", [["mse"], "MSE", keras.losses.Huber(), keras.losses.log_cosh])
@pytest.mark.parametrize("shape", [(6,), (1, 3), (6, 1), (6, 3, 2)])
def test_targets_that_would_be_broadcast_are_refused(loss, shape):
    x = np.ones((6, 4))
    learner = make_learner(make_network(3), "backprop", loss)
    with pytest.raises(ValueError, match=r"Expected targets .*\(6, 3\) for the loss .*Received"):
        learner.updates(x, np.zeros(shape))
    with pytest.raises(ValueError, match="Expected targets"):
        learner.test_on_batch(x, np.zeros(shape))
