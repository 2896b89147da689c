"""Feedback sources that take what they would draw at random from given arrays."""

import dataclasses
from collections.abc import Sequence

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

    cls = type(source)
    name = f"given_{cls.name}"
    methods = {DRAWING[cls.name]: draw, "name": name, "__doc__": f"{cls.__name__} of given draws."}
    given_class = dataclasses.dataclass(frozen=True)(type(f"Given{cls.__name__}", (cls,), methods))
    return given_class(**vars(source))
