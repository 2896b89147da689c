"""Callbacks: what happens beside the training of a run."""

from wna_tf.callbacks.history import HistoryFile
from wna_tf.callbacks.progress import Progress

__all__ = ["HistoryFile", "Progress"]
