"""Feedback by the signs of the current weights (Liao, Leibo and Poggio, 2016)."""

import dataclasses
import math

import tensorflow as tf

from wna_tf.feedback.context import Moment
from wna_tf.feedback.random import Random, deviation, draw
from wna_tf.feedback.source import Feedback
from wna_tf.graph.operators import Affine

SCALES = ("fan_in", "initial")


@dataclasses.dataclass(frozen=True)
class Sign(Feedback):
    """Signs of the current weights, of one magnitude: uniform sign symmetry (uSF).

    Attributes:
        scale: The magnitude. `"fan_in"` is `1 / sqrt(3 fan_in)` in standard parameterization and
            `1 / sqrt(3)` in NTK; `"initial"` is the standard deviation of the initial weights, as
            in BioTorch.

    Raises:
        ValueError: If the scale is unknown.
    """

    name = "sign"
    scale: str = "fan_in"

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise ValueError(
                f"Expected scale to be one of {', '.join(SCALES)}. Received: scale={self.scale!r}"
            )

    def kernel(self, step: Affine, moment: Moment) -> tf.Tensor:
        by_fan_in = self.scale == "fan_in"
        magnitude = step.magnitude / math.sqrt(3) if by_fan_in else deviation(step)
        return magnitude * tf.sign(moment.kernel(step))


class SignMagnitude(Random):
    """Signs of the current weights, of fixed random magnitudes (frSF).

    They are `abs(M)`, `M` distributed as `W`.
    """

    name = "sign_magnitude"

    def kernel(self, step: Affine, moment: Moment) -> tf.Tensor:
        return tf.abs(super().kernel(step, moment)) * tf.sign(moment.kernel(step))


class SignRedrawn(Feedback):
    """Signs of the current weights, of random magnitudes drawn anew in every step (brSF).

    They are `abs(M)`, `M` distributed as `W`; nothing is drawn to evaluate.
    """

    name = "sign_redrawn"

    def kernel(self, step: Affine, moment: Moment) -> tf.Tensor:
        return self.magnitude(step, moment) * tf.sign(moment.kernel(step))

    def magnitude(self, step: Affine, moment: Moment) -> tf.Tensor:
        """Draws the magnitudes of a map's weights in this step.

        Args:
            step: The affine map.
            moment: The time of the draw, whose step and seed tell the numbers.
        """
        return tf.abs(draw(step, moment.seed_of(step)))
