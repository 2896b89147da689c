"""The recurrent network of the Add task."""

from collections.abc import Sequence

import keras

from wna_tf import layers
from wna_tf.models.feedforward import check_sizes


def rnn(
    width: int,
    input_shape: Sequence[int | None] = (None, 1),
    num_outputs: int = 1,
    parameterization: str = "ntk",
    activation: str = "relu",
) -> keras.Model:
    """Builds the recurrent network of Boopathy and Fiete (2022): one layer and a dense output.

    `h_t = phi(x_t W_ih + h_{t-1} W_hh / sqrt(n) + b_h)`, `o_t = h_t W_ho / sqrt(n) + b_o`. Inputs
    are [batch, time, features], outputs [batch, time, num_outputs]. The weights are `W_ih`, `W_hh`,
    `b_h`, `W_ho` and `b_o`, in this order.

    Args:
        width: Number n of recurrent units.
        input_shape: Time steps (None for any number) and features.
        num_outputs: Outputs of each time step.
        parameterization: `"ntk"` or `"standard"`.
        activation: Name of the activation.

    Returns:
        A functional Keras model.

    Raises:
        ValueError: If a size is not a positive integer, or a name is unknown.
    """
    check_sizes(width=width, num_outputs=num_outputs)
    if len(input_shape) != 2:
        raise ValueError(
            f"Expected sequences of time and features. Received: input_shape={input_shape}"
        )
    inputs = keras.Input(tuple(input_shape), name="sequences")
    x = layers.Recurrent(width, parameterization, activation)(inputs)
    outputs = layers.Dense(num_outputs, parameterization, name="head")(x)
    return keras.Model(inputs, outputs, name="rnn")
