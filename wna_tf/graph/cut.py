"""The cut: which layers of a recorded network are maps, and which are taken apart."""

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

from wna_tf.graph.origins import Origins
from wna_tf.graph.recording import Call, Recording
from wna_tf.graph.registry import find_expansion


class Cut:
    """Tells what of a recorded network is needed, and which of its layers are maps.

    A layer is one, or several that it is known to be, if it is registered; or, if it has no
    weights, one that contributes its derivative.

    Args:
        recording: The network's call.
        origins: What each tensor depends on.
        weights: Variables that may be kernels, by the names of the placeholders for them.
        whole: Calls of layers that are not to be taken apart.
    """

    def __init__(
        self,
        recording: Recording,
        origins: Origins,
        weights: Mapping[str, keras.Variable],
        whole: set[Call],
    ):
        self._recording = recording
        self._origins = origins
        self._weights = weights
        self._whole = whole
        masks = [mask for mask in recording.masks if mask is not None]
        written = [value for _, value in recording.updates]
        self._find_needed([*recording.root.put_out, *masks, *recording.losses, *written])

    def _find_needed(self, sinks: Sequence[tf.Tensor]) -> None:
        calls = {call.end: call for call in self._recording.root.descendants}
        self._external = {tensor.name for tensor in sinks}
        self._needed: set[str] = set()
        self._needed_calls: set[Call] = set()
        wanted = set(self._external)
        for number, operation in reversed(list(enumerate(self._recording.operations, 1))):
            call = calls.get(number)
            is_wanted = call and not wanted.isdisjoint(x.name for x in call.put_out)
            if call and is_wanted and self._may_be_a_map(call):
                self._needed_calls.add(call)
                wanted.update(tensor.name for tensor in call.tensors)
                self._external.update(tensor.name for tensor in call.tensors)
            if not wanted.isdisjoint(output.name for output in operation.outputs):
                self._needed.add(operation.name)
                wanted.update(x.name for x in operation.inputs)

    def needs(self, part: tf.Operation | Call) -> bool:
        """Returns whether the network's outputs or states depend on an operation, or a map."""
        if isinstance(part, Call):
            return part in self._needed_calls
        return part.name in self._needed

    def is_used_outside(self, tensor: tf.Tensor, names: set[str]) -> bool:
        """Returns whether others than some operations, given by their names, use a tensor."""
        uses = {use.name for use in tensor.consumers()} - names
        return tensor.name in self._external or not uses.isdisjoint(self._needed)

    def is_a_map(self, call: Call) -> bool:
        """Returns whether a layer is not taken apart; to be asked in the order of the calls."""
        if not self._may_be_a_map(call) or call in self._whole:
            return call in self._whole
        operations = self._recording.operations[call.start : call.end]
        own = {id(variable) for variable in call.layer.weights}
        given = {tensor.name for tensor in call.tensors}
        borrows = any(
            x.name in self._weights and x.name not in given and id(self._weights[x.name]) not in own
            for operation in operations
            for x in operation.inputs
        )
        # A layer without weights may contract those that it is given, or attach a mask in its call.
        is_known = bool(find_expansion(call.layer)) or not (
            any(self._origins[tensor].weights for tensor in call.tensors)
            or self._is_seen_inside(operations, call)
        )
        return is_known and not borrows

    def _may_be_a_map(self, call: Call) -> bool:
        """Returns whether a layer is a map unless it uses weights of others."""
        if call in self._whole or find_expansion(call.layer):
            return True
        is_made_of_maps = any(find_expansion(inner.layer) for inner in call.descendants)
        return not call.layer.weights and not is_made_of_maps

    def _is_seen_inside(self, operations: Sequence[tf.Operation], call: Call) -> bool:
        """Returns whether something that a layer makes is used outside, but not put out."""
        names = {operation.name for operation in operations}
        put_out = {tensor.name for tensor in call.put_out}
        return any(
            self._origins[x].is_activity and self.is_used_outside(x, names)
            for operation in operations
            for x in operation.outputs
            if x.name not in put_out
        )
