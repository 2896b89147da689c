"""The recurrent layer of the Add task, and the loop over time that recurrent layers share."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from wna_tf.layers import parameterization as parameterizations

Cell = Callable[..., list[tf.Tensor]]
"""`cell(recurrent, u_t, *others, *states) -> states`, where `recurrent` is an affine map."""


def swap_time(sequence: tf.Tensor) -> tf.Tensor:
    """Swaps [batch, time, ...] and [time, batch, ...]."""
    return tf.transpose(sequence, [1, 0, *range(2, sequence.shape.rank)])


@keras.saving.register_keras_serializable("wna_tf")
class Recurrent(keras.layers.Layer):
    """Recurrent layer `h_t = phi(x_t W_ih + h_{t-1} W_hh / sqrt(units) + b_h)`, `h_0 = 0`.

    Inputs are [batch, time, features], outputs [batch, time, units]. In NTK parameterization all
    weights are N(0, 1) and `W_ih` has no factor; in standard parameterization `W_hh` is
    N(0, 1 / units) and has none either. Source: public code of Boopathy and Fiete (2022).

    Args:
        units: Number of units.
        parameterization: `"ntk"` or `"standard"`.
        activation: Name of the activation `phi`.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(
        self,
        units: int,
        parameterization: str = "ntk",
        activation: str = "relu",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = units
        self.parameterization = parameterizations.check(parameterization)
        self.activation = keras.activations.get(activation)
        self.kernel_initializer = keras.initializers.RandomNormal(stddev=1.0)
        self.recurrent_initializer = parameterizations.kernel_initializer(parameterization)

    def build(self, input_shape: Sequence[int | None]) -> None:
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.units),
            initializer=self.kernel_initializer,
        )
        self.recurrent_kernel = self.add_weight(
            name="recurrent_kernel",
            shape=(self.units, self.units),
            initializer=self.recurrent_initializer,
        )
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")

    def recurrent(self, h: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Returns `h W_hh / sqrt(units)`, linear in `h` and in the kernel.

        Args:
            h: State, [batch, units].
            kernel: `W_hh`, [units, units].
        """
        scale = parameterizations.kernel_scale(self.parameterization, kernel.shape)
        return tf.matmul(h if scale == 1 else h * scale, kernel)

    def cell(
        self, recurrent: Callable[[tf.Tensor], tf.Tensor], u: tf.Tensor, h: tf.Tensor
    ) -> list[tf.Tensor]:
        """Returns the state after one step.

        Args:
            recurrent: What the state contributes, as a function of it.
            u: What the input contributes, [batch, units].
            h: State before the step, [batch, units].
        """
        return [self.activation(u + recurrent(h))]

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        kernel, bias = tf.convert_to_tensor(self.recurrent_kernel), tf.convert_to_tensor(self.bias)
        u = swap_time(tf.matmul(inputs, self.kernel))

        def step(states: list[tf.Tensor], u: tf.Tensor) -> list[tf.Tensor]:
            return self.cell(lambda h: self.recurrent(h, kernel) + bias, u, *states)

        (h,) = tf.scan(step, u, [tf.zeros([tf.shape(u)[1], self.units], u.dtype)])
        return swap_time(h)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "units": self.units,
            "parameterization": self.parameterization,
            "activation": keras.activations.serialize(self.activation),
        }
