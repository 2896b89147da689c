"""The two ends of a kernel: a network's derivatives by its weights, and a rule's updates of them.

An end maps an error at the outputs of a block of examples to a direction of the weights. That of
the network is the transpose of its Jacobian, that of a rule is its update; both are walks back.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

import keras
import tensorflow as tf

from wna_tf.credit import reverse_mode
from wna_tf.feedback import Context
from wna_tf.graph.forward_pass import Networks, State
from wna_tf.graph.maps import Delta, Map, Record, Updates, Value
from wna_tf.graph.operators import Affine
from wna_tf.graph.recurrence import Recurrence
from wna_tf.ntk.contraction import Factors

Errors = list[tuple[Value, tf.Tensor]]
Uses = Sequence[tuple[Map, int]]
"""Maps that use a variable, each with the variable's position among the map's weights."""


@dataclasses.dataclass(frozen=True, eq=False)
class End:
    """One end of a kernel, on a block of examples.

    Attributes:
        networks: The network on the block.
        derivative: Name of the one at which derivatives are taken.
        activity: Name of the one whose presynaptic activity is read.
        carriers: The kernels that carry deltas.
        sources: What an error at the output, [batch, ...], sends back, and where.
        trained: The `id` of every variable that has a part in the kernel.
    """

    networks: Networks
    derivative: str
    activity: str
    carriers: Mapping[Map, tf.Tensor | None]
    sources: Callable[[tf.Tensor], Errors]
    trained: Sequence[int]

    @property
    def output(self) -> tf.Tensor:
        """The output at which the error is taken, [batch, ...]."""
        (output,) = self.networks[self.derivative].outputs
        return output

    def walk(self, error: tf.Tensor) -> Iterator[tuple[Map, list[Delta | None], Updates]]:
        """Carries an error back, see `reverse_mode.walk_back`."""
        return reverse_mode.walk_back(
            self.networks.program,
            self.carriers,
            self.networks[self.derivative],
            self.networks[self.activity],
            self.sources(error),
            self.trained,
        )

    def update(self, error: tf.Tensor) -> dict[int, tf.Tensor]:
        """Returns the direction of the weights that an error makes, by the variable's `id`."""
        return reverse_mode.collect((step, updates) for step, _, updates in self.walk(error))

    def push(self, directions: Mapping[int, tf.Tensor]) -> tf.Tensor:
        """Returns the tangent of the output, [batch, ...], for tangents of the weights."""
        tangents = {key: directions[key] for key in self.trained if key in directions}
        (pushed,) = self.networks[self.derivative].push(tangents)
        return tf.zeros_like(self.output) if pushed is None else pushed

    def receive(self, errors: tf.Tensor) -> "Received":
        """Carries several errors back at once.

        Args:
            errors: The errors, [outputs, batch, ...].
        """
        steps: dict[Map, list[bool]] = {}

        def carry(error: tf.Tensor) -> list[list[tf.Tensor]]:
            arrived = {}
            for step, received, _ in self.walk(error):
                if step.learns(self.trained):
                    needed = self._needed(step, received)
                    steps[step] = [tensor is not None for tensor in needed]
                    arrived[step] = [tensor for tensor in needed if tensor is not None]
            return list(arrived.values())

        has_loops = any(isinstance(step, Recurrence) for step in self.networks.program.maps)
        stacked = iter(_map(carry, errors, has_loops))
        deltas = {step: _put_back(next(stacked), is_there) for step, is_there in steps.items()}
        return Received(self, {step: self._with_shapes(step, d) for step, d in deltas.items()})

    def _with_shapes(
        self, step: Map, stacked: Sequence[tf.Tensor | None]
    ) -> list[tf.Tensor | None]:
        """Returns what `_needed` does, [outputs, batch, ...], with shapes that loops lose."""
        outputs = self._derivative(step).outputs
        if is_product(step):
            shapes = [(*self.rows(step).shape[:2], step.units)]
        else:
            shapes = [tuple(output.shape) for output in outputs for _ in range(2)]
        return [
            None if tensor is None else tf.ensure_shape(tensor, [tensor.shape[0], *shape])
            for tensor, shape in zip(stacked, shapes, strict=True)
        ]

    def _needed(self, step: Map, received: Sequence[Delta | None]) -> list[tf.Tensor | None]:
        """Returns what a map's part of the kernel is made from."""
        if is_product(step):
            return [self.delta_rows(step, received)]
        return [part for delta in received for part in (delta or (None, None))]

    def delta_rows(self, step: Affine, received: Sequence[Delta | None]) -> tf.Tensor:
        """Returns the deltas that a product's kernel learns from, [batch, places, units]."""
        _, product = step.carry(self._derivative(step), received, self.carriers.get(step))
        return tf.cast(step.as_rows(product), step.kernel.dtype)

    def rows(self, step: Affine) -> tf.Tensor:
        """Returns what a product's kernel multiplies, [batch, places, fan_in]."""
        return tf.cast(step.rows(self._activity(step)), step.kernel.dtype)

    def _derivative(self, step: Map) -> Record:
        return self.networks[self.derivative].records[step]

    def _activity(self, step: Map) -> Record:
        return self.networks[self.activity].records[step]

    def transpose_one(
        self, step: Map, example: tf.Tensor, received: list[Delta | None]
    ) -> list[tf.Tensor]:
        """Returns what one example makes of a map's weights.

        Args:
            step: The map.
            example: Its index in the block.
            received: What arrives at its outputs, [1, ...].
        """
        derivative = self._evaluate_one(self.derivative, step, example)
        activity = derivative
        if self.activity != self.derivative:
            activity = self._evaluate_one(self.activity, step, example)
        _, updates = step.transpose(derivative, activity, received, self.carriers.get(step))
        return [
            tf.zeros(variable.shape, variable.dtype) if update is None else update
            for variable, update in zip(step.weights, updates, strict=True)
        ]

    def _evaluate_one(self, name: str, step: Map, example: tf.Tensor) -> Record:
        program, record = self.networks.program, self.networks[name].records[step]
        inputs = [
            tf.gather(tensor, example)[tf.newaxis]
            if program.shapes[place.index][:1] == (None,)
            else tensor  # A number of each feature, say, without an axis of examples.
            for place, tensor in zip(step.inputs, record.inputs, strict=True)
        ]
        with State(program, self.networks.weights[name]):
            return step.evaluate(inputs, record.weights)


