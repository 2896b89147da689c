"""How layers become maps: what an expansion writes to, and the table of expansions."""

import inspect
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from wna_tf.graph.maps import Map, Value
from wna_tf.graph.operators import Activation, Affine, Local


class Refused(ValueError):  # noqa: N818 - a refusal, with its reason
    """Why a layer cannot be trained rightly; `trace` adds the name of the layer."""


class UnknownUse(Refused):
    """A layer uses a variable in a way that is neither a kernel's nor local."""


ELEMENTWISE = (
    keras.activations.celu,
    keras.activations.elu,
    keras.activations.exponential,
    keras.activations.gelu,
    keras.activations.hard_shrink,
    keras.activations.hard_sigmoid,
    keras.activations.hard_silu,
    keras.activations.hard_tanh,
    keras.activations.leaky_relu,
    keras.activations.linear,
    keras.activations.log_sigmoid,
    keras.activations.mish,
    keras.activations.relu,
    keras.activations.relu6,
    keras.activations.selu,
    keras.activations.sigmoid,
    keras.activations.silu,
    keras.activations.soft_shrink,
    keras.activations.softplus,
    keras.activations.softsign,
    keras.activations.sparse_plus,
    keras.activations.sparse_sigmoid,
    keras.activations.squareplus,
    keras.activations.tanh,
    keras.activations.tanh_shrink,
)
"""Keras's activations of which each output depends on one input."""


