"""Dense and convolution layers in NTK or standard parameterization."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from wna_tf.layers import parameterization as parameterizations


@keras.saving.register_keras_serializable("wna_tf")
class Dense(keras.layers.Dense):
    """Affine map `x W / sqrt(fan_in) + b` with `W ~ N(0, 1)`, or its standard form.

    Inputs are [..., fan_in], outputs [..., units]. Source: Boopathy and Fiete (2022), section 2.

    Args:
        units: Number of output features.
        parameterization: `"ntk"` (learning rates are O(1), whatever the width) or `"standard"`
            (`W ~ N(0, 1 / fan_in)` and no factor).
        **kwargs: Arguments of `keras.layers.Dense`.
    """

    def __init__(self, units: int, parameterization: str = "ntk", **kwargs: Any) -> None:
        kwargs.setdefault(
            "kernel_initializer", parameterizations.kernel_initializer(parameterization)
        )
        super().__init__(units, **kwargs)
        self.parameterization = parameterizations.check(parameterization)

    def linear(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Returns the part of the map that is linear in `inputs` and in `kernel`.

        Args:
            inputs: Inputs, [batch, ..., features].
            kernel: Kernel, [features, units].
        """
        # The inputs are scaled, not the kernel: at usual batch sizes they are smaller.
        scale = parameterizations.kernel_scale(self.parameterization, kernel.shape)
        return ops.matmul(inputs if scale == 1 else inputs * scale, kernel)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        outputs = self.linear(inputs, self.kernel)
        if self.use_bias:
            outputs = ops.add(outputs, self.bias)
        return self.activation(outputs)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"parameterization": self.parameterization}


@keras.saving.register_keras_serializable("wna_tf")
class Conv2D(keras.layers.Conv2D):
    """Convolution scaled by `1 / sqrt(kh kw c_in)` with kernel entries N(0, 1), or standard.

    Inputs are [batch, height, width, channels]. Source: Boopathy and Fiete (2022), section 2.

    Args:
        filters: Number of output channels.
        kernel_size: Height and width of the kernel.
        parameterization: `"ntk"` or `"standard"`, as in `Dense`.
        **kwargs: Arguments of `keras.layers.Conv2D`.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, int],
        parameterization: str = "ntk",
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault(
            "kernel_initializer", parameterizations.kernel_initializer(parameterization)
        )
        super().__init__(filters, kernel_size, **kwargs)
        self.parameterization = parameterizations.check(parameterization)

    @property
    def scale(self) -> float:
        """The factor of the convolution; every output has it."""
        return parameterizations.kernel_scale(self.parameterization, self.kernel.shape)

    def unscaled_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Returns the convolution without its factor.

        Args:
            inputs: Images, [batch, height, width, channels].
            kernel: Kernel, [height, width, channels, filters].
        """
        return super().convolution_op(inputs, kernel)

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        # Scaling the kernel would save a pass over memory, but rounds unlike the public code: in
        # its deep normalized networks that flips units, and with them some 4% of an update.
        outputs = self.unscaled_op(inputs, kernel)
        return outputs if self.scale == 1 else outputs * self.scale

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"parameterization": self.parameterization}
