"""Tracing: from a Keras network to a program of maps."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from wna_tf.graph import keras_layers as keras_layers  # Registers Keras's layers.
from wna_tf.graph.folding import fold
from wna_tf.graph.operators import Map, Value
from wna_tf.graph.program import Program
from wna_tf.graph.registry import Emitter, Expansion, Refused, find_expansion, takes_training


def trace(network: keras.Model) -> Program:
    """Writes a network as a program.

    Args:
        network: A built functional or sequential model. Models inside it are expanded, and so are
            layers that are made of other layers.

    Returns:
        The program.

    Raises:
        ValueError: If `network` is neither, is not built, or has a layer that no rule trains
            rightly; the message names the layer and the reason.
    """
    if not _is_model(network):
        raise ValueError(
            "Expected a functional or sequential Keras model that does not override call. "
            f"Received: {network!r} of class {type(network).__name__}"
        )
    if not network.built:
        raise ValueError(
            "Expected a network with weights: give it an Input, or call build. "
            f"Received: {network.name!r}, which is not built"
        )
    if isinstance(network, keras.Sequential):
        network = keras.Model(network.inputs, network.outputs[0])
    batch_statistics: set[int] = set()

    def trace_in(training: bool) -> Program:
        infer = functools.partial(trace_in, False)
        try:
            return _trace(network, Emitter(training, batch_statistics), infer)
        except Refused as reason:
            raise ValueError(
                f"Expected layers that every rule trains rightly. Received: {reason}"
            ) from reason

    return trace_in(True)


def _trace(network: keras.Model, emit: Emitter, infer: Callable[[], Program]) -> Program:
    tracer = _Tracer(emit)
    inputs = [tracer.place(symbol) for symbol in network.inputs]
    outputs = tracer.call(network, *network.inputs)
    if isinstance(outputs, list | tuple) and len(outputs) == 1:
        (outputs,) = outputs  # As Keras returns them.
    places = keras.tree.map_structure(tracer.find, outputs)
    shapes = tracer.survey(network, inputs)
    return Program(
        fold(emit.maps, keras.tree.flatten(places)), inputs, places, network, shapes, infer
    )


def _is_model(operation: Any) -> bool:
    """Returns whether an operation is a graph of layers: a functional or sequential model."""
    is_graph = isinstance(operation, keras.Sequential) or hasattr(operation, "_run_through_graph")
    return is_graph and type(operation).call.__module__.startswith("keras.")


class _Tracer:
    """Runs networks on symbols, and keeps the place of each."""

    def __init__(self, emit: Emitter):
        self.emit = emit
        self._owners: dict[Map, Any] = {}
        self._places: dict[int, Value] = {}
        self._symbols: list[keras.KerasTensor] = []  # Kept, so that their ids stay theirs.

    def place(self, symbol: keras.KerasTensor, value: Value | None = None) -> Value:
        """Gives a symbol a place; a new one if none is given."""
        value = value or self.emit.new_value()
        self._symbols.append(symbol)
        self._places[id(symbol)] = value
        return value

    def find(self, leaf: Any) -> Any:
        """Returns the place of a symbol, and anything else as it is."""
        return self._places[id(leaf)] if isinstance(leaf, keras.KerasTensor) else leaf

    def call(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
        """Adds the maps of an operation on symbols, and returns symbols of its outputs."""
        if _is_model(operation):
            if isinstance(operation, keras.Sequential):
                (x,) = args
                for layer in operation.layers:
                    x = self._call_in_mode(layer, x)
                return x
            return operation._run_through_graph(args, call_fn=self._call_in_mode)
        before = len(self.emit.maps)
        try:
            outputs = self._expand(operation, args, kwargs)
        except Refused as reason:
            raise Refused(f"{_describe(operation)}: {reason}") from reason
        for step in self.emit.maps[before:]:
            self._owners.setdefault(step, operation)
        return outputs

    def survey(self, network: keras.Model, inputs: Sequence[Value]) -> list[tuple[int | None, ...]]:
        """Runs every map once, in a graph that is thrown away.

        Returns:
            The shape of the value at every place; the batch is None.

        Raises:
            Refused: If a map reads a variable that another one learns: it would read the current
                value where the rule asks for the initial one, and would not learn it.
        """
        trained = {id(variable) for variable in network.trainable_variables}
        values: list[Any] = [None] * self.emit.size

        def run(*tensors: tf.Tensor) -> None:
            for place, tensor in zip(inputs, tensors, strict=True):
                values[place.index] = tensor
            for step in self.emit.maps:
                weights = [tf.zeros(variable.shape, variable.dtype) for variable in step.weights]
                with _Watch() as watch:
                    record = step.evaluate([values[place.index] for place in step.inputs], weights)
                others = trained - {id(variable) for variable in step.weights}
                for variable in watch.read:
                    if id(variable) in others:
                        raise Refused(
                            f"{_describe(self._owners[step])}: it uses the variable "
                            f"{variable.path!r} of another layer, not through that layer"
                        )
                for place, tensor in zip(step.outputs, record.outputs, strict=True):
                    values[place.index] = tensor

        signature = [tf.TensorSpec(symbol.shape, symbol.dtype) for symbol in network.inputs]
        tf.function(run, input_signature=signature, autograph=False).get_concrete_function()
        return [tuple(tensor.shape) for tensor in values]

    def _call_in_mode(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
        """Adds an operation as a functional model calls it: in its mode, whatever it was told."""
        if isinstance(operation, keras.layers.Layer) and takes_training(operation.call):
            kwargs["training"] = self.emit.training
        return self.call(operation, *args, **kwargs)

    def _expand(self, operation: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        _check(operation, args, kwargs)
        expand = find_expansion(operation)
        if expand is None and getattr(operation, "weights", None):
            before = len(self.emit.maps)
            try:
                return self._expand_composite(operation, args, kwargs)
            except Refused:
                if operation.trainable_variables:
                    raise
                del self.emit.maps[before:]  # Nothing in it learns: its derivative is enough.
        outputs = operation.compute_output_spec(*args, **kwargs)
        leaves = keras.tree.flatten(outputs)
        places, options = keras.tree.map_structure(self.find, (args, kwargs))
        if expand:
            values = _apply(expand, operation, self.emit, places, options)
        else:
            values = self.emit.local_outputs(len(leaves), operation, *places, **options)
        if len(values) != len(leaves):
            raise TypeError(
                f"Expected places of {len(leaves)} outputs of {_describe(operation)}. "
                f"Received: {len(values)}"
            )
        for symbol, value in zip(leaves, values, strict=True):
            self.place(symbol, value)
        return outputs

    def _expand_composite(self, layer: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Adds the maps of a layer that is made of other layers and of Keras operations."""
        arguments = [
            leaf
            for leaf in keras.tree.flatten((args, kwargs))
            if isinstance(leaf, keras.KerasTensor)
        ]
        copies = {id(leaf): keras.KerasTensor(leaf.shape, leaf.dtype) for leaf in arguments}
        inner_args, inner_kwargs = keras.tree.map_structure(
            lambda leaf: copies.get(id(leaf), leaf), (args, kwargs)
        )
        if takes_training(layer.call):
            inner_kwargs.setdefault("training", self.emit.training)
        layer._get_call_context().set_value("training", self.emit.training)  # For those inside.
        try:
            with _Watch() as watch:
                outputs = layer.call(*inner_args, **inner_kwargs)
            graph = keras.Function([copies[id(leaf)] for leaf in arguments], outputs)
        except Exception as error:  # Whatever user code raises on symbols.
            raise Refused(
                "no local maps are registered for its class (see wna_tf.register_layer), and it "
                "cannot be taken apart, since its call does not run on symbols: use Keras layers "
                f"and keras.ops alone ({type(error).__name__}: {error})"
            ) from error
        finally:
            layer._maybe_reset_call_context()
        if watch.read or watch.written:
            variable = (watch.read + watch.written)[0]
            raise Refused(
                f"it uses the variable {variable.path!r} itself, and no local maps are "
                "registered for its class (see wna_tf.register_layer)"
            )
        before = len(self.emit.maps)
        results = graph._run_through_graph(arguments, call_fn=self.call)
        reached = {id(v) for step in self.emit.maps[before:] for v in step.weights}
        for variable in layer.trainable_variables:
            if id(variable) not in reached:
                raise Refused(f"no local map learns its variable {variable.path!r}")
        return results


