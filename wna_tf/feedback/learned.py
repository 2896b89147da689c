"""Feedback by weights that follow what the forward ones do."""

import dataclasses

import keras
import tensorflow as tf

from wna_tf.feedback.context import Context, Moment
from wna_tf.feedback.random import Random, distribution, sharing
from wna_tf.feedback.source import Changes, Feedback, FeedbackWeights, check_not_negative
from wna_tf.graph.operators import Affine
from wna_tf.graph.program import Program


@dataclasses.dataclass(frozen=True)
class Mirrored(Random):
    """Weights that change as the forward ones do: Kolen and Pollack (1994).

    With the change `dW` that the optimizer makes, `W <- (1 - decay) W + dW` and
    `B <- (1 - decay) B + dW`, so that `W - B` shrinks by `1 - decay` a step. A constraint of `W`
    holds after the decay, and counts as a part of `dW`.

    Attributes:
        decay: In [0, 1).

    Raises:
        ValueError: If `decay` is out of range.
    """

    name = "mirrored"
    decay: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"Expected 0 <= decay < 1. Received: decay={self.decay}")

    def evolve(self, before: Context, after: Moment) -> Changes:
        for some in before.owned:
            kernel, (step, *_) = some.kernel, some.maps
            if not kernel.trainable:
                continue
            old = before.kernel(step)
            decayed = after.kernel(step) - self.decay * old
            if kernel.constraint is not None:
                decayed = kernel.constraint(decayed)
            yield kernel, decayed
            for variable, value in zip(some.variables, some.values, strict=True):
                yield variable, decayed + (1 - self.decay) * (value - old)


@dataclasses.dataclass(frozen=True)
class Product(Feedback):
    """Weights `F = R B` of a learned and a fixed factor: product feedback alignment.

    `R`, [*inputs, m], is distributed as the forward weights are, and gets their update sent
    through the fixed `B`, [m, outputs]: `dR = dW B^T`. `B` is uniform with variance `1 / m`, so
    that `F` has the size of `R`. Both `W` and `R` get `decay` times themselves, by which `F` comes
    to lie along `W`. Source: Ji-An and Benna (2024).

    Attributes:
        expand_ratio: `m` in units of the number of outputs, an integer.
        decay: What decays in a unit of the learning rate.

    Raises:
        ValueError: If a value is out of range.
    """

    name = "product"
    expand_ratio: int = 10
    decay: float = 1e-3

    def __post_init__(self) -> None:
        check_not_negative(decay=self.decay)
        if self.expand_ratio < 1 or self.expand_ratio != int(self.expand_ratio):
            raise ValueError(
                "Expected expand_ratio to be an integer at least 1. "
                f"Received: expand_ratio={self.expand_ratio}"
            )

    def weights(self, program: Program) -> list[FeedbackWeights]:
        owned = []
        for maps in sharing(program):
            *inputs, outputs = maps[0].kernel.shape
            between = int(self.expand_ratio) * outputs
            bound = (3 / between) ** 0.5
            fixed = keras.initializers.RandomUniform(-bound, bound)
            owned += [
                FeedbackWeights(maps, (*inputs, between), distribution(maps[0]), learned=True),
                FeedbackWeights(maps, (between, outputs), fixed),
            ]
        return owned

    def kernel(self, step: Affine, moment: Moment) -> tf.Tensor:
        learned, fixed = moment.feedback(step)
        return tf.tensordot(learned, fixed, 1)

    def learn(self, context: Context) -> Changes:
        for some in context.owned:
            update = context.update(some.maps[0])
            if update is None:
                continue
            yield some.kernel, self.decay * context.kernel(some.maps[0])
            if some.variables:
                learned, fixed = some.values
                sent = tf.tensordot(update, fixed, [[-1], [-1]])
                yield some.variables[0], sent + self.decay * learned
