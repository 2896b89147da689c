"""Training wide neural networks without backpropagation, in Keras."""

from wna_tf import datasets, feedback, layers, maps, models, rules
from wna_tf.learner import Learner
from wna_tf.rules import Rule

__all__ = ["Learner", "Rule", "datasets", "feedback", "layers", "maps", "models", "rules"]
