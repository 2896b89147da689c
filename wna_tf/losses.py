"""Losses by name, with the targets that each takes; and those of the papers that Keras lacks."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable("wna_tf")
class SumSquaredError(keras.losses.Loss):
    """Squared error, summed over the outputs of an example and averaged over the batch.

    The loss of the Add task: `sum over t of mean over batch of (o_t - y_t)^2`, for targets and
    outputs [batch, time, 1]. Source: Boopathy and Fiete (2022).

    Args:
        name: Name of the loss.
        **kwargs: Arguments of `keras.losses.Loss`.
    """

    def __init__(self, name: str = "sum_squared_error", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        squares = ops.square(y_pred - ops.cast(y_true, y_pred.dtype))
        return ops.sum(squares, axis=range(1, len(squares.shape)))


_LOSSES = {"sum_squared_error": SumSquaredError}

# The form of targets that are classes, as `datasets.load` has it; None for the data set's own.
# Outputs are not bounded, so that losses of probabilities are here only if they take logits.
_OF_CLASSES = {
    "sum_squared_error": None,
    "mean_squared_error": None,
    "mean_absolute_error": None,
    "huber": None,
    "log_cosh": None,
    "cosine_similarity": None,
    "categorical_crossentropy": "one_hot",
    "categorical_focal_crossentropy": "one_hot",
    "binary_crossentropy": "one_hot",
    "binary_focal_crossentropy": "one_hot",
    "categorical_hinge": "one_hot",
    "hinge": "one_hot",
    "squared_hinge": "one_hot",
    "sparse_categorical_crossentropy": "labels",
}
_OF_NUMBERS = (
    "sum_squared_error",
    "mean_squared_error",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "huber",
    "log_cosh",
)
# Those that take outputs for probabilities unless they are told.
_OF_LOGITS = {
    "categorical_crossentropy": keras.losses.CategoricalCrossentropy,
    "categorical_focal_crossentropy": keras.losses.CategoricalFocalCrossentropy,
    "binary_crossentropy": keras.losses.BinaryCrossentropy,
    "binary_focal_crossentropy": keras.losses.BinaryFocalCrossentropy,
    "sparse_categorical_crossentropy": keras.losses.SparseCategoricalCrossentropy,
}

_WITH_LABELS = (
    keras.losses.sparse_categorical_crossentropy,
    keras.losses.categorical_generalized_cross_entropy,
    keras.losses.circle,
    keras.losses.ctc,
)
_MODULES = ("keras.", "wna_tf.")  # A user's loss knows its own targets.


def names() -> tuple[str, ...]:
    """Returns the name of every loss that fits some data set; Keras has others for some."""
    return tuple(dict.fromkeys([*_OF_CLASSES, *_OF_NUMBERS]))


def get(name: str) -> Any:
    """Returns a loss: one of this module, or one of Keras by any of its names, of logits.

    Args:
        name: One of `names()`, or another of Keras's names.

    Raises:
        ValueError: If there is none of that name.
    """
    common, loss = _find(name)
    return _OF_LOGITS[common](from_logits=True) if common in _OF_LOGITS else loss


def targets(name: str, of_classes: bool) -> str | None:
    """Returns the form of targets that a loss takes, as `datasets.load` has it; None for any.

    Args:
        name: A loss, as for `get`.
        of_classes: Whether the targets are classes.

    Raises:
        ValueError: If there is none of that name, or it does not fit the targets.
    """
    common, _ = _find(name)
    fitting, noun = (_OF_CLASSES, "classes") if of_classes else (_OF_NUMBERS, "numbers")
    if common is None or common not in fitting:
        raise ValueError(
            f"Expected loss to be one of {', '.join(fitting)}, for targets that are {noun} and "
            f"outputs of any size. Received: loss={name!r}"
        )
    return _OF_CLASSES[common] if of_classes else None


def check_targets(loss: Any, y: Any, y_pred: Any) -> Any:
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
    if isinstance(loss, list | tuple | dict) and len(loss) == 1:
        (loss,) = loss.values() if isinstance(loss, dict) else loss
    if loss is None or y is None or not tf.is_tensor(y_pred) or isinstance(loss, list | dict):
        return y
    made = keras.losses.get(loss)
    function = getattr(made, "fn", made)
    named = type(made) if isinstance(made, keras.losses.Loss) else made
    if not getattr(named, "__module__", "").startswith(_MODULES):
        return y
    if function is keras.losses.sparse_categorical_crossentropy:
        return _check_labels(getattr(made, "ignore_class", None), y, y_pred)
    if function in _WITH_LABELS:
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


def _find(name: str) -> tuple[str | None, Any]:
    """Returns a loss with the one of its names that the tables have."""
    if name in _LOSSES:
        return name, _LOSSES[name]()
    try:
        loss = keras.losses.get(name)
    except (ValueError, TypeError):  # A TypeError for the name of a base class.
        raise ValueError(
            f"Expected loss to be {', '.join(_LOSSES)} or the name of one in keras.losses. "
            f"Received: loss={name!r}"
        ) from None
    return getattr(getattr(loss, "fn", loss), "__name__", None), loss
