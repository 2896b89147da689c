"""Feedback sources whose draws are given, or recorded."""

import dataclasses
from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf

from wna_tf import feedback

DRAWING = {
    "sign_redrawn": "magnitude",
    "direct_forward": "perturbation",
    "weight_mirror": "draw",
    "layerwise": "draw",
}
"""The method that draws, by the name of the source."""


def injected(
    source: feedback.Feedback, kernels: Sequence[keras.Variable], draws: Sequence[np.ndarray]
) -> feedback.Feedback:
    """Returns a source that takes its draws from arrays [steps, ...], one a kernel.

    Args:
        source: A source.
        kernels: The kernels of the network.
        draws: Those of the first of these kernels; none if the source is to draw.
    """
    if not draws:
        return source
    given = {
        id(kernel): tf.constant(some, kernel.dtype)
        for kernel, some in zip(kernels, draws, strict=False)
    }

    def draw(self, step, *rest):
        (*_, context) = rest
        return tf.gather(given[id(step.kernel)], context.step)

    return _drawing_by(draw, source)


def recorded(source: feedback.Feedback) -> tuple[feedback.Feedback, list[np.ndarray]]:
    """Returns a source, and a list that gets what it draws when it is run eagerly."""
    draws = []
    original = getattr(type(source), DRAWING[source.name])

    def draw(self, step, *rest):
        drawn = original(self, step, *rest)
        draws.append(drawn.numpy())
        return drawn

    return _drawing_by(draw, source), draws


def _drawing_by(draw: Callable, source: feedback.Feedback) -> feedback.Feedback:
    cls = type(source)
    members = {
        DRAWING[cls.name]: draw,
        "name": f"changed_{cls.name}",
        "__doc__": f"{cls.__name__}, with another way to draw.",
    }
    changed = dataclasses.dataclass(frozen=True)(type(f"Changed{cls.__name__}", (cls,), members))
    return changed(**vars(source))
