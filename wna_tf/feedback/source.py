"""What a feedback source is: which weights carry the deltas back to the blocks below."""

import abc
import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from wna_tf.graph.errors import Errors
from wna_tf.graph.operators import Affine, Value
from wna_tf.graph.program import Program


class FeedbackWeights(NamedTuple):
    """Feedback weights that a source owns.

    Attributes:
        maps: The affine maps that they serve; more than one if those share a kernel.
        shape: Their shape.
        initializer: Their distribution.
    """

    maps: tuple[Affine, ...]
    shape: tuple[int, ...]
    initializer: Any


@dataclasses.dataclass(frozen=True)
class Feedback(abc.ABC):
    """Where the feedback weights `V` of `d_l = D_l^T A_{l+1}^T(d_{l+1}; V_{l+1})` come from."""

    name: ClassVar[str]

    def weights(self, program: Program) -> list[FeedbackWeights]:
        """Returns what feedback weights this source owns, in the order of the network.

        A learner makes those that it `needs`.
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

    @abc.abstractmethod
    def kernel(
        self, step: Affine, current: tf.Tensor, initial: tf.Tensor, weights: tf.Tensor | None
    ) -> tf.Tensor | None:
        """Returns the kernel that carries deltas back through an affine map, or None for none.

        Args:
            step: The map.
            current: Current kernel.
            initial: Kernel at initialization.
            weights: The map's feedback weights, if this source has any.
        """

    def project(
        self, program: Program, weights: Mapping[Affine, tf.Tensor], errors: Errors
    ) -> dict[Value, tf.Tensor]:
        """Returns deltas that come straight from the output error, by the place they arrive at.

        Args:
            program: The network.
            weights: This source's feedback weights.
            errors: Derivatives of the loss, [batch, ...], with their places.
        """
        del program, weights, errors
        return {}

    def evolve(
        self,
        kernel: keras.Variable,
        before: tf.Tensor,
        weights: keras.Variable | None,
        applied: tf.Tensor,
    ) -> None:
        """Changes feedback weights after a step; they are fixed unless a source says otherwise.

        Args:
            kernel: A kernel, after the step.
            before: Its value before the step.
            weights: Its feedback weights; None where nothing needs them.
            applied: Whether the optimizer applied updates in this step, a boolean tensor.
        """
        del kernel, before, weights, applied


def has_seed(initializer: Any) -> bool:
    """Returns whether an initializer draws at random, and `reseed` can draw anew.

    Args:
        initializer: An initializer of Keras, or whatever else a layer begins its weights with.
    """
    is_initializer = isinstance(initializer, keras.initializers.Initializer)
    return is_initializer and "seed" in initializer.get_config()


def reseed(
    initializer: keras.initializers.Initializer, seed: int, index: int
) -> keras.initializers.Initializer:
    """Returns an initializer of the same distribution with a seed of its own.

    Args:
        initializer: An initializer with a seed.
        seed: Seed of the learner.
        index: Index of the weight.

    Raises:
        ValueError: If it has no seed.
    """
    if not has_seed(initializer):
        raise ValueError(
            "Expected feedback weights with an initializer that has a seed. "
            f"Received: {initializer!r}"
        )
    (state,) = np.random.SeedSequence([seed, index]).generate_state(1)
    return type(initializer).from_config(initializer.get_config() | {"seed": int(state)})
