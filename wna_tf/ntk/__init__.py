"""Tangent kernels of networks and of learning rules, and the training that they predict."""

from wna_tf.ntk.empirical import empirical_ntk, rule_ntk
from wna_tf.ntk.predictions import Predictor, predict_losses, predict_outputs

__all__ = [
    "Predictor",
    "empirical_ntk",
    "predict_losses",
    "predict_outputs",
    "rule_ntk",
]
