"""Feedback by the signs of the current weights."""

import math

import tensorflow as tf

from wna_tf.feedback.random import Random
from wna_tf.feedback.source import Feedback
from wna_tf.graph.operators import Affine


class Sign(Feedback):
    """Signs of the current weights, of one magnitude: uniform sign symmetry (Liao et al., 2016).

    The magnitude is `1 / sqrt(3 fan_in)` in standard parameterization, `1 / sqrt(3)` in NTK.
    """

    name = "sign"

    def kernel(
        self, step: Affine, current: tf.Tensor, initial: tf.Tensor, weights: tf.Tensor | None
    ) -> tf.Tensor | None:
        return step.magnitude / math.sqrt(3) * tf.sign(current)


class SignMagnitude(Random):
    """Signs of the current weights, with fixed random magnitudes `abs(M)`, `M` distributed as `W`.

    Source: sign symmetry of Liao et al. (2016), and its "brsf" form.
    """

    name = "sign_magnitude"

    def kernel(
        self, step: Affine, current: tf.Tensor, initial: tf.Tensor, weights: tf.Tensor | None
    ) -> tf.Tensor | None:
        return tf.abs(weights) * tf.sign(current)
