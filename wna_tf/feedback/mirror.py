"""Feedback by weights that are found by sending noise through the forward ones."""

import dataclasses
import math

import tensorflow as tf

from wna_tf.feedback.context import Context, Moment
from wna_tf.feedback.random import Random
from wna_tf.feedback.source import Changes, check_not_negative
from wna_tf.graph.operators import Activation, Affine, Rearrangement


@dataclasses.dataclass(frozen=True)
class WeightMirror(Random):
    """Weights that are found by sending noise through the forward ones: weight mirrors.

    After a step, each map by itself is given noise `n` and answers `y = phi(A(n; W) + b)`, from
    which `F <- (1 - rate decay) F + rate G`, with `G` the Hebbian product of `n` and `y`, in units
    in which its mean is `W` where `phi` is linear. Normalizations are left out.
    Source: Akrout et al. (2019), section 3; `decay=0` is the authors' code.

    Attributes:
        rate: Learning rate of the feedback weights.
        decay: What of them decays in a unit of that.
        noise: Standard deviation of the noise, which is uniform, of mean 0.
        every: Mirror in one of so many steps.

    Raises:
        ValueError: If a value is out of range.
    """

    name = "weight_mirror"
    rate: float = 0.1
    decay: float = 1.0
    noise: float = 1.0
    every: int = 1

    def __post_init__(self) -> None:
        check_not_negative(rate=self.rate, decay=self.decay)
        if not 0 < self.noise < math.inf:
            raise ValueError(f"Expected noise to be above 0. Received: noise={self.noise}")
        if self.every < 1 or self.every != int(self.every):
            raise ValueError(
                f"Expected every to be an integer at least 1. Received: every={self.every}"
            )

    @property
    def products(self) -> float:
        return 2 / self.every

    def draw(self, step: Affine, part: int, like: tf.Tensor, context: Context) -> tf.Tensor:
        """Draws the noise that is sent through a part of a map's kernel, like a tensor.

        Args:
            step: The affine map.
            part: Which part of its kernel.
            like: Presynaptic activity of that part, [batch, ...].
            context: The step.
        """
        uniform = context.uniform(like, context.seed_of(step, part))
        return math.sqrt(12) * self.noise * (uniform - 0.5)

    def evolve(self, before: Context, after: Moment) -> Changes:
        is_due = tf.equal(tf.cast(after.step, "int64") % int(self.every), 0)
        for maps, variables, values in before.owned:
            for variable, value in zip(variables, values, strict=True):

                def mirror(maps: tuple = maps, value: tf.Tensor = value) -> tf.Tensor:
                    made = [self._answer(step, before, after) for step in maps]
                    mean = tf.cast(tf.add_n(made), value.dtype) / len(made)
                    return (1 - self.rate * self.decay) * value + self.rate * mean

                if self.every == 1:
                    yield variable, mirror()
                else:
                    yield variable, tf.cond(is_due, mirror, lambda value=value: value)

    def _answer(self, step: Affine, before: Context, after: Moment) -> tf.Tensor:
        """Returns the Hebbian product of noise and of what a map makes of it."""
        kernel = after.kernel(step)
        noise = [
            self.draw(step, part, like, before)
            for part, like in enumerate(before.presynaptic(step))
        ]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            product = step.multiply(noise, kernel)
            tape.watch(product)
            rearranged = step.unfolded.complete(product, *after.values(step)[1:])
            activation = None
            for part in before.program.block(step)[1:]:
                if isinstance(part, Rearrangement):
                    (rearranged,) = part.evaluate([rearranged], after.values(part)).outputs
                elif isinstance(part, Activation):
                    activation = part
        answer = rearranged
        if activation is not None:
            (answer,) = activation.evaluate([rearranged], []).outputs
        answer = tape.gradient(rearranged, product, output_gradients=answer)
        answers = tf.size(product) / step.units
        hebbian = step.transpose_kernel(noise, kernel, answer)
        unit = (step.gain * self.noise) ** 2
        return hebbian / (unit * tf.cast(tf.maximum(answers, 1), hebbian.dtype))
