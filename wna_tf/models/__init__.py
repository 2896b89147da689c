"""Networks that the papers train."""

from collections.abc import Callable

import keras

from wna_tf.models.feedforward import cnn, mlp, two_layer
from wna_tf.models.recurrent import rnn

__all__ = ["cnn", "get", "mlp", "names", "rnn", "two_layer"]

_MODELS: dict[str, Callable[..., keras.Model]] = {
    "cnn": cnn,
    "mlp": mlp,
    "rnn": rnn,
    "two_layer": two_layer,
}


def names() -> tuple[str, ...]:
    """Returns the name of every model."""
    return tuple(_MODELS)


def get(name: str) -> Callable[..., keras.Model]:
    """Returns the function that builds a model.

    Raises:
        ValueError: If the name is unknown; the message lists the names.
    """
    if name not in _MODELS:
        raise ValueError(f"Expected model to be one of {', '.join(_MODELS)}. Received: {name!r}")
    return _MODELS[name]
