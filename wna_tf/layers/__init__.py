"""Layers of the networks that the papers train."""

from wna_tf.layers.affine import Conv2D, Dense
from wna_tf.layers.normalization import BatchStatisticsNormalization
from wna_tf.layers.recurrent import Recurrent

__all__ = ["BatchStatisticsNormalization", "Conv2D", "Dense", "Recurrent"]
