"""Networks that the papers train."""

import inspect
from collections.abc import Callable, Sequence

import keras

from wna_tf.config import Config
from wna_tf.models.feedforward import cnn, mlp

__all__ = ["build", "cnn", "get", "mlp", "names"]

_MODELS = {"cnn": cnn, "mlp": mlp}


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


def build(config: Config, input_shape: Sequence[int], num_classes: int) -> keras.Model:
    """Builds the model of a configuration, from the fields that its function takes.

    Args:
        config: The configuration.
        input_shape: Shape of one example.
        num_classes: Number of outputs.
    """
    model = get(config.model)
    options = {
        name: getattr(config, name)
        for name in inspect.signature(model).parameters
        if hasattr(config, name)
    }
    return model(input_shape=input_shape, num_classes=num_classes, **options)
