"""The recurrence: an affine map of its own states, in a loop over time."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from wna_tf.graph.jvp import Tangent, push_through, transpose_jvp
from wna_tf.graph.maps import Delta, Record, Updates, Value
from wna_tf.graph.operators import Affine
from wna_tf.layers import recurrent as loops


class Loop(NamedTuple):
    """A loop over time; in one step of it, or in all steps at once, [time, ...] each.

    Attributes:
        sequences: What each step is given, [batch, ...] each; the first is the input `u`.
        products: What the kernel's parts made of presynaptic activity, [batch, features] each.
        states: The states before each step, [batch, units] each.
    """

    sequences: list[tf.Tensor]
    products: list[tf.Tensor]
    states: list[tf.Tensor]


@dataclasses.dataclass(frozen=True, eq=False)
class Recurrence(Affine):
    """An affine map of the states before, in a loop over time.

    Its inputs are sequences [batch, time, ...], the first of which is `u`, then what is the same in
    all steps, [batch, ...] each, then the initial states, [batch, units] each; without them they
    are zero. Its outputs are its first states after each step, [batch, time, units] each. Deltas
    go to `u` and to the initial states. One kernel carries deltas through time, and learns from all
    steps. Where feedback is None, nothing is carried from step to step, neither by the kernel nor
    by the cell.

    Attributes:
        cell: `cell(recurrent, *sequences_t, *constants, *states) -> states`. It calls
            `recurrent(p)` once for each part of the kernel, in their order, with the presynaptic
            activity of that part. Its derivative is a local map's.
        sizes: Number of units of each state.
        parts: Shares of the kernel's columns that act at once.
        num_sequences: Number of its sequences.
        num_constants: Number of inputs that are the same in all steps.
    """

    cell: loops.Cell = dataclasses.field(kw_only=True)
    sizes: tuple[int, ...] = dataclasses.field(kw_only=True)
    parts: tuple[int, ...] = (1,)
    num_sequences: int = 1
    num_constants: int = 0

    def carries(self, above: Collection[Value], trained: Collection[int]) -> bool:
        return self.learns(trained) or super().carries(above, trained)  # It is below itself.

    def evaluate(self, inputs: list[tf.Tensor], weights: list[tf.Tensor]) -> Record:
        sequences = list(map(loops.swap_time, inputs[: self.num_sequences]))
        batch, dtype = tf.shape(sequences[0])[1], sequences[0].dtype
        initial = self._initial(inputs) or [tf.zeros([batch, size], dtype) for size in self.sizes]
        kernel, *biases = weights
        kernels = self._split(kernel)
        offsets = [self._split(self.offset(bias)) for bias in biases if self.offset]

        def step(time: tf.Tensor, states: list[tf.Tensor], arrays: list[Any]) -> tuple:
            products: list[tf.Tensor] = []

            def recurrent(p: tf.Tensor) -> tf.Tensor:
                part = len(products)
                product = self.apply(p, kernels[part])
                products.append(sum((offset[part] for offset in offsets), product))
                return products[part]

            elements = [each[time] for each in sequences]
            after = self.cell(recurrent, *elements, *self._constants(inputs), *states)
            found = zip(arrays, [*after, *products], strict=True)
            return time + 1, after, [array.write(time + 1, each) for array, each in found]

        # The states before each step and after it are slices of one array, which copy nothing.
        steps, known = tf.shape(sequences[0])[0], sequences[0].shape[0]
        first = [*initial, *(tf.zeros([batch, part.shape[-1]], dtype) for part in kernels)]
        arrays = [
            tf.TensorArray(each.dtype, steps + 1, element_shape=each.shape).write(0, each)
            for each in first
        ]
        _, _, arrays = tf.while_loop(
            lambda time, *_: time < steps, step, (0, initial, arrays), maximum_iterations=steps
        )
        kept = [
            tf.ensure_shape(array.stack(), [None if known is None else known + 1, *each.shape])
            for array, each in zip(arrays, first, strict=True)
        ]
        before = [each[:-1] for each in kept[: len(initial)]]
        found = [each[1:] for each in kept]
        after, products = found[: len(initial)], found[len(initial) :]
        outputs = [loops.swap_time(states) for states, _ in zip(after, self.outputs, strict=False)]
        return Record(inputs, weights, outputs, loop=Loop(sequences, products, before))

    def push(
        self, record: Record, inputs: Sequence[Tangent], weights: Sequence[Tangent]
    ) -> list[Tangent]:
        loop: Loop = record.loop
        constants, kernels = self._constants(record.inputs), self._split(record.weights[0])
        du = tf.zeros_like(loop.sequences[0]) if inputs[0] is None else loops.swap_time(inputs[0])
        direct = self._push_weights(record, weights)
        products = (
            list(map(tf.zeros_like, loop.products)) if direct is None else self._split(direct)
        )
        given = self._initial(inputs) or [None] * len(self.sizes)
        initial = [
            tf.zeros_like(states[0]) if tangent is None else tangent
            for states, tangent in zip(loop.states, given, strict=True)
        ]

        def step(tangents: list[tf.Tensor], elements: Any) -> list[tf.Tensor]:
            (du, products), at = elements
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                primals, states = self._rerun(tape, at, constants, kernels)
            pushed = push_through(
                tape, tf.nest.flatten(primals), states, [du, *products, *tangents]
            )
            return [
                tf.zeros_like(state) if tangent is None else tangent
                for state, tangent in zip(states, pushed, strict=True)
            ]

        pushed = tf.scan(step, ((du, products), loop), initial)
        return [loops.swap_time(states) for states, _ in zip(pushed, self.outputs, strict=False)]

    def multiply(self, activities: Sequence[tf.Tensor], kernel: tf.Tensor) -> tf.Tensor:
        return tf.concat(list(map(self.linear, activities, self._split(kernel))), -1)

    def transpose_kernel(
        self, activities: Sequence[tf.Tensor], like: tf.Tensor, delta: tf.Tensor
    ) -> tf.Tensor:
        # Part by part: XLA does not differentiate as often as a transpose does what joins them. All
        # steps in one product, instead of one a step, of which the sum would be taken.
        updates = [
            transpose_jvp(functools.partial(self.linear, _rows(p)), kernel, _rows(delta))
            for p, kernel, delta in zip(
                activities, self._split(like), self._split(delta), strict=True
            )
        ]
        return tf.concat(updates, -1)

    def presynaptic(self, record: Record) -> list[tf.Tensor]:
        # All steps at once: so a kernel learns by one product instead of one a step.
        loop: Loop = record.loop
        activities: list[tf.Tensor] = []

        def recurrent(p: tf.Tensor) -> tf.Tensor:
            activities.append(p)
            return loop.products[len(activities) - 1]

        self.cell(recurrent, *loop.sequences, *self._constants(record.inputs), *loop.states)
        return activities

    def as_rows(self, product: tf.Tensor) -> tf.Tensor:
        return loops.swap_time(product)

    def carry(
        self, derivative: Record, received: Sequence[Delta | None], feedback: tf.Tensor | None
    ) -> tuple[Updates, tf.Tensor]:
        loop: Loop = derivative.loop
        constants = self._constants(derivative.inputs)
        above = {
            state: loops.swap_time(delta.carried)
            for state, delta in enumerate(received)
            if delta is not None
        }
        carried: Updates = [None] * len(self.inputs)
        if feedback is None:
            # All steps at once: each is a block of its own, to which no other step sends anything.
            nothing = [None] * len(self.parts)
            du, products, _ = self._pull_back(loop, constants, above, nothing)
        else:
            kernels = self._split(feedback)
            # For each delta, the first that is the same tensor.
            same = list(range(1 + len(self.parts)))

            def step(time: tf.Tensor, after: list[tf.Tensor], written: list[Any]) -> tuple:
                received, at = tf.nest.map_structure(lambda each: each[time], (above, loop))
                deltas = {
                    state: delta + received[state] if state in received else delta
                    for state, delta in enumerate(after)
                }
                du, products, before = self._pull_back(at, constants, deltas, kernels)
                found = [du, *products]
                same[:] = [[delta is other for other in found].index(True) for delta in found]
                for place in set(same):
                    written[place] = written[place].write(time, found[place])
                return time - 1, before, written

            # A scan would keep the deltas of all states, too, and copy what it reads.
            steps = tf.shape(loop.sequences[0])[0]
            last = [tf.zeros_like(states[0]) for states in loop.states]
            arrays = [
                tf.TensorArray(each.dtype, steps, element_shape=each.shape[1:])
                for each in (loop.sequences[0], *loop.products)
            ]
            _, before, arrays = tf.while_loop(
                lambda time, *_: time >= 0,
                step,
                (steps - 1, last, arrays),
                maximum_iterations=steps,
            )
            du, *products = (arrays[place].stack() for place in same)
            given = slice(self.num_sequences + self.num_constants, None)
            carried[given] = before[: len(self.inputs[given])]
        carried[0] = loops.swap_time(du)
        return carried, tf.concat(products, -1)

    def _constants(self, inputs: Sequence[Any]) -> list[Any]:
        return list(inputs[self.num_sequences :][: self.num_constants])

    def _initial(self, inputs: Sequence[Any]) -> list[Any]:
        return list(inputs[self.num_sequences + self.num_constants :])

    def _split(self, columns: tf.Tensor) -> list[tf.Tensor]:
        """Returns the columns that belong to each part."""
        share = columns.shape[-1] // sum(self.parts)
        return tf.split(columns, [share * part for part in self.parts], -1)

    def _pull_back(
        self,
        at: Loop,
        constants: Sequence[tf.Tensor],
        deltas: Mapping[int, tf.Tensor],
        kernels: Sequence[tf.Tensor | None],
    ) -> list[Any]:
        """Transposes a step's Jacobian, for deltas of some states, as `_rerun` nests them."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            primals, states = self._rerun(tape, at, constants, kernels)
        return tape.gradient(
            [states[state] for state in deltas],
            primals,
            output_gradients=list(deltas.values()),
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )

    def _rerun(
        self,
        tape: tf.GradientTape,
        at: Loop,
        constants: Sequence[tf.Tensor],
        kernels: Sequence[tf.Tensor | None],
    ) -> tuple[list[Any], list[tf.Tensor]]:
        """Runs a step again, with the products that are known.

        Args:
            tape: Records it.
            at: The step.
            constants: Inputs that are the same in all steps.
            kernels: What carries deltas through each part; None if nothing is to be carried.

        Returns:
            Input, products and states before, by which it can be differentiated, and the states
            after.
        """
        parts = iter(zip(at.products, kernels, strict=True))

        def recurrent(p: tf.Tensor) -> tf.Tensor:
            product, kernel = next(parts)
            return self._recall(kernel)(p, product)

        primals = [at.sequences[0], at.products, at.states]
        tape.watch(primals)
        return primals, self.cell(recurrent, *at.sequences, *constants, *at.states)

    def _recall(self, kernel: tf.Tensor | None) -> Callable[..., tf.Tensor]:
        """Returns a function that is a known product, as one of activity by another kernel."""

        @tf.custom_gradient
        def recall(p: tf.Tensor, product: tf.Tensor) -> tuple[tf.Tensor, Callable]:
            def transpose(delta: tf.Tensor) -> tuple[Tangent, tf.Tensor]:
                return None if kernel is None else self._carry(p, kernel, delta), delta

            return tf.identity(product), transpose

        return recall


def _rows(sequence: tf.Tensor) -> tf.Tensor:
    """Returns all steps of all examples, [time * batch, features], of [time, batch, features]."""
    return tf.reshape(sequence, [-1, sequence.shape[-1]])
