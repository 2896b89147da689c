"""Callbacks: what happens beside the training of a run."""

from wna_tf.callbacks.history import HistoryFile
from wna_tf.callbacks.progress import Progress
from wna_tf.callbacks.ridge import RidgeUntil

__all__ = ["HistoryFile", "Progress", "RidgeUntil"]
