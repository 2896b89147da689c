"""Recording: what a network does when it is called, as a TensorFlow graph and the layers' calls."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from wna_tf import internals
from wna_tf.graph.registry import Refused, find_expansion, takes_training
from wna_tf.graph.replay import Replayer


@dataclasses.dataclass(eq=False)
class Call:
    """One call of a layer.

    Attributes:
        layer: The layer; a network is one, too.
        parent: The call in which it was made; None for the network's own.
        args: The arguments of the layer's `call`, with tensors of the graph.
        kwargs: More of them, masks and the mode among them, as Keras filled them in.
        outputs: What `call` returned. Each of its tensors is made in this call, if no weights are
            used in it or the layer is known.
        children: The calls of layers in it.
        start: Number of operations of the graph before it.
        end: The number behind it.
    """

    layer: keras.layers.Layer
    parent: "Call | None"
    args: tuple = ()
    kwargs: dict[str, Any] = dataclasses.field(default_factory=dict)
    outputs: Any = None
    children: list["Call"] = dataclasses.field(default_factory=list)
    start: int = 0
    end: int = 0

    def __str__(self) -> str:
        return f"layer {self.layer.name!r} of class {type(self.layer).__name__}"

    @property
    def tensors(self) -> list[tf.Tensor]:
        """The tensors among its arguments."""
        return _tensors((self.args, self.kwargs))

    @property
    def chain(self) -> Iterator["Call"]:
        """The call, and those in which it was made."""
        call: Call | None = self
        while call:
            yield call
            call = call.parent

    @property
    def descendants(self) -> Iterator["Call"]:
        """The calls in the call, at any depth."""
        for child in self.children:
            yield child
            yield from child.descendants

    @property
    def put_out(self) -> list[tf.Tensor]:
        """The tensors among its outputs."""
        return _tensors(self.outputs)


class Recording:
    """A network, called once in a graph of its own.

    Args:
        network: The network.
        inputs: Symbols of its inputs, nested as it takes them.
        training: Whether it is in training mode.

    Attributes:
        root: The call of the network.
        operations: The operations of the graph, in the order in which they were made.
        inputs: The placeholders of the inputs, in the order of `keras.tree.flatten`.
        variables: Variables, by the names of the placeholders that stand for them.
        masks: The mask of each output, or None.
        updates: Variables that the network writes to, with what it writes.
        losses: Scalars that layers add to the loss.
        replayer: Runs operations again.

    Raises:
        Refused: If the network cannot be called in a graph.
    """

    def __init__(self, network: keras.Model, inputs: Any, training: bool):
        self._stack: list[Call] = []
        self._markers: dict[Call, tuple[tf.Operation, tf.Operation]] = {}

        def run() -> list[tf.Tensor]:
            graph = tf.compat.v1.get_default_graph()
            placeholders = keras.tree.map_structure(
                lambda symbol: tf.compat.v1.placeholder(symbol.dtype, symbol.shape), inputs
            )
            self.inputs = keras.tree.flatten(placeholders)
            with _Placeholders(graph) as scope, self._watch_calls(graph), _written_plainly():
                options = {"training": training} if takes_training(network.call) else {}
                network(placeholders, **options)
            self.variables = {tensor.name: variable for variable, tensor in scope.read.values()}
            self.updates = list(scope.written.values())
            self.losses = list(scope.losses)
            self.masks = list(map(internals.mask_of, keras.tree.flatten(self.root.outputs)))
            return keras.tree.flatten(self.root.outputs)

        try:
            traced = tf.compat.v1.wrap_function(run, [])
        except Exception as error:  # Whatever user code raises there.
            raise Refused(
                f"{self._stack[-1]}: its call fails in a TensorFlow graph of unknown sizes "
                f"({type(error).__name__}: {error}). If it needs them, give the network inputs of "
                "a fixed shape, and wrap keras.Model(inputs, network(inputs))"
            ) from error
        self.operations: list[tf.Operation] = traced.graph.get_operations()
        index = {operation.name: number for number, operation in enumerate(self.operations)}
        for call, (start, end) in self._markers.items():
            call.start, call.end = index[start.name], index[end.name] + 1
        self.replayer = Replayer(traced, self.variables)

    @contextlib.contextmanager
    def _watch_calls(self, graph: tf.Graph) -> Iterator[None]:
        """Keeps every call of a layer in the graph, with the arguments that Keras filled in."""
        call_operation = keras.Operation.__call__

        def record(operation: Any, *args: Any, **kwargs: Any) -> Any:
            here = tf.compat.v1.get_default_graph()
            if here is not graph or not isinstance(operation, keras.layers.Layer):
                return call_operation(operation, *args, **kwargs)
            parent = self._stack[-1] if self._stack else None
            call = Call(operation, parent)
            call.args, call.kwargs = keras.tree.map_structure(_as_tensor, (args, kwargs))
            self._stack.append(call)
            start = tf.no_op()
            with _unrolled(operation):
                outputs = call_operation(operation, *args, **kwargs)
            if find_expansion(operation) or not operation.weights:
                outputs = keras.tree.map_structure(_as_its_own, outputs)
            call.outputs = outputs
            self._markers[call] = start, tf.no_op()
            self._stack.pop()
            if parent is None:
                self.root = call
            else:
                parent.children.append(call)
            return call.outputs

        keras.Operation.__call__ = record
        try:
            yield
        finally:
            keras.Operation.__call__ = call_operation


class _Placeholders(keras.StatelessScope):
    """Gives placeholders for variables, and keeps what is written to them."""

    def __init__(self, graph: tf.Graph):
        super().__init__(collect_losses=True)
        self._graph = graph
        self.read: dict[int, tuple[keras.Variable, tf.Tensor]] = {}
        self.written: dict[int, tuple[keras.Variable, tf.Tensor]] = {}

    def get_current_value(self, variable: keras.Variable) -> tf.Tensor:
        value = super().get_current_value(variable)
        if value is not None:
            return value
        if id(variable) not in self.read:
            with self._graph.as_default():
                placeholder = tf.compat.v1.placeholder(variable.dtype, variable.shape)
            self.read[id(variable)] = variable, placeholder
        return self.read[id(variable)][1]

    def add_update(self, update: tuple[keras.Variable, tf.Tensor]) -> None:
        variable, value = update
        update = variable, tf.stop_gradient(value)  # As in Keras, where an assignment has none.
        self.written[id(variable)] = update
        super().add_update(update)


@contextlib.contextmanager
def _written_plainly() -> Iterator[None]:
    """Writes operations of `tf.function`s into the graph, not calls; raises errors as they are."""
    eagerly, filtered = (
        tf.config.functions_run_eagerly(),
        keras.config.is_traceback_filtering_enabled(),
    )
    tf.config.run_functions_eagerly(True)
    keras.config.disable_traceback_filtering()
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(eagerly)
        if filtered:
            keras.config.enable_traceback_filtering()


@contextlib.contextmanager
def _unrolled(layer: keras.layers.Layer) -> Iterator[None]:
    """Writes the steps of a recurrent layer one by one, unless its loop is known."""
    if not isinstance(layer, keras.layers.RNN) or find_expansion(layer):
        yield
        return
    before, layer.unroll = layer.unroll, True
    try:
        yield
    finally:
        layer.unroll = before


def _tensors(nest: Any) -> list[tf.Tensor]:
    return [leaf for leaf in keras.tree.flatten(nest) if tf.is_symbolic_tensor(leaf)]


def _as_tensor(leaf: Any) -> Any:
    return tf.convert_to_tensor(leaf.value) if isinstance(leaf, keras.Variable) else leaf


def _as_its_own(output: Any) -> Any:
    """Returns a tensor that only this call puts out, with the mask of the given one."""
    if not tf.is_tensor(output):
        return output
    own, mask = tf.identity(output), internals.mask_of(output)
    if mask is not None:
        internals.set_mask(own, mask)
    return own
