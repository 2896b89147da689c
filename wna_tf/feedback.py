"""Feedback sources: which weights carry the deltas back to the blocks below."""

import abc
import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from wna_tf import named
from wna_tf.errors import Errors
from wna_tf.kinds import Affine, Value
from wna_tf.program import Program


class Own(NamedTuple):
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

    def own(self, program: Program) -> list[Own]:
        """Returns what feedback weights this source owns, in the order of the network."""
        del program
        return []

    @abc.abstractmethod
    def kernel(
        self, step: Affine, current: tf.Tensor, initial: tf.Tensor, own: tf.Tensor | None
    ) -> tf.Tensor | None:
        """Returns the kernel that carries deltas back through an affine map, or None for none.

        Args:
            step: The map.
            current: Current kernel.
            initial: Kernel at initialization.
            own: The map's feedback weights, if this source has any.
        """

    def project(
        self, program: Program, own: Mapping[Affine, tf.Tensor], errors: Errors
    ) -> dict[Value, tf.Tensor]:
        """Returns deltas that come straight from the output error, by the place they arrive at.

        Args:
            program: The network.
            own: This source's feedback weights.
            errors: Derivatives of the loss, [batch, ...], with their places.
        """
        del program, own, errors
        return {}

    def evolve(
        self, kernel: keras.Variable, before: tf.Tensor, own: keras.Variable, applied: tf.Tensor
    ) -> None:
        """Changes feedback weights after a step; they are fixed unless a source says otherwise.

        Args:
            kernel: A kernel, after the step.
            before: Its value before the step.
            own: Its feedback weights.
            applied: Whether the optimizer applied updates in this step, a boolean tensor.
        """
        del kernel, before, own, applied


class Current(Feedback):
    """The current weights `W(t)`: backpropagation."""

    name = "current"

    def kernel(self, step, current, initial, own):
        return current


class Initial(Feedback):
    """The weights at initialization `W(0)`: the align rules."""

    name = "initial"

    def kernel(self, step, current, initial, own):
        return initial


class Random(Feedback):
    """Fixed random weights `B`, distributed as `W`: feedback alignment (Lillicrap et al., 2016).

    Where `W` begins with zeros or another constant, or a function of the user's draws it, `B` is
    normal, of the size that a kernel of that fan-in has.
    """

    name = "random"

    def own(self, program):
        sharing: dict[int, list[Affine]] = {}
        for step in program.affine_maps:
            sharing.setdefault(id(step.kernel), []).append(step)
        return [
            Own(tuple(maps), tuple(maps[0].kernel.shape), distribution(maps[0]))
            for maps in sharing.values()
        ]

    def kernel(self, step, current, initial, own):
        return own


class Sign(Feedback):
    """Signs of the current weights, of one magnitude: uniform sign symmetry (Liao et al., 2016).

    The magnitude is `1 / sqrt(3 fan_in)` in standard parameterization, `1 / sqrt(3)` in NTK.
    """

    name = "sign"

    def kernel(self, step, current, initial, own):
        return step.magnitude / math.sqrt(3) * tf.sign(current)


class SignMagnitude(Random):
    """Signs of the current weights, with fixed random magnitudes `abs(M)`, `M` distributed as `W`.

    Source: sign symmetry of Liao et al. (2016), and its "brsf" form.
    """

    name = "sign_magnitude"

    def kernel(self, step, current, initial, own):
        return tf.abs(own) * tf.sign(current)


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

    def __post_init__(self):
        if not 0 <= self.decay < 1:
            raise ValueError(f"Expected 0 <= decay < 1. Received: decay={self.decay}")

    def evolve(self, kernel, before, own, applied):
        if not kernel.trainable:
            return
        decayed = kernel - self.decay * before
        if kernel.constraint is not None:
            decayed = kernel.constraint(decayed)
        mirrored = decayed + (1 - self.decay) * (own - before)
        kernel.assign(tf.where(applied, decayed, kernel))
        own.assign(tf.where(applied, mirrored, own))


class Direct(Feedback):
    """Fixed random projections of the output error to each block's output (Nokland, 2016).

    `d_l = D_l^T (B_l e)`, where `B_l` has shape [*block output, classes] and entries
    N(0, 1 / size of the block output). The last affine map gets its exact gradient.

    A recurrent layer is one block, whose affine map is one step of it, `x_t W + h_{t-1} R`, and
    whose output is that of all steps: each step gets a projection of its own, from which both
    kernels learn, and nothing is carried from step to step. If it is the last one, its steps get
    the exact gradients of what they put out.
    """

    name = "direct"

    def own(self, program):
        if len(program.outputs) != 1 or len(program.shapes[program.outputs[0].index]) != 2:
            shapes = [program.shapes[output.index] for output in program.outputs]
            raise ValueError(
                "Expected a network with one output [batch, classes] for direct feedback. "
                f"Received: outputs of shapes {shapes}"
            )
        classes = program.shapes[program.outputs[0].index][-1]
        blocks: dict[Value, list[Affine]] = {}
        for step in program.affine_maps:
            if step not in program.last_affine_maps:
                blocks.setdefault(program.block_output(step), []).append(step)
        feedback = []
        for output, maps in blocks.items():
            shape = program.shapes[output.index][1:]
            if None in shape:
                raise ValueError(
                    "Expected block outputs of known shape for direct feedback. "
                    f"Received: shape {shape} behind layer {maps[0].name!r}"
                )
            initializer = keras.initializers.RandomNormal(stddev=math.prod(shape) ** -0.5)
            feedback.append(Own(tuple(maps), (*shape, classes), initializer))
        return feedback

    def kernel(self, step, current, initial, own):
        return None

    def project(self, program, own, errors):
        ((_, error),) = errors
        return {
            program.block_output(step): tf.tensordot(
                tf.cast(error, weights.dtype), weights, [[1], [-1]]
            )
            for step, weights in own.items()
        }


class Nothing(Feedback):
    """No feedback: only the last affine map learns.

    That of a recurrent layer is one step of it, `x_t W + h_{t-1} R`: if it is the last one, both
    kernels learn, each step from what it puts out, and nothing is carried from step to step.
    """

    name = "none"

    def kernel(self, step, current, initial, own):
        return None


SOURCES = {
    source.name: source
    for source in (Current, Initial, Random, Sign, SignMagnitude, Mirrored, Direct, Nothing)
}


def get(identifier: "str | dict | Feedback") -> Feedback:
    """Returns a feedback source.

    Args:
        identifier: A name in `SOURCES`, a serialized source, or a source.

    Raises:
        ValueError: If it is none of these.
    """
    return named.get(identifier, Feedback, SOURCES, "feedback", "a feedback source")


def serialize(feedback: Feedback) -> dict:
    """Returns a source as a dict that `get` accepts."""
    return named.serialize(feedback)


def distribution(step: Affine) -> keras.initializers.Initializer:
    """Returns the distribution of random weights that stand in for a kernel.

    It is the kernel's, if that is drawn at random by an initializer with a seed.
    """
    if _has_seed(step.initializer):
        return step.initializer
    return keras.initializers.RandomNormal(stddev=step.magnitude)


def _has_seed(initializer: Any) -> bool:
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
    if not _has_seed(initializer):
        raise ValueError(
            "Expected feedback weights with an initializer that has a seed. "
            f"Received: {initializer!r}"
        )
    (state,) = np.random.SeedSequence([seed, index]).generate_state(1)
    return type(initializer).from_config(initializer.get_config() | {"seed": int(state)})
