"""Feedback sources: which weights carry the deltas back to the blocks below."""

from typing import Any, TypeVar

from wna_tf import serialization
from wna_tf.feedback.context import Context, Moment, Owned
from wna_tf.feedback.direct import (
    Direct,
    DirectForward,
    DirectKolenPollack,
    DirectSign,
    DirectTarget,
)
from wna_tf.feedback.layerwise import Layerwise
from wna_tf.feedback.learned import Mirrored, Product
from wna_tf.feedback.mirror import WeightMirror
from wna_tf.feedback.random import Random
from wna_tf.feedback.sign import Sign, SignMagnitude, SignRedrawn
from wna_tf.feedback.source import Changes, Feedback, FeedbackWeights
from wna_tf.feedback.weights import Current, Initial, Nothing

__all__ = [
    "Changes",
    "Context",
    "Current",
    "Direct",
    "DirectForward",
    "DirectKolenPollack",
    "DirectSign",
    "DirectTarget",
    "Feedback",
    "FeedbackWeights",
    "Initial",
    "Layerwise",
    "Mirrored",
    "Moment",
    "Nothing",
    "Owned",
    "Product",
    "Random",
    "Sign",
    "SignMagnitude",
    "SignRedrawn",
    "WeightMirror",
    "check_registered",
    "get",
    "names",
    "register",
    "serialize",
]

_TABLE: serialization.Table[Any] = serialization.Table(
    "a feedback source",
    "feedback",
    {
        source.name: source
        for source in (
            Current,
            Initial,
            Random,
            Sign,
            SignMagnitude,
            SignRedrawn,
            Mirrored,
            Product,
            WeightMirror,
            Layerwise,
            Direct,
            DirectSign,
            DirectTarget,
            DirectKolenPollack,
            DirectForward,
            Nothing,
        )
    },
)
Source = TypeVar("Source", bound=type[Feedback])


def names() -> tuple[str, ...]:
    """Returns the name of every feedback source."""
    return _TABLE.names()


def get(identifier: "str | dict | Feedback") -> Feedback:
    """Returns a feedback source.

    Args:
        identifier: One of `names()`, a serialized source, or a source.

    Raises:
        ValueError: If it is none of these.
    """
    return serialization.get(identifier, Feedback, _TABLE, "feedback")


def register(source: Source) -> Source:
    """Adds a feedback source, for rules that name it and for files of learners that have it.

    ```python
    @wna_tf.feedback.register
    @dataclasses.dataclass(frozen=True)
    class Between(wna_tf.feedback.Feedback):
        name = "between"
        strength: float = 0.5

        def kernel(self, step, moment):
            current, initial = moment.kernel(step), moment.initial_kernel(step)
            return current + self.strength * (initial - current)
    ```

    Args:
        source: A frozen dataclass of `Feedback` with a `name`. Its fields, numbers or words with
            defaults, are what `--feedback=strength=0.5` sets.

    Returns:
        The same class.

    Raises:
        ValueError: If it is none, or the name is that of another source.
    """
    serialization.check_kind(source, Feedback)
    _TABLE.register(source.name, source)
    return source


def check_registered(feedback: Feedback) -> None:
    """Raises a ValueError unless the name of a source leads to its class.

    Args:
        feedback: The source.
    """
    if feedback.name not in names() or type(feedback) is not type(get(feedback.name)):
        raise ValueError(
            "Expected a rule whose feedback source is registered, by wna_tf.feedback.register. "
            f"Received: feedback={feedback!r}"
        )


def serialize(feedback: Feedback) -> dict:
    """Returns a source as a dict that `get` accepts.

    Args:
        feedback: One that is registered.
    """
    return serialization.serialize(feedback)
