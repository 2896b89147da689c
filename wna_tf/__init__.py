"""Training wide neural networks without backpropagation, in Keras."""

from wna_tf import callbacks, datasets, feedback, layers, losses, maps, models, rules
from wna_tf.learner import Learner
from wna_tf.rules import Rule

__all__ = [
    "Learner",
    "Rule",
    "callbacks",
    "datasets",
    "feedback",
    "layers",
    "losses",
    "maps",
    "models",
    "rules",
]
