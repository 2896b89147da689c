"""Feedback straight from the output error."""

import math
from collections.abc import Collection, Mapping

import keras
import tensorflow as tf

from wna_tf.feedback.source import Feedback, FeedbackWeights
from wna_tf.graph.errors import Errors
from wna_tf.graph.operators import Affine, Value
from wna_tf.graph.program import Program


class Direct(Feedback):
    """Fixed random projections of the output error to each block's output (Nokland, 2016).

    `d_l = D_l^T (B_l e)`, where `B_l` has shape [*block output, classes] and entries
    N(0, 1 / size of the block output). The last affine map gets its exact gradient.

    A recurrent layer is one block, whose affine map is one step of it, `x_t W + h_{t-1} R`, and
    whose output is that of all steps: each step gets a projection of its own, from which both
    kernels learn, and nothing is carried from step to step, nor to initial states. If it is the
    last one, its steps get the exact gradients of what they put out.
    """

    name = "direct"

    def weights(self, program: Program) -> list[FeedbackWeights]:
        if len(program.outputs) != 1 or len(program.shapes[program.outputs[0].index]) != 2:
            shapes = [program.shapes[output.index] for output in program.outputs]
            raise ValueError(
                "Expected a network with one output [batch, classes] for direct feedback. "
                f"Received: outputs of shapes {shapes}"
            )
        if program.losses:
            raise ValueError(
                "Expected a network whose layers add no losses, which direct feedback has no "
                f"projections for. Received: {len(program.losses)} of them"
            )
        classes = program.shapes[program.outputs[0].index][-1]
        blocks: dict[Value, list[Affine]] = {}
        for step in program.affine_maps:
            if step not in program.last_affine_maps:
                blocks.setdefault(program.block_output(step), []).append(step)
        feedback = []
        for output, maps in blocks.items():
            shape = program.shapes[output.index][1:]
            known = tuple(size for size in shape if size is not None)
            if len(known) < len(shape):
                raise ValueError(
                    "Expected block outputs of known shape for direct feedback. "
                    f"Received: shape {shape} behind layer {maps[0].name!r}"
                )
            initializer = keras.initializers.RandomNormal(stddev=math.prod(known) ** -0.5)
            feedback.append(FeedbackWeights(tuple(maps), (*known, classes), initializer))
        return feedback

    def needs(self, program: Program, weights: FeedbackWeights, trained: Collection[int]) -> bool:
        # What arrives at the output of a block goes no further than to the block.
        return any(part.learns(trained) for step in weights.maps for part in program.block(step))

    def kernel(
        self, step: Affine, current: tf.Tensor, initial: tf.Tensor, weights: tf.Tensor | None
    ) -> tf.Tensor | None:
        return None

    def project(
        self, program: Program, weights: Mapping[Affine, tf.Tensor], errors: Errors
    ) -> dict[Value, tf.Tensor]:
        if not errors:  # The loss does not look at the output.
            return {}
        ((_, error),) = errors
        return {
            program.block_output(step): tf.tensordot(
                tf.cast(error, projection.dtype), projection, [[1], [-1]]
            )
            for step, projection in weights.items()
        }
