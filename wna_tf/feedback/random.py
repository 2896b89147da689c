"""Feedback by fixed random weights."""

import math
from typing import Any

import keras
import tensorflow as tf

from wna_tf.feedback.context import Moment
from wna_tf.feedback.source import Feedback, FeedbackWeights, has_seed, redraw
from wna_tf.graph.operators import Affine
from wna_tf.graph.program import Program

_TRUNCATED = 0.87962566  # Standard deviation of a normal distribution that is cut at two of it.


class Random(Feedback):
    """Fixed random weights `B`, distributed as `W`: feedback alignment (Lillicrap et al., 2016).

    Where `W` begins with zeros or another constant, or a function of the user's draws it, `B` is
    normal, of the size that a kernel of that fan-in has.
    """

    name = "random"

    def weights(self, program: Program) -> list[FeedbackWeights]:
        return [
            FeedbackWeights(maps, tuple(maps[0].kernel.shape), distribution(maps[0]))
            for maps in sharing(program)
        ]

    def kernel(self, step: Affine, moment: Moment) -> tf.Tensor:
        (weights,) = moment.feedback(step)
        return weights


def sharing(program: Program) -> list[tuple[Affine, ...]]:
    """Returns the affine maps of each kernel, in the order of the network."""
    maps: dict[int, list[Affine]] = {}
    for step in program.affine_maps:
        maps.setdefault(id(step.kernel), []).append(step)
    return [tuple(some) for some in maps.values()]


def distribution(step: Affine) -> keras.initializers.Initializer:
    """Returns the distribution of random weights that stand in for a kernel.

    It is the kernel's, if that is drawn at random by an initializer with a seed.
    """
    if has_seed(step.initializer):
        return step.initializer
    return keras.initializers.RandomNormal(stddev=step.magnitude)


class _TensorSeed(keras.random.SeedGenerator):
    """A seed that is a tensor, so that a step of training may draw by it."""

    def __init__(self, seed: tf.Tensor):  # It has no state, so nothing of the base is set up.
        self._seed = seed

    def next(self, ordered: bool = True) -> tf.Tensor:
        del ordered
        return tf.cast(self._seed, "int32")


def draw(step: Affine, seed: tf.Tensor) -> tf.Tensor:
    """Draws weights that are distributed as a kernel at initialization.

    Args:
        step: The map of the kernel.
        seed: A seed [2].
    """
    initializer = redraw(distribution(step), 0)
    initializer.seed = _TensorSeed(seed)
    return tf.convert_to_tensor(initializer(step.kernel.shape, step.kernel.dtype))


def deviation(step: Affine) -> float:
    """Returns the standard deviation of weights that are distributed as a kernel."""
    initializer = distribution(step)
    known: dict[str, Any] = initializer.get_config()
    if isinstance(initializer, keras.initializers.VarianceScaling):
        shape = (1, *tuple(step.kernel.shape))
        size = math.prod(shape[:-2])
        fans = {"fan_in": shape[-2] * size, "fan_out": shape[-1] * size}
        fans["fan_avg"] = (fans["fan_in"] + fans["fan_out"]) / 2
        return math.sqrt(initializer.scale / fans[initializer.mode])
    if isinstance(initializer, keras.initializers.RandomUniform):
        return (known["maxval"] - known["minval"]) / math.sqrt(12)
    if isinstance(initializer, keras.initializers.RandomNormal):
        return known["stddev"]
    if isinstance(initializer, keras.initializers.TruncatedNormal):
        return known["stddev"] * _TRUNCATED
    if isinstance(initializer, keras.initializers.Orthogonal):
        *rows, columns = step.kernel.shape
        return known["gain"] / math.sqrt(max(math.prod(rows), columns))
    return step.magnitude
