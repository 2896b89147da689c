"""What a feedback source is: which weights carry the deltas back to the blocks below."""

import dataclasses
import math
from collections.abc import Collection, Iterator
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from wna_tf.feedback.context import Context, Moment
from wna_tf.graph.maps import Value
from wna_tf.graph.operators import Affine
from wna_tf.graph.program import Program

Changes = Iterator[tuple[keras.Variable, tf.Tensor]]
"""Variables, each with its update or with its new value."""


class FeedbackWeights(NamedTuple):
    """Feedback weights that a source owns.

    Attributes:
        maps: The affine maps that they serve; more than one if those share a kernel.
        shape: Their shape.
        initializer: Their distribution; one without randomness is taken as it is.
        learned: Whether the optimizer trains them.
    """

    maps: tuple[Affine, ...]
    shape: tuple[int, ...]
    initializer: Any
    learned: bool = False


@dataclasses.dataclass(frozen=True)
class Feedback:
    """Where the feedback weights `V` of `d_l = D_l^T A_{l+1}^T(d_{l+1}; V_{l+1})` come from.

    A source of one's own is a frozen dataclass with a `name`, whose fields are its
    hyper-parameters. It overrides what it needs of these methods; what it keeps is in the variables
    that `weights` asks for, which are saved, resumed and kept the same on all replicas.
    """

    name: ClassVar[str]
    carries: ClassVar[bool] = True
    reaches: ClassVar[bool] = True
    is_linear: ClassVar[bool] = True

    @property
    def products(self) -> float:
        """Products with each kernel that a step makes to learn feedback weights."""
        return 0

    def weights(self, program: Program) -> list[FeedbackWeights]:
        """Returns what feedback weights this source owns, in the order of the network.

        A learner makes those that it `needs`.

        Args:
            program: The network, as maps.
        """
        del program
        return []

    def needs(self, program: Program, weights: FeedbackWeights, trained: Collection[int]) -> bool:
        """Returns whether something learns by feedback weights: by what they carry down.

        Those of a map without weights below it carry nothing. They are there if the map learns, so
        that a network all of which learns has feedback weights for each of its maps.

        Args:
            program: The network.
            weights: Some of the feedback weights that this source owns.
            trained: The `id` of every variable that is trained.
        """
        above_any, above = program.above(program.variables), program.above(trained)
        return any(
            step.carries(above, trained)
            or (above_any.isdisjoint(step.inputs) and step.learns(trained))
            for step in weights.maps
        )

    def kernel(self, step: Affine, moment: Moment) -> tf.Tensor | None:
        """Returns the kernel that carries deltas back through an affine map, or None for none.

        Args:
            step: The map.
            moment: The weights, those of this source too.
        """
        del step, moment
        return None

    def project(self, context: Context) -> dict[Value, tf.Tensor]:
        """Returns deltas that come straight from the output, [batch, ...], by where they arrive.

        Args:
            context: The step, of which deltas and updates are not known yet.
        """
        del context
        return {}

    def learn(self, context: Context) -> Changes:
        """Yields updates: of feedback weights that are learned, and further ones of kernels.

        The optimizer applies them; those of a kernel are added to the rule's.

        Args:
            context: The step, before anything has changed.
        """
        del context
        yield from ()

    def evolve(self, before: Context, after: Moment) -> Changes:
        """Yields new values of feedback weights and kernels, after the optimizer's update.

        Args:
            before: The step, as `learn` sees it.
            after: The weights after the update.
        """
        del before, after
        yield from ()


def has_seed(initializer: Any) -> bool:
    """Returns whether an initializer draws at random, and `reseed` can draw anew.

    Args:
        initializer: An initializer of Keras, or whatever else a layer begins its weights with.
    """
    is_initializer = isinstance(initializer, keras.initializers.Initializer)
    return is_initializer and "seed" in initializer.get_config()


def reseed(initializer: Any, seed: int, index: int) -> keras.initializers.Initializer:
    """Returns an initializer of the same distribution with a seed of its own.

    Args:
        initializer: An initializer; one of Keras without randomness stays as it is.
        seed: Seed of the learner.
        index: Index of the weight.

    Raises:
        ValueError: If it is not one of Keras, which may draw at random without a seed.
    """
    if not isinstance(initializer, keras.initializers.Initializer):
        raise ValueError(
            "Expected feedback weights with an initializer of Keras, whose seed can be set. "
            f"Received: {initializer!r}"
        )
    if not has_seed(initializer):
        return initializer
    (state,) = np.random.SeedSequence([seed, index]).generate_state(1)
    return redraw(initializer, int(state))


def redraw(
    initializer: keras.initializers.Initializer, seed: Any
) -> keras.initializers.Initializer:
    """Returns an initializer of the same distribution with another seed."""
    return type(initializer).from_config(initializer.get_config() | {"seed": seed})


def check_not_negative(**values: float) -> None:
    """Raises a ValueError if one of some hyper-parameters is negative, or not finite."""
    for name, value in values.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"Expected {name} to be at least 0. Received: {name}={value}")