class Received(NamedTuple):
    """What arrives at an end for several errors.

    Attributes:
        end: The end.
        deltas: What arrives at each map that learns, [outputs, batch, ...] each: the rows of its
            deltas for a product, else both parts of the delta of each of its outputs.
    """

    end: End
    deltas: dict[Map, list[tf.Tensor | None]]

    def uses(self, key: int) -> Uses:
        """Returns the maps that use a variable, with its position among their weights."""
        return [
            (step, index)
            for step in self.deltas
            for index, variable in enumerate(step.weights)
            if id(variable) == key
        ]

    def factors(self, uses: Uses) -> Factors:
        """Returns the factors of a variable's Jacobian, which products alone use."""
        rows, deltas = [], []
        for step, index in uses:
            assert is_product(step), "only products have factors"
            activity = self.end.rows(step)
            rows.append(tf.ones_like(activity[..., :1]) if index else activity)
            deltas.append(self.deltas[step][0])
        return Factors(tf.concat(rows, 1), tf.concat(deltas, 2))

    def jacobian(self, uses: Uses) -> tf.Tensor:
        """Returns a variable's Jacobian, [outputs, batch, size], made example by example."""
        return tf.add_n([self._jacobian_of_use(step, index) for step, index in uses])

    def _jacobian_of_use(self, step: Map, index: int) -> tf.Tensor:
        parts = self.deltas[step]
        (outputs, examples), *_ = (part.shape[:2] for part in parts if part is not None)

        def of_one(given: tuple[tf.Tensor, list[tf.Tensor]]) -> tf.Tensor:
            example, some = given
            one = _put_back([part[tf.newaxis] for part in some], [p is not None for p in parts])
            deltas = [
                None if carried is None else Delta(carried, for_weights)
                for carried, for_weights in zip(one[::2], one[1::2], strict=True)
            ]
            return tf.reshape(self.end.transpose_one(step, example, deltas)[index], [-1])

        flat = [tf.reshape(part, [-1, *part.shape[2:]]) for part in parts if part is not None]
        each = tf.tile(tf.range(examples), [outputs])
        rows = _map(of_one, (each, flat), isinstance(step, Recurrence))
        return tf.reshape(rows, [outputs, examples, -1])


