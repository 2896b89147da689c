"""Feedback by weights that learn."""

import dataclasses

import keras
import tensorflow as tf

from wna_tf.feedback.random import Random


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

    def evolve(
        self,
        kernel: keras.Variable,
        before: tf.Tensor,
        weights: keras.Variable | None,
        applied: tf.Tensor,
    ) -> None:
        if not kernel.trainable:
            return
        decayed = kernel - self.decay * before
        if kernel.constraint is not None:
            decayed = kernel.constraint(decayed)
        kernel.assign(tf.where(applied, decayed, kernel))
        if weights is not None:
            mirrored = decayed + (1 - self.decay) * (weights - before)
            weights.assign(tf.where(applied, mirrored, weights))
