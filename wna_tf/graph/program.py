"""Programs: networks as sequences of maps."""

import collections
import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeGuard

import keras
import tensorflow as tf

from wna_tf.graph.maps import Map, Value
from wna_tf.graph.operators import Activation, Affine, Continuation
from wna_tf.graph.recurrence import Recurrence
from wna_tf.graph.signature import Signature


class Program:
    """A network as a sequence of maps.

    Args:
        maps: The maps in the order of their evaluation.
        inputs: Places of the network's inputs.
        output_structure: Places of the network's outputs, nested as the network returns them.
        signature: What the network takes.
        shapes: Shape of the value at every place; the batch is None.
        infer: Makes the program of the network in inference mode.
        masks: Places of the outputs' masks, one for each output, None where it has none; None if
            none of them has one. A loss counts what a mask, [batch, ...], lets through.
        losses: Places of scalars that layers add to the loss.
    """

    def __init__(
        self,
        maps: Sequence[Map],
        inputs: Sequence[Value],
        output_structure: Any,
        signature: Signature,
        shapes: Sequence[tuple[int | None, ...]],
        infer: Callable[[], "Program"],
        masks: Sequence[Value | None] | None = None,
        losses: Sequence[Value] = (),
    ):
        self.maps = tuple(maps)
        self.inputs = tuple(inputs)
        self.output_structure = output_structure
        self.outputs = tuple(keras.tree.flatten(output_structure))
        self.signature = signature
        self.shapes = tuple(shapes)
        self.masks = (None,) * len(self.outputs) if masks is None else tuple(masks)
        self.losses = tuple(losses)
        self._infer = infer

    def pack(self, outputs: Sequence[tf.Tensor]) -> Any:
        """Returns outputs nested as the network returns them.

        Args:
            outputs: One for each place of `outputs`.
        """
        return keras.tree.pack_sequence_as(self.output_structure, list(outputs))

    @property
    def affine_maps(self) -> tuple[Affine, ...]:
        """The affine maps among the maps, in the order of their evaluation."""
        return tuple(step for step in self.maps if isinstance(step, Affine))

    @functools.cached_property
    def affine_names(self) -> dict[Affine, str]:
        """A unique name for each affine map.

        It is the layer's; `layer.kernel` if the layer has several kernels, as recurrent ones do;
        and with `:2`, `:3`, ... behind it for further maps of a name (shared layers).
        """
        kernels: dict[str, set[int]] = collections.defaultdict(set)
        seen: collections.Counter[str] = collections.Counter()
        for step in self.affine_maps:
            kernels[step.name].add(id(step.kernel))
        names = {}
        for step in self.affine_maps:
            several = len(kernels[step.name]) > 1
            name = f"{step.name}.{step.kernel.name}" if several else step.name
            seen[name] += 1
            names[step] = name if seen[name] == 1 else f"{name}:{seen[name]}"
        return names

    @functools.cached_property
    def consecutive_affine_maps(self) -> tuple[tuple[Affine, Affine], ...]:
        """Pairs of a lower and an upper affine map with no weights between them.

        What the lower one puts out goes nowhere else, and the upper one takes in nothing else. A
        recurrence is in no pair: its kernel acts on its own output.
        """
        sources: dict[Value, set[Map | None]] = {place: {None} for place in self.inputs}
        below: dict[Map, set[Map | None]] = {}
        above: dict[Map | None, set[Map | None]] = collections.defaultdict(set)
        for step in self.maps:
            reaching = set().union(*(sources[place] for place in step.inputs))
            if step.weights:
                below[step] = reaching
                for lower in reaching:
                    above[lower].add(step)
                reaching = {step}
            sources.update(dict.fromkeys(step.outputs, reaching))
        for place in self.outputs:
            for lower in sources[place]:
                above[lower].add(None)

        def is_fit(step: Map | None) -> TypeGuard[Affine]:
            return isinstance(step, Affine) and not isinstance(step, Recurrence)

        return tuple(
            (lower, upper)
            for upper, reaching in below.items()
            for lower in reaching
            if len(reaching) == 1 and above[lower] == {upper} and is_fit(lower) and is_fit(upper)
        )

    @functools.cached_property
    def variables(self) -> dict[int, keras.Variable]:
        """Every weight of every map, by its `id`."""
        return {id(variable): variable for step in self.maps for variable in step.weights}

    @functools.cached_property
    def for_jacobians(self) -> "Program":
        """The network in inference mode, except that normalizations use the batch's moments.

        A Jacobian passes through the moments of a batch, and moving ones have none.
        """
        return self._infer()

    def above(self, trained: Collection[int]) -> frozenset[Value]:
        """Returns the values that depend on a weight that is trained: those that need a delta.

        Args:
            trained: The `id` of every variable that is trained.
        """
        trained, above = frozenset(trained), set[Value]()
        for step in self.maps:
            if step.learns(trained) or not above.isdisjoint(step.inputs):
                above.update(step.outputs)
        return frozenset(above)

    @functools.cached_property
    def last_uses(self) -> dict[Map, tuple[Value, ...]]:
        """Places that nothing needs after a map, except for the network's outputs."""
        last = {place: step for step in self.maps for place in (*step.inputs, *step.outputs)}
        uses: dict[Map, tuple[Value, ...]] = {}
        for place, step in last.items():
            if place not in self.outputs:
                uses[step] = (*uses.get(step, ()), place)
        return uses

    @functools.cached_property
    def last_affine_maps(self) -> frozenset[Affine]:
        """Affine maps with no other block between them and an output."""
        last, reached = set(), set(self.outputs)
        for step in reversed(self.maps):
            if reached.isdisjoint(step.outputs):
                continue
            if isinstance(step, Affine):
                last.add(step)
            if isinstance(step, Recurrence):  # Its steps are between its states and an output.
                reached.update(step.inputs[:1])
            elif not isinstance(step, Affine):
                reached.update(step.inputs)
        return frozenset(last)

    @functools.cached_property
    def inside_blocks(self) -> frozenset[Value]:
        """Values between an affine map and the end of its block's normalization.

        There a rule may send the weights another delta than it carries on.
        """
        inside: set[Value] = set()
        for step in self.maps:
            continues = isinstance(step, Continuation) and step.inputs[0] in inside
            if isinstance(step, Affine) or continues:
                inside.update(step.outputs)
        return frozenset(inside)

    def block(self, affine: Affine) -> tuple[Map, ...]:
        """Returns the maps of the block of `affine`: itself, its normalization and activation.

        A recurrence ends the block of the map that makes its input: they add up to one `z`.

        Args:
            affine: An affine map of the program.
        """
        block: list[Map] = [affine]
        inside = Continuation | Activation | Recurrence
        while not isinstance(block[-1], Activation):
            value, *_ = block[-1].outputs
            consumers = [step for step in self.maps if value in step.inputs]
            if len(consumers) != 1 or not isinstance(consumers[0], inside):
                break
            if consumers[0].inputs[0] != value:  # A state of a recurrence is no part of it.
                break
            block.append(consumers[0])
        return tuple(block)

    def block_output(self, affine: Affine) -> Value:
        """Returns the output of the block of `affine`: `phi(z)`, behind its normalization.

        Args:
            affine: An affine map of the program.
        """
        value, *_ = self.block(affine)[-1].outputs
        return value
