"""Training wide neural networks without backpropagation, in Keras."""

import importlib.metadata

from wna_tf import (
    caching,
    callbacks,
    credit,
    datasets,
    experiments,
    feedback,
    graph,
    layers,
    linearize,
    losses,
    measures,
    models,
    ntk,
    pretrained,
    progress,
    rules,
)
from wna_tf.graph.registry import register_layer
from wna_tf.learner import Learner
from wna_tf.rules import Rule

__version__ = importlib.metadata.version("wna_tf")

__all__ = [
    "Learner",
    "Rule",
    "caching",
    "callbacks",
    "credit",
    "datasets",
    "experiments",
    "feedback",
    "graph",
    "layers",
    "linearize",
    "losses",
    "measures",
    "models",
    "ntk",
    "pretrained",
    "progress",
    "register_layer",
    "rules",
]
