"""The recurrence: an affine map of its own output, in a loop over time."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from wna_tf.graph.jvp import Tangent, push_through
from wna_tf.graph.operators import Affine, Delta, Record
from wna_tf.layers import recurrent as loops


@dataclasses.dataclass(frozen=True, eq=False)
class Recurrence(Affine):
    """An affine map of the output before, in a loop over time: `v_t = apply(h_{t-1}, kernel)`.

    Its input is `u`, [batch, time, features], its output `h`, [batch, time, units]. One kernel
    carries deltas through time, and learns from all steps. Where feedback is None, nothing is
    carried from step to step, neither by the kernel nor by the cell.

    Attributes:
        cell: `cell(u_t, v_t, *states) -> states`, the first of which is `h_t`; its derivative is
            a local map's.
        sizes: Number of units of each state.
    """

    cell: loops.Cell = dataclasses.field(kw_only=True)
    sizes: tuple[int, ...] = dataclasses.field(kw_only=True)

    def evaluate(self, inputs: list[tf.Tensor], weights: list[tf.Tensor]) -> Record:
        u = loops.swap_time(*inputs)
        states, v = loops.unroll(self.cell, lambda h: self.apply(h, *weights), u, self.sizes)
        loop = [u, v, *map(loops.shift, states)]
        return Record(inputs, weights, [loops.swap_time(states[0])], loop=loop)

    def push(
        self, record: Record, inputs: Sequence[Tangent], weights: Sequence[Tangent]
    ) -> list[Tangent]:
        u, v, *before = record.loop
        (du,) = inputs
        du = tf.zeros_like(u) if du is None else loops.swap_time(du)
        direct = self._push(before[0], record.weights, None, weights)
        direct = tf.zeros_like(v) if direct is None else direct

        def step(tangents: list[tf.Tensor], elements: Any) -> list[tf.Tensor]:
            (du, dv), primals = elements
            dv += self.apply(tangents[0], record.weights[0])
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(primals)
                states = self.cell(*primals)
            pushed = push_through(tape, primals, states, [du, dv, *tangents])
            return [
                tf.zeros_like(state) if tangent is None else tangent
                for state, tangent in zip(states, pushed, strict=True)
            ]

        states = tf.scan(
            step,
            ((du, direct), record.loop),
            [tf.zeros_like(states[0]) for states in before],
        )
        return [loops.swap_time(states[0])]

    def presynaptic(self, record: Record) -> tf.Tensor:
        return record.loop[2]  # All steps at once: one product instead of one a step.

    def as_rows(self, product: tf.Tensor) -> tf.Tensor:
        return loops.swap_time(product)

    def carry(
        self, derivative: Record, delta: Delta, feedback: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        above = loops.swap_time(delta.carried)
        if feedback is None:
            # All steps at once: each is a block of its own, to which no other step sends anything.
            du, dv, *_ = self._pull_back(derivative.loop, [above])
            return loops.swap_time(du), dv

        def step(carry: Any, elements: Any) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
            after, _ = carry
            above, primals = elements
            du, dv, *before = self._pull_back(primals, [after[0] + above, *after[1:]])
            before[0] += self._carry(primals[2], feedback, dv)
            return before, [du, dv]

        zeros = [tf.zeros_like(sequence[0]) for sequence in derivative.loop]
        _, (du, dv) = tf.scan(step, (above, derivative.loop), (zeros[2:], zeros[:2]), reverse=True)
        return loops.swap_time(du), dv

    def _pull_back(
        self, primals: Sequence[tf.Tensor], deltas: Sequence[tf.Tensor]
    ) -> list[tf.Tensor]:
        """Transposes the cell's Jacobian, for deltas of its first states."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(primals)
            states = self.cell(*primals)[: len(deltas)]
        return tape.gradient(
            states,
            primals,
            output_gradients=list(deltas),
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
