"""Networks that the papers train."""

from collections.abc import Callable

import keras

from wna_tf import serialization
from wna_tf.models.feedforward import cnn, mlp, two_layer
from wna_tf.models.recurrent import rnn

__all__ = ["cnn", "get", "mlp", "names", "register", "rnn", "two_layer"]

_TABLE: serialization.Table[Callable[..., keras.Model]] = serialization.Table(
    "a model", "model", {"cnn": cnn, "mlp": mlp, "rnn": rnn, "two_layer": two_layer}
)


def names() -> tuple[str, ...]:
    """Returns the name of every model."""
    return _TABLE.names()


def get(name: str) -> Callable[..., keras.Model]:
    """Returns the function that builds a model.

    Args:
        name: One of `names()`.

    Raises:
        ValueError: If the name is unknown; the message lists the names.
    """
    return _TABLE.get(name)


def register(name: str, function: Callable[..., keras.Model]) -> None:
    """Adds a model.

    ```python
    def network(input_shape, num_outputs, width):
        return keras.Sequential([keras.Input(input_shape), ..., keras.layers.Dense(num_outputs)])

    wna_tf.models.register("mine", network)
    ```

    Args:
        name: Its name: letters, digits, "_", "-" and ".".
        function: Returns a built Keras model. Its arguments are told by their names: `input_shape`,
            that of one example; `num_outputs` or `num_classes`, the number of outputs; and any
            field of a configuration, such as `width`, `depth` or `activation`. Others need
            defaults, which they have.

    Raises:
        ValueError: If it is no function, or the name is that of another one.
    """
    if not callable(function):
        raise ValueError(f"Expected a function that returns a network. Received: {function!r}")
    _TABLE.register(name, function)
