"""Tracing: from a Keras network to a program of maps."""

import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any

import keras
import tensorflow as tf

from wna_tf import internals
from wna_tf.graph import keras_layers as keras_layers  # Registers Keras's layers.
from wna_tf.graph.cut import Cut
from wna_tf.graph.errors import keep_logits
from wna_tf.graph.folding import fold
from wna_tf.graph.maps import Map, Value
from wna_tf.graph.operators import Activation, Local, Rearrangement
from wna_tf.graph.origins import ADDITIONS, CONTRACTIONS, ELEMENTWISE, REARRANGEMENTS, Origins
from wna_tf.graph.program import Program
from wna_tf.graph.recording import Call, Recording
from wna_tf.graph.registry import (
    Emitter,
    Refused,
    UnknownUse,
    apply_expansion,
    find_expansion,
)
from wna_tf.graph.replay import sources
from wna_tf.graph.signature import Signature


def trace(network: keras.Model, trained: Collection[int] = ()) -> Program:
    """Writes a network as a program.

    Args:
        network: A built Keras model, with any layers. It is called once, in a graph of its own.
        trained: The `id` of variables that have learned and are frozen now; the program has them
            as weights beside those that are trainable.

    Returns:
        The program.

    Raises:
        ValueError: If `network` is no model, is not built, or has a layer that no rule trains
            rightly; the message names the layer and the reason.
    """
    signature = Signature(network)
    learn = {*trained, *(id(variable) for variable in network.variables if variable.trainable)}
    batch_statistics: set[int] = set()

    def trace_in(training: bool) -> Program:
        infer = functools.partial(trace_in, False)
        emitter = functools.partial(Emitter, training, batch_statistics, learn)
        try:
            return _trace(signature, emitter, infer)
        except Refused as reason:
            raise ValueError(
                f"Expected layers that every rule trains rightly. Received: {reason}"
            ) from reason

    return trace_in(True)


def _trace(
    signature: Signature, emitter: Callable[[], Emitter], infer: Callable[[], Program]
) -> Program:
    recording = Recording(signature.network, signature.inputs, emitter().training)
    whole: set[Call] = set()
    while True:
        tracer = _Tracer(recording, emitter(), whole)
        try:
            return tracer.trace(signature, infer)
        except Refused as reason:
            # Where nothing learns, the derivative is enough.
            frozen = (c for c in tracer.current if not c.layer.trainable_variables)
            call = next(frozen, None)
            if call is None or call is recording.root or call in whole:
                guilty = tracer.current[0]
                hint = _HINT.format(type(guilty.layer).__name__)
                raise Refused(
                    f"{guilty}: {reason}{hint if isinstance(reason, UnknownUse) else ''}"
                ) from reason
            whole.add(call)


Category = tuple[type[Local], str]

_HINT = """. If its weights are to learn by their derivatives alone, say so:

@wna_tf.register_layer({})
def expand(layer, emit, *inputs):
    return emit.local(layer, *inputs)
"""


