"""Training wide neural networks without backpropagation, in Keras."""

from wna_tf import (
    callbacks,
    credit,
    datasets,
    feedback,
    frozen,
    layers,
    linearize,
    losses,
    maps,
    measures,
    models,
    rules,
)
from wna_tf.learner import Learner
from wna_tf.rules import Rule

__all__ = [
    "Learner",
    "Rule",
    "callbacks",
    "credit",
    "datasets",
    "feedback",
    "frozen",
    "layers",
    "linearize",
    "losses",
    "maps",
    "measures",
    "models",
    "rules",
]
