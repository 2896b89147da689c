"""Networks that the papers train."""

import dataclasses
import inspect
from collections.abc import Callable, Sequence

import keras

from wna_tf.config import Config
from wna_tf.models.feedforward import cnn, mlp, two_layer
from wna_tf.models.recurrent import rnn

__all__ = ["build", "cnn", "get", "mlp", "names", "normalizes", "rnn", "two_layer"]

_MODELS = {"cnn": cnn, "mlp": mlp, "rnn": rnn, "two_layer": two_layer}


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


def build(config: Config, input_shape: Sequence[int], num_outputs: int) -> keras.Model:
    """Builds the model of a configuration, from the fields that its function takes.

    Args:
        config: The configuration.
        input_shape: Shape of one example.
        num_outputs: Number of outputs; of classes, in a classifier.

    Raises:
        ValueError: If the configuration does not make such a network.
    """
    model = get(config.model)
    given = {"input_shape": input_shape, "num_outputs": num_outputs, "num_classes": num_outputs}
    given |= {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return model(**{name: given[name] for name in inspect.signature(model).parameters})


def normalizes(config: Config) -> bool:
    """Returns whether the model of a configuration normalizes by batch statistics."""
    return config.normalize and "normalize" in inspect.signature(get(config.model)).parameters
