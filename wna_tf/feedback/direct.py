"""Feedback straight from the output."""

import dataclasses
import math
from collections.abc import Collection
from typing import ClassVar

import keras
import tensorflow as tf

from wna_tf.feedback.context import Context
from wna_tf.feedback.source import Changes, Feedback, FeedbackWeights, check_not_negative
from wna_tf.graph.maps import Value
from wna_tf.graph.operators import Affine
from wna_tf.graph.program import Program


class Direct(Feedback):
    """Fixed random projections of the output error to each block's output (Nokland, 2016).

    `d_l = D_l^T (B_l s)` of the signal `s = e`, where `B_l` has shape [*block output, classes] and
    entries N(0, 1 / size of the block output). The last affine map gets its exact gradient.

    A recurrent layer is one block, whose affine map is one step of it, `x_t W + h_{t-1} R`, and
    whose output is that of all steps: each step gets a projection of its own, from which both
    kernels learn, and nothing is carried from step to step, nor to initial states. If it is the
    last one, its steps get the exact gradients of what they put out.
    """

    name = "direct"
    carries = False
    learned: ClassVar[bool] = False

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
            initializer = self.initializer(math.prod(known))
            projected = (*known, classes)
            feedback.append(FeedbackWeights(tuple(maps), projected, initializer, self.learned))
        return feedback

    def initializer(self, size: int) -> keras.initializers.Initializer:
        """Returns the distribution of projections to a block output of some size.

        Args:
            size: Entries of the output of an example.
        """
        return keras.initializers.RandomNormal(stddev=size**-0.5)

    def needs(self, program: Program, weights: FeedbackWeights, trained: Collection[int]) -> bool:
        # What arrives at the output of a block goes no further than to the block.
        return any(part.learns(trained) for step in weights.maps for part in program.block(step))

    def project(self, context: Context) -> dict[Value, tf.Tensor]:
        signal = self.signal(context)
        if signal is None:
            return {}
        return {
            context.program.block_output(some.maps[0]): tf.tensordot(
                tf.cast(signal, projection.dtype), projection, [[1], [-1]]
            )
            for some in context.owned
            for projection in some.values
        }

    def signal(self, context: Context) -> tf.Tensor | None:
        """Returns what is projected, [batch, classes]; None for nothing.

        Args:
            context: The step.
        """
        return context.error


class DirectSign(Direct):
    """Projections of the sign of the output error: sDFA of Frenkel et al. (2021).

    `s = sign(e) / batch`: as large for a small error as for a large one.
    """

    name = "direct_sign"
    is_linear = False

    def signal(self, context: Context) -> tf.Tensor | None:
        error = context.error
        return None if error is None else tf.sign(error) / tf.cast(context.batch_size, error.dtype)


class DirectTarget(Direct):
    """Projections of the target: direct random target projection (Frenkel et al., 2021).

    `s = y / batch`, so that a block can learn before the blocks above have seen the input. The
    targets are those that the loss is given; labels count as one-hot. The signal is descended like
    an error, which its sign is not: for random projections both signs are the same.
    """

    name = "direct_target"
    is_linear = False

    def signal(self, context: Context) -> tf.Tensor:
        (output,) = context.program.outputs
        like = context.networks["current"].values[output.index]
        (targets, *others) = keras.tree.flatten(context.targets)
        shape = tuple(targets.shape[1:])
        if shape in ((), (1,)) and like.shape[-1] > 1:
            targets = tf.one_hot(tf.reshape(tf.cast(targets, "int32"), [-1]), like.shape[-1])
        elif others or shape != tuple(like.shape[1:]):
            raise ValueError(
                f"Expected targets of the shape of the output, {(None, *like.shape[1:])}, or "
                "labels, for projections of the target. "
                f"Received: {[tuple(some.shape) for some in (targets, *others)]}"
            )
        signal = tf.cast(targets, like.dtype) / tf.cast(context.batch_size, like.dtype)
        if context.sample_weight is None:
            return signal
        return signal * tf.reshape(tf.cast(context.sample_weight, like.dtype), [-1, 1])


@dataclasses.dataclass(frozen=True)
class DirectKolenPollack(Direct):
    """Projections of the error that learn as a linear readout of their block would.

    The update of `B_l` is `rate (sum over the batch of h_l (outer) e + decay B_l)`, with `h_l` the
    output of the block. With the same decay in the weights, `B_l` comes to be the chain of the
    weights above. Source: Webster, Choi and Ahn (2020).

    Attributes:
        rate: Their learning rate, in units of that of the weights.
        decay: What decays in a unit of the learning rate.

    Raises:
        ValueError: If one is negative.
    """

    name = "direct_kolen_pollack"
    learned = True
    rate: float = 1.0
    decay: float = 0.0

    def __post_init__(self) -> None:
        check_not_negative(rate=self.rate, decay=self.decay)

    def learn(self, context: Context) -> Changes:
        error = context.error
        if error is None:
            return
        for maps, variables, values in context.owned:
            activity = context.activation(context.program.block_output(maps[0]))
            for variable, value in zip(variables, values, strict=True):
                grown = tf.tensordot(activity, tf.cast(error, activity.dtype), [[0], [0]])
                grown = tf.cast(grown, value.dtype)
                yield variable, self.rate * (grown + self.decay * value)


@dataclasses.dataclass(frozen=True)
class DirectForward(Direct):
    """Projections of the error that learn to be the Jacobian, by directional derivatives.

    The outputs of all blocks that have one are perturbed at once, by tangents `v_l` ~ N(0, 1), and
    the tangent `u` of the network's output is found by one forward pass. The update of `B_l` is
    `rate (B_l - mean over the batch of v_l (outer) u)`, and `B_l` begins with zeros.
    Source: Bacho and Chu (2024), forward direct feedback alignment.

    Attributes:
        rate: Their learning rate, in units of that of the weights. The product of both is what a
            step takes of the new estimate: it must be below 2.

    Raises:
        ValueError: If it is negative.
    """

    name = "direct_forward"
    learned = True
    rate: float = 0.03

    @property
    def products(self) -> float:
        return 1

    def __post_init__(self) -> None:
        check_not_negative(rate=self.rate)

    def initializer(self, size: int) -> keras.initializers.Initializer:
        del size
        return keras.initializers.Zeros()

    def perturbation(self, step: Affine, like: tf.Tensor, context: Context) -> tf.Tensor:
        """Draws the tangent of the output of a map's block, which is like a tensor.

        Args:
            step: The affine map of the block.
            like: The output of the block, [batch, ...].
            context: The step.
        """
        return context.normal(like, context.seed_of(step))

    def learn(self, context: Context) -> Changes:
        program, network = context.program, context.networks[context.derivative]
        perturbed = {
            (place := program.block_output(some.maps[0])): self.perturbation(
                some.maps[0], network.values[place.index], context
            )
            for some in context.owned
            if some.variables
        }
        # To where the error is taken: of a last softmax before it.
        (pushed,) = network.push({}, perturbed, [place for place, _ in context.errors]) or [None]
        if pushed is None:
            return
        for maps, variables, values in context.owned:
            for variable, value in zip(variables, values, strict=True):
                tangent = perturbed[program.block_output(maps[0])]
                product = tf.tensordot(tangent, pushed, [[0], [0]])
                mean = tf.cast(product, value.dtype) / tf.cast(context.batch_size, value.dtype)
                yield variable, self.rate * (value - mean)