def size(output: tf.Tensor) -> int:
    """Returns the number of outputs of an example."""
    return math.prod(output.shape[1:])


def one_hots(output: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Returns, for some outputs of an example, the error that is 1 there in every example."""
    each = tf.one_hot(numbers, size(output), dtype=output.dtype)
    each = tf.reshape(each, [-1, 1, *output.shape[1:]])
    return tf.broadcast_to(each, [each.shape[0], *output.shape])


def is_product(step: Map) -> TypeGuard[Affine]:
    """Returns whether a map's Jacobian is a sum of products over places."""
    return isinstance(step, Affine) and step.is_product


def _map(function: Callable[[Any], Any], elements: Any, has_loops: bool) -> Any:
    """Returns what a function makes of each element, stacked; loops take long to vectorize."""
    if not has_loops:
        return tf.vectorized_map(function, elements)
    like = function(keras.tree.map_structure(lambda tensor: tensor[0], elements))
    signature = keras.tree.map_structure(lambda tensor: tensor.dtype, like)
    return tf.map_fn(function, elements, fn_output_signature=signature, parallel_iterations=1)


def _put_back(given: Sequence[tf.Tensor], is_there: Sequence[bool]) -> list[tf.Tensor | None]:
    """Returns a list with None where nothing is."""
    rest = iter(given)
    return [next(rest) if there else None for there in is_there]


def of_network(networks: Networks, name: str, trained: Sequence[int]) -> End:
    """Returns the end whose directions are the network's own derivatives.

    Args:
        networks: The network on a block.
        name: `"current"` or `"initial"`.
        trained: The `id` of every variable that has a part in the kernel.
    """
    (place,) = networks.program.outputs
    weights = networks.weights[name]
    kernels: dict[Map, tf.Tensor | None] = {
        step: weights[id(step.kernel)] for step in networks.program.affine_maps
    }
    return End(networks, name, name, kernels, lambda error: [(place, error)], trained)


def of_rule(learner: Any, networks: Networks, trained: Sequence[int]) -> End:
    """Returns the end whose directions are the updates of a learner's rule.

    Args:
        learner: A `Learner`.
        networks: Its network in training mode on a block.
        trained: The `id` of every variable that has a part in the kernel.
    """
    rule, feedback = learner.rule, learner.rule.feedback
    (place,) = networks.program.outputs
    context = Context(
        **vars(learner.moment(networks)),
        networks=networks,
        derivative=rule.derivative,
        activity=rule.activity,
        errors=[],
        targets=None,
        sample_weight=None,
        examples=None,
        share=None,
        loss_scale=None,
    )

    def sources(error: tf.Tensor) -> Errors:
        errors = [(place, error)]
        projected = feedback.project(dataclasses.replace(context, errors=errors))
        return [*errors, *projected.items()]

    kernels = reverse_mode.carriers(feedback, context, networks.trained)
    return End(networks, rule.derivative, rule.activity, kernels, sources, trained)
