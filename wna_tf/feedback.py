"""Feedback sources: which weights carry the deltas back to the blocks below."""

import abc
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from wna_tf.program import Affine, Program, Value


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
        self, current: tf.Tensor, initial: tf.Tensor, own: tf.Tensor | None
    ) -> tf.Tensor | None:
        """Returns the kernel that carries deltas back through an affine map, or None for none.

        Args:
            current: Current kernel.
            initial: Kernel at initialization.
            own: The map's feedback weights, if this source has any.
        """

    def project(
        self, program: Program, own: Mapping[Affine, tf.Tensor], errors: Sequence[tf.Tensor]
    ) -> dict[Value, tf.Tensor]:
        """Returns deltas that come straight from the output error, by the place they arrive at.

        Args:
            program: The network.
            own: This source's feedback weights.
            errors: Derivatives of the loss by each output, [batch, ...].
        """
        del program, own, errors
        return {}


class Current(Feedback):
    """The current weights `W(t)`: backpropagation."""

    name = "current"

    def kernel(self, current, initial, own):
        return current


class Initial(Feedback):
    """The weights at initialization `W(0)`: the align rules."""

    name = "initial"

    def kernel(self, current, initial, own):
        return initial


class Fixed(Feedback):
    """Fixed random weights `B`, distributed as `W`: feedback alignment (Lillicrap et al., 2016)."""

    name = "random"

    def own(self, program):
        sharing: dict[int, list[Affine]] = {}
        for step in program.affine_maps:
            sharing.setdefault(id(step.kernel), []).append(step)
        return [
            Own(tuple(maps), tuple(maps[0].kernel.shape), maps[0].initializer)
            for maps in sharing.values()
        ]

    def kernel(self, current, initial, own):
        return own


class Direct(Feedback):
    """Fixed random projections of the output error to each block's output (Nokland, 2016).

    `d_l = D_l^T (B_l e)`, where `B_l` has shape [*block output, classes] and entries
    N(0, 1 / size of the block output). The last affine map gets its exact gradient.
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
        feedback = []
        for step in program.affine_maps:
            if step not in program.last_affine_maps:
                shape = program.shapes[program.block_output(step).index][1:]
                if None in shape:
                    raise ValueError(
                        "Expected block outputs of known shape for direct feedback. "
                        f"Received: shape {shape} behind layer {step.name!r}"
                    )
                initializer = keras.initializers.RandomNormal(stddev=math.prod(shape) ** -0.5)
                feedback.append(Own((step,), (*shape, classes), initializer))
        return feedback

    def kernel(self, current, initial, own):
        return None

    def project(self, program, own, errors):
        (error,) = errors
        return {
            program.block_output(step): tf.tensordot(error, weights, [[1], [-1]])
            for step, weights in own.items()
        }


class Nothing(Feedback):
    """No feedback: only the last affine map learns."""

    name = "none"

    def kernel(self, current, initial, own):
        return None


SOURCES = {source.name: source for source in (Current, Initial, Fixed, Direct, Nothing)}


def get(identifier: "str | dict | Feedback") -> Feedback:
    """Returns a feedback source.

    Args:
        identifier: A name in `SOURCES`, a serialized source, or a source.

    Raises:
        ValueError: If it is none of these.
    """
    if isinstance(identifier, Feedback):
        return identifier
    config = {"name": identifier} if isinstance(identifier, str) else identifier
    if not isinstance(config, dict) or config.get("name") not in SOURCES:
        raise ValueError(
            f"Expected a feedback source, one of {', '.join(SOURCES)}. "
            f"Received: feedback={identifier!r}"
        )
    return SOURCES[config["name"]](**{k: v for k, v in config.items() if k != "name"})


def serialize(feedback: Feedback) -> dict:
    """Returns a source as a dict that `get` accepts."""
    return {"name": feedback.name} | dataclasses.asdict(feedback)


def reseed(initializer: Any, seed: int, index: int) -> Any:
    """Returns an initializer of the same distribution with a seed of its own.

    Args:
        initializer: A Keras initializer, or any function of a shape and a dtype; one that has no
            seed (constants, functions) is returned as it is.
        seed: Seed of the learner.
        index: Index of the weight.
    """
    if not isinstance(initializer, keras.initializers.Initializer):
        return initializer
    config = initializer.get_config()
    if "seed" not in config:
        return initializer
    (state,) = np.random.SeedSequence([seed, index]).generate_state(1)
    return type(initializer).from_config(config | {"seed": int(state)})
