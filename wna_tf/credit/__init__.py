"""Credit assignment: how updates are computed from the error, exactly or by an estimate."""

import abc
import dataclasses
from typing import Any, ClassVar, TypeVar

import tensorflow as tf

from wna_tf import replicas, serialization
from wna_tf.credit import forward_mode, reverse_mode
from wna_tf.credit.reverse_mode import Credited
from wna_tf.feedback import Context, Feedback
from wna_tf.graph.errors import Errors
from wna_tf.rules import Rule


@dataclasses.dataclass(frozen=True)
class Credit(abc.ABC):
    """How updates are computed from the error."""

    name: ClassVar[str]

    def check(self, rule: Rule) -> None:
        """Raises a ValueError if the updates of a rule cannot be computed so.

        Args:
            rule: The rule of a learner.
        """
        del rule

    @abc.abstractmethod
    def assign(self, context: Context, feedback: Feedback, errors: Errors) -> Credited:
        """Returns the update of every weight that gets one.

        Args:
            context: The step.
            feedback: The rule's source of feedback weights.
            errors: Derivatives of the loss, [batch, ...], with their places: this replica's part.
        """


class Reverse(Credit):
    """Exactly, by a reverse pass through the network: any rule."""

    name = "reverse"

    def assign(self, context: Context, feedback: Feedback, errors: Errors) -> Credited:
        return reverse_mode.transpose(context, feedback, errors)


@dataclasses.dataclass(frozen=True)
class Forward(Credit):
    """By an unbiased estimate from random tangents, without a reverse pass (see `forward_mode`).

    For rules whose three choices are initial: `align_zero` and `linearized`.

    Attributes:
        num_tangents: Draws of tangents in a step, at least 1.

    Raises:
        ValueError: If `num_tangents` is not such an integer.
    """

    name = "forward"
    num_tangents: int = 1

    def __post_init__(self) -> None:
        number = self.num_tangents
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ValueError(
                f"Expected num_tangents to be an integer at least 1. Received: {number!r}"
            )

    def check(self, rule: Rule) -> None:
        choices = (rule.feedback.name, rule.derivative, rule.activity)
        if set(choices) != {"initial"}:
            raise ValueError(
                "Expected a rule whose feedback, derivative and activity are initial for forward "
                f"credit (align_zero, linearized). Received: {', '.join(choices)}"
            )

    def assign(self, context: Context, feedback: Feedback, errors: Errors) -> Credited:
        seed = replicas.own_seed(context.seed)
        updates = forward_mode.estimate(
            context.networks, errors, lambda index, like: self.draw(index, like, seed)
        )
        return Credited(updates, {})

    def draw(self, index: int, like: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns tangents N(0, 1) for the output of a map, [num_tangents, *shape of like].

        Args:
            index: Number of the map in the network.
            like: An output of the map, [batch, ...].
            seed: Seed of the step, [2].
        """
        return tf.random.stateless_normal(
            tf.concat([[self.num_tangents], tf.shape(like)], 0),
            tf.random.experimental.stateless_fold_in(seed, index, alg="philox"),
            dtype=like.dtype,
            alg="philox",
        )


_TABLE: serialization.Table[Any] = serialization.Table(
    "a way to assign credit", "credit", {credit.name: credit for credit in (Reverse, Forward)}
)
Kind = TypeVar("Kind", bound=type[Credit])


def names() -> tuple[str, ...]:
    """Returns the name of every way to assign credit."""
    return _TABLE.names()


def get(identifier: "str | dict | Credit") -> Credit:
    """Returns a way to assign credit.

    Args:
        identifier: A name, what `serialize` returns, or a `Credit`.

    Raises:
        ValueError: If it is none of these; the message lists the names.
    """
    return serialization.get(identifier, Credit, _TABLE, "credit")


def register(kind: Kind) -> Kind:
    """Adds a way to assign credit, which `--credit` takes and files of learners name.

    Args:
        kind: A frozen dataclass of `Credit` with a `name` and a default for each field. A field
            that a configuration has too, as `num_tangents`, is the configuration's in a run.

    Returns:
        The same class, so that it is a decorator.

    Raises:
        ValueError: If it is none, or the name is that of another one.
    """
    serialization.check_kind(kind, Credit)
    _TABLE.register(kind.name, kind)
    return kind


def serialize(credit: Credit) -> dict:
    """Returns a way to assign credit as a dict that `get` accepts.

    Args:
        credit: One that is registered.
    """
    return serialization.serialize(credit)