class Emitter:
    """Collects the maps of one network; what the expansion of a layer writes to.

    Args:
        training: Whether layers are in training mode.
        batch_statistics: The `id` of each layer that normalizes by the statistics of a batch in
            training, which it does in inference too; filled in training mode.
        trained: The `id` of every variable that learns, or did until it was frozen.
    """

    def __init__(self, training: bool, batch_statistics: set[int], trained: Collection[int]):
        self.maps: list[Map] = []
        self.size = 0
        self.training = training
        self.trained = trained
        self._batch_statistics = batch_statistics

    def new_value(self) -> Value:
        """Returns a place that no other map uses."""
        self.size += 1
        return Value(self.size - 1)

    def takes_batch_statistics(self, layer: keras.layers.Layer, training: bool) -> bool:
        """Returns whether a normalization, called in some mode, uses the batch's statistics.

        Args:
            layer: The normalization.
            training: Whether it is called in training mode.
        """
        if self.training and training:
            self._batch_statistics.add(id(layer))
        return training if self.training else id(layer) in self._batch_statistics

    def affine(
        self,
        layer: keras.layers.Layer,
        linear: Callable,
        x: Value,
        kernel: keras.Variable,
        bias: keras.Variable | None = None,
        offset: Callable = lambda bias: bias,
        initializer: Any = None,
        fan_in: int | None = None,
        kind: type[Affine] = Affine,
        scale: float = 1.0,
        dtype: str | None = None,
        further_inputs: Sequence[Value] = (),
        further_outputs: Sequence[Value] = (),
        **fields: Any,
    ) -> Value:
        """Adds the map `scale * linear(x, kernel) + offset(bias)`.

        Args:
            layer: The layer that it belongs to.
            linear: A function that is linear in each of its two arguments.
            x: Place of its input.
            kernel: The weight that feedback weights stand in for.
            bias: The bias, or None.
            offset: What the bias adds, if not itself.
            initializer: Distribution of the kernel.
            fan_in: Inputs of one output unit; None for all axes of the kernel but the last.
            kind: Kind of the map.
            scale: A factor of all outputs.
            dtype: That in which it is computed; None for the layer's.
            further_inputs: Places of further inputs of that kind.
            further_outputs: New places, for further outputs of that kind.
            **fields: Further fields of that kind.

        Returns:
            The place of its first output.
        """
        dtype = dtype or layer.compute_dtype

        def cast_linear(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
            return linear(ops.cast(x, dtype), ops.cast(kernel, dtype))

        def cast_offset(bias: tf.Tensor) -> tf.Tensor:
            return ops.cast(offset(bias), dtype)

        is_ntk = getattr(layer, "parameterization", None) == "ntk"
        fan_in = fan_in or math.prod(kernel.shape[:-1])
        output = self.new_value()
        self.maps.append(
            kind(
                layer.name,
                (x, *further_inputs),
                (output, *further_outputs),
                (kernel,) if bias is None else (kernel, bias),
                cast_linear,
                scale,
                None if bias is None else cast_offset,
                initializer,
                fan_in,
                1.0 if is_ntk else fan_in**-0.5,
                **fields,
            )
        )
        return output

    def local(self, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Value:
        """Adds `operation(*args, **kwargs)`, which has one output; see `local_outputs`.

        Args:
            operation: A layer or a function.
            *args: Its arguments, with places at any depth.
            **kwargs: More of its arguments.
        """
        (output,) = self.local_outputs(1, operation, *args, **kwargs)
        return output

    def local_outputs(
        self,
        num_outputs: int,
        operation: Callable[..., Any],
        *args: Any,
        kind: type[Local] = Local,
        fields: Mapping[str, Any] = MappingProxyType({}),
        **kwargs: Any,
    ) -> list[Value]:
        """Adds `operation(*args, **kwargs)`; the arguments hold places at any depth.

        A layer is called in the network's mode unless `kwargs` say otherwise.

        Args:
            num_outputs: Number of its outputs.
            operation: A layer, whose trainable variables learn by their derivatives, or a function.
            *args: Its arguments.
            kind: Kind of the map.
            fields: Further fields of that kind.
            **kwargs: More of its arguments.

        Returns:
            The places of its outputs.
        """
        layer = operation if isinstance(operation, keras.layers.Layer) else None
        if layer is not None and takes_training(layer.call):
            kwargs.setdefault("training", self.training)
        leaves = keras.tree.flatten((args, kwargs))
        # Each place once, however often it is used: its delta is that of all uses together.
        inputs = tuple(dict.fromkeys(leaf for leaf in leaves if isinstance(leaf, Value)))

        def apply(*tensors: tf.Tensor) -> Any:
            by_place = dict(zip(inputs, tensors, strict=True))
            filled = [by_place[leaf] if isinstance(leaf, Value) else leaf for leaf in leaves]
            filled_args, filled_kwargs = keras.tree.pack_sequence_as((args, kwargs), filled)
            return operation(*filled_args, **filled_kwargs)

        outputs = [self.new_value() for _ in range(num_outputs)]
        variables = [] if layer is None else layer.variables
        weights = tuple(variable for variable in variables if id(variable) in self.trained)
        name = str(getattr(operation, "name", None) or getattr(operation, "__name__", "function"))
        self.maps.append(kind(name, inputs, tuple(outputs), weights, apply, **fields))
        return outputs

    def activation(self, function: Callable[..., Any] | None, z: Value) -> Value:
        """Adds the activation that a layer applies itself, and returns the place of its output.

        Args:
            function: The activation; None for none.
            z: Place of its input.
        """
        if function in (None, keras.activations.linear):
            return z
        fields = {"is_symmetric": function in ELEMENTWISE}
        return self.local(function, z, kind=Activation, fields=fields)


def takes_training(function: Callable) -> bool:
    """Returns whether a layer's `call`, or an expansion, is told whether it is in training.

    Args:
        function: The `call`, or the expansion.
    """
    return "training" in inspect.signature(function).parameters


Expansion = Callable[..., Any]
"""`expand(layer, emit, *args, **kwargs)`, see `register_layer`."""

_EXPANSIONS: dict[type, Expansion] = {}

_HARMLESS = {
    "build",
    "build_from_config",
    "compute_output_shape",
    "compute_output_spec",
    "from_config",
    "get_build_config",
    "get_config",
    "load_own_variables",
    "save_own_variables",
}


def register_layer(*classes: type) -> Callable[[Expansion], Expansion]:
    """Registers how layers of some classes are written as maps.

    ```python
    class Shifted(keras.layers.Layer):
        def build(self, input_shape):
            self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1], 8))
            self.shift = self.add_weight(name="shift", shape=(8,))

        def call(self, x):
            return keras.ops.tanh(x @ self.kernel + self.shift)


    @wna_tf.register_layer(Shifted)
    def expand(layer, emit, x):
        z = emit.affine(layer, keras.ops.matmul, x, layer.kernel, layer.shift)
        return emit.activation(keras.ops.tanh, z)
    ```

    A layer all of whose weights learn by their derivatives, since none of them carries deltas as a
    kernel does, is `emit.local(layer, x)`.

    A subclass is written as its parent unless it overrides a method that may change what it
    computes: any but those that build, describe or save it.

    Args:
        *classes: Layer classes.

    Returns:
        A decorator for a function `expand(layer, emit, *args, **kwargs)`, which adds the layer's
        maps to an `Emitter`. Its arguments are those of the layer's `call`, with places instead of
        tensors, and `training` if it has a parameter of that name; it returns what `call` returns,
        with places instead of tensors. It raises
        `wna_tf.graph.registry.Refused` with a reason for a layer that no rule
        would train rightly.
    """

    def decorator(expand: Expansion) -> Expansion:
        _EXPANSIONS.update(dict.fromkeys(classes, expand))
        return expand

    return decorator


def find_expansion(operation: Any) -> Expansion | None:
    """Returns the expansion of a layer, or None if there is none for its class.

    Args:
        operation: What is called: a layer, or an operation of Keras.
    """
    overridden: set[str] = set()
    for base in type(operation).__mro__:
        if base in _EXPANSIONS:
            return None if overridden.intersection(dir(base)) - _HARMLESS else _EXPANSIONS[base]
        overridden.update(name for name in vars(base) if not name.startswith("__"))
    return None


def apply_expansion(
    expand: Expansion, layer: Any, emit: Emitter, places: tuple, options: dict[str, Any]
) -> list[Value]:
    """Returns the places of a layer's outputs, which what is registered for its class adds.

    Args:
        expand: What is registered.
        layer: The layer.
        emit: What it writes to.
        places: Arguments of the layer's `call`, with places instead of tensors.
        options: More of them, as Keras filled them in.

    Raises:
        Refused: If it does not take these arguments, or refuses the layer.
        TypeError: If it returns anything but places.
    """
    options = {name: value for name, value in options.items() if value is not None}
    if not places and "inputs" in options:
        places = (options.pop("inputs"),)
    if not takes_training(expand):
        options.pop("training", None)
    try:
        inspect.signature(expand).bind(layer, emit, *places, **options)
    except TypeError as error:
        raise Refused(f"it is called with arguments that no map takes ({error})") from error
    try:
        values = keras.tree.flatten(expand(layer, emit, *places, **options))
    except Refused:
        raise
    except Exception as error:
        error.add_note(f"Raised by {expand.__qualname__}, which is registered for {layer!r}")
        raise
    if not all(isinstance(value, Value) for value in values):
        raise TypeError(
            f"Expected {expand.__qualname__}, which is registered for {type(layer).__name__}, to "
            f"return the places of the layer's outputs. Received: {values!r}"
        )
    return values
