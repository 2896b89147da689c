"""Targets of losses: refused where Keras would compute something else without a word."""

from typing import Any

import keras
import tensorflow as tf

_OF_LABELS = (
    keras.losses.sparse_categorical_crossentropy,
    keras.losses.categorical_generalized_cross_entropy,
    keras.losses.ctc,
)
_MODULES = ("keras.", "wna_tf.")  # A user's loss knows its own targets.


def check(loss: Any, y: Any, y_pred: Any) -> Any:
    """Returns the targets of a batch as the loss takes them.

    Args:
        loss: What `compile` was given.
        y: Targets, [batch, ...]; a last axis of size 1 may be missing or too many.
        y_pred: Outputs, [batch, ...].

    Raises:
        ValueError: If the loss compares targets and outputs one by one, and their shapes differ:
            Keras would broadcast them.
        tf.errors.InvalidArgumentError: If labels are of no class: on a GPU the loss would be NaN.
    """
    if loss is None or y is None or not tf.is_tensor(y_pred) or isinstance(loss, list | dict):
        return y
    made = keras.losses.get(loss)
    function = getattr(made, "fn", made)
    named = type(made) if isinstance(made, keras.losses.Loss) else made
    if not getattr(named, "__module__", "").startswith(_MODULES):
        return y
    if function is keras.losses.sparse_categorical_crossentropy:
        return _check_labels(getattr(made, "ignore_class", None), y, y_pred)
    if function in _OF_LABELS:
        return y
    name = loss if isinstance(loss, str) else getattr(made, "name", None) or made.__name__
    return _check_shape(name, y, y_pred)


def _check_shape(name: str, y: Any, y_pred: tf.Tensor) -> tf.Tensor:
    y = tf.convert_to_tensor(y)
    if y.shape.rank == y_pred.shape.rank - 1 and y_pred.shape[-1] == 1:
        y = y[..., tf.newaxis]
    elif y.shape.rank == y_pred.shape.rank + 1 and y.shape[-1] == 1:
        y = y[..., 0]
    message = f"Expected targets of the outputs' shape {y_pred.shape} for the loss {name!r}."
    if not y.shape.is_compatible_with(y_pred.shape):
        raise ValueError(f"{message} Received: targets of shape {y.shape}")
    if not y.shape[1:].is_fully_defined():  # Keras relaxes shapes when it traces a step again.
        tf.debugging.assert_equal(tf.shape(y), tf.shape(y_pred), message)
    return y


def _check_labels(ignored: int | None, y: Any, y_pred: tf.Tensor) -> tf.Tensor:
    labels, classes = tf.cast(y, "int64"), y_pred.shape[-1]
    is_class = (labels >= 0) & (labels < classes)
    if ignored is not None:
        is_class |= labels == ignored
    message = f"Expected labels from 0 to {classes - 1}. Received:"
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(is_class), [message, labels])]):
        return tf.identity(y)  # XLA drops the assertion.
