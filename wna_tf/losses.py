"""Losses of the papers that Keras does not have."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("wna_tf")
class SumSquaredError(keras.losses.Loss):
    """Squared error, summed over the outputs of an example and averaged over the batch.

    The loss of the Add task: `sum over t of mean over batch of (o_t - y_t)^2`, for targets and
    outputs [batch, time, 1]. Source: Boopathy and Fiete (2022).
    """

    def __init__(self, name: str = "sum_squared_error", **kwargs):
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        squares = ops.square(y_pred - ops.cast(y_true, y_pred.dtype))
        return ops.sum(squares, axis=range(1, len(squares.shape)))


_LOSSES = {"sum_squared_error": SumSquaredError}


def get(name: str):
    """Returns a loss: one of this module, or one of Keras by its name.

    Raises:
        ValueError: If there is none of that name.
    """
    if name in _LOSSES:
        return _LOSSES[name]()
    try:
        return keras.losses.get(name)
    except ValueError:
        raise ValueError(
            f"Expected loss to be {', '.join(_LOSSES)} or the name of one in keras.losses. "
            f"Received: loss={name!r}"
        ) from None