def _apply(
    expand: Expansion, layer: Any, emit: Emitter, places: tuple, options: dict[str, Any]
) -> list[Value]:
    """Returns the places of a layer's outputs, which what is registered for its class adds."""
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


class _Watch(keras.StatelessScope):
    """Keeps the variables that code reads or writes; what it reads is zero, which no graph runs."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[keras.Variable] = []
        self.written: list[keras.Variable] = []

    def get_current_value(self, variable: keras.Variable) -> tf.Tensor:
        self.read.append(variable)
        value = super().get_current_value(variable)
        return tf.zeros(variable.shape, variable.dtype) if value is None else value

    def add_update(self, update: tuple[keras.Variable, tf.Tensor]) -> None:
        self.written.append(update[0])
        super().add_update(update)


def _describe(operation: Any) -> str:
    return f"layer {operation.name!r} of class {type(operation).__name__}"


def _check(operation: Any, args: tuple, kwargs: dict[str, Any]) -> None:
    """Raises `Refused` for what no layer may have."""
    for leaf in keras.tree.flatten((args, kwargs)):
        if isinstance(leaf, keras.Variable):
            raise Refused(f"it is given the variable {leaf.path!r} itself, not through a layer")
    is_layer = isinstance(operation, keras.layers.Layer)
    if is_layer and not type(operation).__call__.__module__.startswith("keras."):
        raise Refused("it overrides __call__, which is not a part of the network's graph")
    if getattr(operation, "activity_regularizer", None) is not None:
        raise Refused("it has an activity regularizer, a loss that no rule assigns to weights")
    if getattr(operation, "lora_enabled", False) or getattr(operation, "quantization_mode", None):
        raise Refused("it is quantized or has LoRA weights, so it is not linear in its kernel")
    if is_layer and _makes_mask(operation, args, kwargs):
        raise Refused("it makes a mask, which affine maps would drop")


def _makes_mask(layer: keras.layers.Layer, args: tuple, kwargs: dict[str, Any]) -> bool:
    """Returns whether Keras would attach a mask to what a layer puts out."""
    if not (layer.supports_masking and (args or kwargs)):
        return False
    first = args[0] if args else next(iter(kwargs.values()))
    given = kwargs.get("mask")
    if given is None:
        given = keras.tree.map_structure(lambda _: None, first)
    masks = layer.compute_mask(first, given)
    return any(mask is not None for mask in keras.tree.flatten(masks))
