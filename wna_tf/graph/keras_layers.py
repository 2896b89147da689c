"""The maps of Keras's layers and of our own: the one place that knows what a layer computes.

Parameter-free layers and operations need no entry: they contribute their derivative.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from wna_tf import layers
from wna_tf.graph import keras_recurrent as keras_recurrent  # Registers recurrent layers.
from wna_tf.graph.maps import Value
from wna_tf.graph.operators import Activation, Affine, Normalization
from wna_tf.graph.registry import ELEMENTWISE, Emitter, register_layer, takes_training

Linear = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


@register_layer(keras.layers.Dense, layers.Dense)
def _dense(layer: Any, emit: Emitter, x: Value) -> Value:
    z = emit.affine(
        layer,
        getattr(layer, "linear", ops.matmul),
        x,
        layer.kernel,
        layer.bias,
        initializer=layer.kernel_initializer,
        is_product=True,
    )
    return emit.activation(layer.activation, z)


@register_layer(keras.layers.EinsumDense)
def _einsum_dense(layer: Any, emit: Emitter, x: Value) -> Value:
    indices, output = layer.equation.split(",")[1].split("->")
    summed = [
        size
        for index, size in zip(indices.strip(), layer.kernel.shape, strict=True)
        if index not in output
    ]
    z = emit.affine(
        layer,
        lambda x, kernel: ops.einsum(layer.equation, x, kernel),
        x,
        layer.kernel,
        layer.bias,
        initializer=layer.kernel_initializer,
        fan_in=math.prod(summed),
    )
    return emit.activation(layer.activation, z)


def _convolution(
    layer: Any, emit: Emitter, linear: Linear, x: Value, kernel: keras.Variable, **options: Any
) -> Value:
    """Adds a convolution of feature maps, whose channels come last or first."""

    def offset(bias: tf.Tensor) -> tf.Tensor:
        last = layer.data_format == "channels_last"
        return bias if last else ops.reshape(bias, (-1,) + (1,) * layer.rank)

    return emit.affine(layer, linear, x, kernel, layer.bias, offset, **options)


@register_layer(keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D, layers.Conv2D)
def _forward_convolution(layer: Any, emit: Emitter, x: Value) -> Value:
    axis = -1 if layer.data_format == "channels_last" else 1
    is_ours = isinstance(layer, layers.Conv2D)
    convolve = layer.unscaled_op if is_ours else layer.convolution_op
    if layer.padding == "causal":
        widths = [(0, 0)] * 3
        widths[2 if axis == 1 else 1] = (layer.dilation_rate[0] * (layer.kernel_size[0] - 1), 0)
        x = emit.local(lambda x: ops.pad(x, widths), x)

        def convolve(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
            rate, strides = layer.dilation_rate, list(layer.strides)
            return ops.conv(x, kernel, strides, "valid", layer.data_format, rate)

    def linear(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        if layer.groups == 1:
            return convolve(x, kernel)
        # Keras compiles groups on a CPU, and forward accumulators do not see through that.
        xs, kernels = ops.split(x, layer.groups, axis), ops.split(kernel, layer.groups, -1)
        return ops.concatenate(list(map(convolve, xs, kernels)), axis)

    z = _convolution(
        layer,
        emit,
        linear,
        x,
        layer.kernel,
        initializer=layer.kernel_initializer,
        is_product=layer.groups == 1 and axis == -1,
        scale=layer.scale if is_ours else 1.0,
    )
    return emit.activation(layer.activation, z)


@register_layer(
    keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose
)
def _transposed_convolution(layer: Any, emit: Emitter, x: Value) -> Value:
    def linear(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return ops.conv_transpose(
            x,
            kernel,
            list(layer.strides),
            layer.padding,
            layer.output_padding,
            layer.data_format,
            layer.dilation_rate,
        )

    z = _convolution(
        layer,
        emit,
        linear,
        x,
        layer.kernel,
        initializer=layer.kernel_initializer,
        fan_in=math.prod(layer.kernel.shape) // layer.filters,
    )
    return emit.activation(layer.activation, z)


def _depthwise(layer: Any) -> Linear:
    def linear(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return ops.depthwise_conv(
            x, kernel, layer.strides, layer.padding, layer.data_format, layer.dilation_rate
        )

    return linear


@register_layer(keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
def _depthwise_convolution(layer: Any, emit: Emitter, x: Value) -> Value:
    z = _convolution(
        layer,
        emit,
        _depthwise(layer),
        x,
        layer.kernel,
        initializer=layer.depthwise_initializer,
        fan_in=math.prod(layer.kernel_size),
    )
    return emit.activation(layer.activation, z)


@register_layer(keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
def _separable_convolution(layer: Any, emit: Emitter, x: Value) -> Value:
    x = emit.affine(
        layer,
        _depthwise(layer),
        x,
        layer.depthwise_kernel,
        initializer=layer.depthwise_initializer,
        fan_in=math.prod(layer.kernel_size),
    )
    z = _convolution(
        layer,
        emit,
        lambda x, kernel: ops.conv(x, kernel, 1, "valid", layer.data_format),
        x,
        layer.pointwise_kernel,
        initializer=layer.pointwise_initializer,
    )
    return emit.activation(layer.activation, z)


@register_layer(
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
)
def _normalization(
    layer: Any, emit: Emitter, x: Value, training: bool = True, **mask: Value
) -> Value:
    if not takes_training(layer.call):
        return emit.local(layer, x, kind=Normalization)
    by_batch = emit.takes_batch_statistics(layer, training)
    return emit.local(layer, x, kind=Normalization, training=by_batch, **mask)


@register_layer(layers.BatchStatisticsNormalization)
def _batch_statistics_normalization(
    layer: Any, emit: Emitter, x: Value, training: bool = True
) -> Value:
    by_batch = emit.takes_batch_statistics(layer, training)

    def absorb(affine: Affine) -> Callable[..., Any]:
        def apply(inputs: tf.Tensor) -> tf.Tensor:
            offset = affine.offset and affine.offset(affine.weights[1].value)
            return layer(inputs, training=by_batch, scale=affine.scale, offset=offset)

        return apply

    # Its Jacobian is I - 1 1^T / N - z z^T / N for each feature, over the standard deviation.
    fields = {"is_symmetric": True, "absorb": absorb if by_batch else None}
    return emit.local(layer, x, kind=Normalization, fields=fields, training=by_batch)


@register_layer(keras.layers.ELU, keras.layers.LeakyReLU, keras.layers.ReLU)
def _elementwise(layer: Any, emit: Emitter, x: Value) -> Value:
    return emit.local(layer, x, kind=Activation, fields={"is_symmetric": True})


@register_layer(keras.layers.Activation)
def _activation(layer: Any, emit: Emitter, x: Value) -> Value:
    fields = {"is_symmetric": layer.activation in ELEMENTWISE}
    return emit.local(layer, x, kind=Activation, fields=fields)


@register_layer(keras.layers.PReLU)
def _learned_activation(layer: Any, emit: Emitter, x: Value) -> Value:
    return emit.local(layer, x, kind=Activation)


@register_layer(keras.layers.Embedding)
def _embedding(layer: Any, emit: Emitter, x: Value) -> Value:
    return emit.local(layer, x)
