"""Feedback sources: which weights carry the deltas back to the blocks below."""

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
    "SOURCES",
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
    "get",
    "serialize",
]

SOURCES = {
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
