"""Feedback sources: which weights carry the deltas back to the blocks below."""

from wna_tf import serialization
from wna_tf.feedback.direct import Direct
from wna_tf.feedback.learned import Mirrored
from wna_tf.feedback.random import Random
from wna_tf.feedback.sign import Sign, SignMagnitude
from wna_tf.feedback.source import Feedback, FeedbackWeights
from wna_tf.feedback.weights import Current, Initial, Nothing

__all__ = [
    "SOURCES",
    "Current",
    "Direct",
    "Feedback",
    "FeedbackWeights",
    "Initial",
    "Mirrored",
    "Nothing",
    "Random",
    "Sign",
    "SignMagnitude",
    "get",
    "serialize",
]

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
    return serialization.get(identifier, Feedback, SOURCES, "feedback", "a feedback source")


def serialize(feedback: Feedback) -> dict:
    """Returns a source as a dict that `get` accepts."""
    return serialization.serialize(feedback)
