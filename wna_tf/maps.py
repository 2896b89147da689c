"""The local maps of Keras layers: the one place that knows what a layer computes."""

import inspect
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from wna_tf import layers
from wna_tf.program import Activation, Affine, Local, Map, Normalization, Program, Value


class Emitter:
    """Collects the maps of one network; what the expansion of a layer writes to."""

    def __init__(self):
        self.maps: list[Map] = []
        self.size = 0

    def new_value(self) -> Value:
        """Returns a place that no other map uses."""
        self.size += 1
        return Value(self.size - 1)

    def affine(self, layer: keras.layers.Layer, linear: Callable, x: Value) -> Value:
        """Adds `linear(x, layer.kernel) + layer.bias`, computed in the layer's dtype.

        Returns:
            The place of its output.
        """

        def apply(x, kernel, bias=None):
            dtype = layer.compute_dtype
            outputs = linear(ops.cast(x, dtype), ops.cast(kernel, dtype))
            if bias is None:
                return outputs
            if getattr(layer, "data_format", None) == "channels_first":
                bias = ops.reshape(bias, (-1,) + (1,) * layer.rank)
            return ops.add(outputs, ops.cast(bias, dtype))

        weights = (layer.kernel,) if layer.bias is None else (layer.kernel, layer.bias)
        output = self.new_value()
        self.maps.append(
            Affine(layer.name, apply, (x,), (output,), weights, layer.kernel_initializer)
        )
        return output

    def local(
        self, operation, *args, kind: type[Local] = Local, num_outputs: int = 1, **kwargs
    ) -> list[Value]:
        """Adds `operation(*args, **kwargs)`; the arguments hold values at any depth.

        A layer is called in training mode unless `kwargs` say otherwise.

        Returns:
            The places of its outputs.
        """
        is_layer = isinstance(operation, keras.layers.Layer)
        if is_layer and "training" in inspect.signature(operation.call).parameters:
            kwargs.setdefault("training", True)
        leaves = keras.tree.flatten((args, kwargs))

        def apply(*tensors):
            tensors = iter(tensors)
            filled = [next(tensors) if isinstance(leaf, Value) else leaf for leaf in leaves]
            filled_args, filled_kwargs = keras.tree.pack_sequence_as((args, kwargs), filled)
            return operation(*filled_args, **filled_kwargs)

        inputs = tuple(leaf for leaf in leaves if isinstance(leaf, Value))
        outputs = [self.new_value() for _ in range(num_outputs)]
        weights = tuple(operation.trainable_variables) if is_layer else ()
        name = getattr(operation, "name", None) or getattr(operation, "__name__", "activation")
        self.maps.append(kind(name, apply, inputs, tuple(outputs), weights))
        return outputs


Expansion = Callable[..., list[Value]]
_EXPANSIONS: dict[type, Expansion] = {}


def register(*classes: type) -> Callable[[Expansion], Expansion]:
    """Registers the expansion of layer classes into maps.

    A subclass uses the expansion of its parent unless it overrides `call`.

    Args:
        *classes: Layer classes.

    Returns:
        A decorator for a function `expand(layer, emit, *args, **kwargs)` that adds the layer's
        maps to the `Emitter` and returns the places of its outputs. The arguments are those of
        the layer's `call`, with places instead of tensors.
    """

    def decorator(expand: Expansion) -> Expansion:
        _EXPANSIONS.update(dict.fromkeys(classes, expand))
        return expand

    return decorator


def _affine_layer(layer, emit, linear, x):
    z = emit.affine(layer, linear, x)
    if layer.activation in (None, keras.activations.linear):
        return [z]
    return emit.local(layer.activation, z, kind=Activation)


@register(keras.layers.Dense)
def _dense(layer, emit, x):
    return _affine_layer(layer, emit, ops.matmul, x)


@register(layers.Dense)
def _scaled_dense(layer, emit, x):
    return _affine_layer(layer, emit, layer.linear, x)


@register(keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
def _convolution(layer, emit, x):
    return _affine_layer(layer, emit, layer.convolution_op, x)


@register(
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    layers.BatchStatisticsNormalization,
)
def _normalization(layer, emit, *args, **kwargs):
    return emit.local(layer, *args, kind=Normalization, **kwargs)


@register(
    keras.layers.Activation,
    keras.layers.ELU,
    keras.layers.LeakyReLU,
    keras.layers.PReLU,
    keras.layers.ReLU,
)
def _activation(layer, emit, x):
    return emit.local(layer, x, kind=Activation)


def _find_expansion(operation) -> Expansion | None:
    for base in type(operation).__mro__:
        if base in _EXPANSIONS and type(operation).call is base.call:
            return _EXPANSIONS[base]
    return None


def _refusal(operation) -> str | None:
    """Returns why no rule trains `operation` rightly, or None."""
    if getattr(operation, "activity_regularizer", None) is not None:
        return "it has an activity regularizer, a loss that no rule assigns to weights"
    if getattr(operation, "lora_enabled", False) or getattr(operation, "quantization_mode", None):
        return "it is quantized or has LoRA weights, so it is not linear in its kernel"
    if _find_expansion(operation) is None and getattr(operation, "weights", ()):
        return (
            f"no local maps are registered for its class {type(operation).__name__}, which has "
            "weights (see wna_tf.maps.register)"
        )
    return None


def _is_sequential(operation) -> bool:
    return isinstance(operation, keras.Sequential)


def _is_functional(operation) -> bool:
    return isinstance(operation, keras.Model) and hasattr(operation, "_run_through_graph")


def trace(network: keras.Model) -> Program:
    """Writes a network as a program.

    Args:
        network: A built functional or sequential model; models inside it are expanded.

    Returns:
        The program.

    Raises:
        ValueError: If `network` is neither, is not built, or has a layer that no rule trains
            rightly; the message names the layer and the reason.
    """
    if not (_is_sequential(network) or _is_functional(network)):
        raise ValueError(
            "Expected a functional or sequential Keras model. "
            f"Received: {network!r} of class {type(network).__name__}"
        )
    if not network.built:
        raise ValueError(
            "Expected a network with weights: give it an Input, or call build. "
            f"Received: {network.name!r}, which is not built"
        )
    emit = Emitter()
    places: dict[int, Value] = {}
    symbols = list(network.inputs)  # Kept, so that their ids stay theirs.

    def find(leaf: Any) -> Any:
        return places[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf

    def call(operation, *args, **kwargs):
        if _is_sequential(operation):
            (x,) = args
            for layer in operation.layers:
                x = call(layer, x)
            return x
        if _is_functional(operation):
            return operation._run_through_graph(args, call_fn=call)
        if reason := _refusal(operation):
            raise ValueError(
                "Expected layers whose local maps are known. "
                f"Received: layer {operation.name!r}: {reason}"
            )
        outputs = operation.compute_output_spec(*args, **kwargs)
        leaves = keras.tree.flatten(outputs)
        args, kwargs = keras.tree.map_structure(find, (args, kwargs))
        if expand := _find_expansion(operation):
            values = expand(operation, emit, *args, **kwargs)
        else:
            values = emit.local(operation, *args, num_outputs=len(leaves), **kwargs)
        symbols.extend(leaves)
        places.update(zip(map(id, leaves), values, strict=True))
        return outputs

    inputs = [emit.new_value() for _ in network.inputs]
    places.update(zip(map(id, network.inputs), inputs, strict=True))
    outputs = call(network, *network.inputs)
    return Program(
        emit.maps,
        inputs,
        keras.tree.map_structure(find, outputs),
        [tf.TensorSpec(symbol.shape, symbol.dtype) for symbol in network.inputs],
        emit.size,
    )
