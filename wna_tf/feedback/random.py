"""Feedback by fixed random weights."""

import keras
import tensorflow as tf

from wna_tf.feedback.source import Feedback, FeedbackWeights, has_seed
from wna_tf.graph.operators import Affine
from wna_tf.graph.program import Program


class Random(Feedback):
    """Fixed random weights `B`, distributed as `W`: feedback alignment (Lillicrap et al., 2016).

    Where `W` begins with zeros or another constant, or a function of the user's draws it, `B` is
    normal, of the size that a kernel of that fan-in has.
    """

    name = "random"

    def weights(self, program: Program) -> list[FeedbackWeights]:
        sharing: dict[int, list[Affine]] = {}
        for step in program.affine_maps:
            sharing.setdefault(id(step.kernel), []).append(step)
        return [
            FeedbackWeights(tuple(maps), tuple(maps[0].kernel.shape), distribution(maps[0]))
            for maps in sharing.values()
        ]

    def kernel(
        self, step: Affine, current: tf.Tensor, initial: tf.Tensor, weights: tf.Tensor | None
    ) -> tf.Tensor | None:
        return weights


def distribution(step: Affine) -> keras.initializers.Initializer:
    """Returns the distribution of random weights that stand in for a kernel.

    It is the kernel's, if that is drawn at random by an initializer with a seed.
    """
    if has_seed(step.initializer):
        return step.initializer
    return keras.initializers.RandomNormal(stddev=step.magnitude)