class _Tracer:
    """Adds the maps of a recorded network, in the order in which it made its operations.

    Args:
        recording: The network's call.
        emit: What the maps are added to.
        whole: Calls of layers that are not to be taken apart.

    Attributes:
        current: The call that is being taken apart, and those in which it was made.
    """

    def __init__(self, recording: Recording, emit: Emitter, whole: set[Call]):
        self.current = list(recording.root.chain)
        self._recording = recording
        self._emit = emit
        self._whole = whole
        network = recording.root.layer
        learnable = {id(variable) for variable in network.weights}
        written = {id(variable) for variable, _ in recording.updates}
        self._weights = {
            name: variable
            for name, variable in recording.variables.items()
            if tf.as_dtype(variable.dtype).is_floating
            and id(variable) in learnable
            and id(variable) not in written
        }
        states = recording.variables.keys() - self._weights.keys()
        self._origins = Origins(self._weights, set(states))
        self._cut = Cut(recording, self._origins, self._weights, whole)
        self._places: dict[str, Value] = {}
        self._pending: list[tf.Operation] = []
        self._category: Category | None = None
        self._pending_in = self.current
        self._in_block: set[str] = set()
        self._roots: dict[str, str] = {}
        self._covered: list[Call] = []
        self._logits: dict[str, tf.Tensor] = {}
        self._owners: dict[Map, Call] = {}

    def trace(self, signature: Signature, infer: Callable[[], Program]) -> Program:
        """Returns the program of the network."""
        recording = self._recording
        for variable, _ in recording.updates:
            if variable.trainable:
                raise Refused(f"it writes to the variable {variable.path!r}, which it learns")
        inputs = [self._found(tensor, self._emit.new_value()) for tensor in recording.inputs]
        outputs = keras.tree.flatten(recording.root.outputs)
        pairs = [(output.name, internals.logits_of(output)) for output in outputs]
        self._logits = {name: logits for name, logits in pairs if logits is not None}
        add = self._add_call if find_expansion(recording.root.layer) else self._walk
        add(recording.root)
        self._flush()
        structure = keras.tree.map_structure(self._place, recording.root.outputs)
        mask_places = [None if mask is None else self._place(mask) for mask in recording.masks]
        losses = [self._place(loss) for loss in recording.losses]
        for variable, value in recording.updates:
            self._write(variable, value)
        used = [*keras.tree.flatten(structure), *filter(None, mask_places), *losses]
        maps, shapes = fold(self._emit.maps, used), self._survey(inputs)
        return Program(maps, inputs, structure, signature, shapes, infer, mask_places, losses)

    def _walk(self, call: Call) -> None:
        """Adds what a layer does that is made of other layers and of operations."""
        position = call.start
        for child in call.children:
            self._add_operations(call, position, child.start)
            self._check(child)
            if self._cut.is_a_map(child):
                self._covered.append(child)
                if self._cut.needs(child):
                    self._flush()
                    self._add_call(child)
            else:
                self._walk(child)
            position = child.end
        self._add_operations(call, position, call.end)

    def _check(self, call: Call) -> None:
        """Raises `Refused` for what no layer may have."""
        self.current = list(call.chain)
        layer = call.layer
        if getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None):
            raise Refused("it is quantized or has LoRA weights, so it is not linear in its kernel")

    def _add_call(self, call: Call) -> None:
        """Adds the maps of a layer that is known, or that has no weights."""
        expand = None if call in self._whole else find_expansion(call.layer)
        args, kwargs = keras.tree.map_structure(self._as_argument, (call.args, call.kwargs))
        outputs = call.put_out
        if expand:
            values = apply_expansion(expand, call.layer, self._emit, args, kwargs)
        else:
            values = self._emit.local_outputs(len(outputs), call.layer, *args, **kwargs)
        if len(values) != len(outputs):
            raise TypeError(
                f"Expected places of {len(outputs)} outputs of {call}. Received: {len(values)}"
            )
        for tensor, value in zip(outputs, values, strict=True):
            self._found(tensor, value)
        self._own()

    def _add_operations(self, call: Call, start: int, end: int) -> None:
        self.current = list(call.chain)
        for operation in self._recording.operations[start:end]:
            is_needed = self._cut.needs(operation) and operation.type != "Placeholder"
            if is_needed and any(self._origins[x].is_activity for x in operation.outputs):
                self._add_operation(operation)

    def _add_operation(self, operation: tf.Operation) -> None:
        if operation.type == "Identity":
            self._flush()
            (x,), (output,) = operation.inputs, operation.outputs
            self._places[output.name] = self._place(x)
            if x.name in self._in_block:
                self._in_block.add(output.name)
            return
        contraction = self._origins.kernel(operation)
        if contraction:
            self._flush()
            self._add_affine(operation, *contraction)
            return
        category = self._categorize(operation)
        if category is not None and category != self._category:
            self._flush()
            self._category = category
        if not self._pending:
            self._pending_in = self.current
        self._pending.append(operation)
        if any(self._origins[x].weights for x in operation.inputs):
            # A rule may take what is behind weights in another network than what they learn from.
            self._flush()

    def _categorize(self, operation: tf.Operation) -> Category | None:
        """Returns what operations that wait together must have in common.

        It is the kind of map that they make, and for an activation its input; None for operations
        on shapes, masks and the like, which may wait with any.
        """
        (output, *others) = operation.outputs
        if not output.dtype.is_floating:
            return None
        activity = {x.name: x for x in operation.inputs if self._origins[x].is_activity}
        weights = any(self._origins[x].weights for x in operation.inputs)
        carrying = [name for name, x in activity.items() if self._origins[x].carries]
        if operation.type == "Cast":
            return Rearrangement, ""
        if self._in_block.issuperset(carrying) and len(carrying) == 1 and not others:
            is_rearranged = operation.type in REARRANGEMENTS and not weights
            if is_rearranged or operation.type in ADDITIONS:
                self._in_block.add(output.name)
                return Rearrangement, ""
        roots = {self._roots.get(name, name) for name in activity}
        shapes = {str(x.shape) for x in (output, *activity.values())}
        if operation.type in ELEMENTWISE and len(roots) == len(shapes) == 1 and not weights:
            (root,) = roots
            self._roots[output.name] = root
            return Activation, root
        return Local, ""

    def _flush(self) -> None:
        """Adds the operations that wait, as one map for each connected part of them."""
        pending, self._pending = self._pending, []
        (kind, _), self._category = self._category or (Local, ""), None
        parts: list[list[tf.Operation]] = []
        for operation in pending:
            inputs = {x.name for x in operation.inputs}
            connected = [
                part
                for part in parts
                if any(not inputs.isdisjoint(y.name for y in x.outputs) for x in part)
            ]
            parts = [part for part in parts if part not in connected]
            parts.append([x for part in connected for x in part] + [operation])
        current, self.current = self.current, self._pending_in
        for part in parts:
            self._add_part(part, kind)
        self.current = current

    def _add_part(self, operations: list[tf.Operation], kind: type[Local]) -> None:
        """Adds connected operations as one map."""
        names = {operation.name for operation in operations}
        made = {x.name: x for operation in operations for x in operation.outputs}
        inputs = {
            x.name: x
            for operation in operations
            for x in operation.inputs
            if x.name not in made and self._origins[x].is_activity
        }
        outputs = [
            x
            for x in made.values()
            if self._origins[x].is_activity and self._cut.is_used_outside(x, names)
        ]
        if kind is Activation and not len(inputs) == len(outputs) == 1:
            kind = Local
        if outputs:
            self._add_local(list(inputs.values()), outputs, kind)

    def _add_local(
        self, inputs: Sequence[tf.Tensor], outputs: Sequence[tf.Tensor], kind: type[Local] = Local
    ) -> None:
        """Adds the operations between some tensors as one map."""
        places = tuple(self._place(x) for x in inputs)
        given = [x.name for x in inputs]
        logits = {x.name: self._logits[x.name] for x in outputs if x.name in self._logits}
        operations = sources([*outputs, *logits.values()], given)
        made = [x.name for x in (*outputs, *logits.values())]
        replay = self._recording.replayer.function(given, operations, made)
        if logits:
            replay = keep_logits(replay, [x.name in logits for x in outputs])
        read = [self._weights.get(x.outputs[0].name) for x in operations if x.type == "Placeholder"]
        weights = tuple(variable for variable in read if id(variable) in self._emit.trained)
        fields = {"is_symmetric": True} if kind is Activation else {}
        values = [self._found(x, self._emit.new_value()) for x in outputs]
        self._emit.maps.append(
            kind(self.current[0].layer.name, places, tuple(values), weights, replay, **fields)
        )
        self._own()

    def _add_affine(self, operation: tf.Operation, x: tf.Tensor, place: int) -> None:
        """Adds a contraction of activity with a kernel."""
        view = operation.inputs[place]
        (name,) = self._origins[view].weights
        variable, layer = self._weights[name], self.current[0].layer
        operations = sources(operation.outputs, [x.name, name])
        for other in operations:
            if any(output.name in self._places for output in other.outputs):
                raise Refused(
                    f"the shape of what its variable {variable.path!r} makes depends on another "
                    "tensor than the one that it is contracted with"
                )
        (output,) = operation.outputs
        replay = self._recording.replayer.function([x.name, name], operations, [output.name])
        value = self._emit.affine(
            layer,
            lambda x, kernel: replay(x, kernel)[0],
            self._place(x),
            variable,
            initializer=getattr(layer, f"{variable.name}_initializer", None),
            fan_in=CONTRACTIONS[operation.type](operation, place),
            dtype=x.dtype.name,
        )
        self._found(output, value)
        self._in_block.add(output.name)
        self._own()

    def _write(self, variable: keras.Variable, tensor: tf.Tensor) -> None:
        """Adds a map that writes to a variable, unless the layer that does so is a map."""
        position = self._recording.operations.index(tensor.op)
        if any(call.start <= position < call.end for call in self._covered):
            return

        def write(value: tf.Tensor) -> None:
            variable.assign(value)

        self._emit.local_outputs(0, write, self._place(tensor))
        self._own()

    def _as_argument(self, leaf: Any) -> Any:
        """Returns the place of a tensor; a constant, and what is no tensor, as it is."""
        if not tf.is_symbolic_tensor(leaf):
            return leaf
        origin = self._origins[leaf]
        value = None if origin.is_activity or origin.weights else tf.get_static_value(leaf)
        return self._place(leaf) if value is None else value

    def _place(self, tensor: Any) -> Any:
        """Returns the place of a tensor, which is added if no operation with an input makes it."""
        if not tf.is_symbolic_tensor(tensor):
            return tensor
        if tensor.name not in self._places:
            if self._origins[tensor].is_activity and tensor.op.type != "Placeholder":
                raise Refused("it uses a tensor that another layer computes but does not put out")
            self._add_local([], [tensor])
        return self._places[tensor.name]

    def _found(self, tensor: tf.Tensor, value: Value) -> Value:
        """Keeps the place of a tensor."""
        self._places[tensor.name] = value
        self._origins.set_activity(tensor)
        return value

    def _own(self) -> None:
        """Keeps the call that the maps belong to which were added last."""
        for step in self._emit.maps[len(self._owners) :]:
            self._owners[step] = self.current[0]

    def _survey(self, inputs: Sequence[Value]) -> list[tuple[int | None, ...]]:
        """Runs every map once, in a graph that is thrown away.

        Returns:
            The shape of the value at every place; the batch is None.
        """
        values: list[Any] = [None] * self._emit.size

        def run() -> None:
            for place, tensor in zip(inputs, self._recording.inputs, strict=True):
                values[place.index] = tf.compat.v1.placeholder(tensor.dtype, tensor.shape)
            with keras.StatelessScope():
                for step in self._emit.maps:
                    self.current = list(self._owners[step].chain)
                    weights = [tf.convert_to_tensor(variable.value) for variable in step.weights]
                    record = step.evaluate([values[x.index] for x in step.inputs], weights)
                    for place, tensor in zip(step.outputs, record.outputs, strict=True):
                        values[place.index] = tensor

        tf.compat.v1.wrap_function(run, [])
        return [tuple(tensor.shape) for tensor in values]
