"""Images in memory as examples, and the targets of their classes."""

import numpy as np
import tensorflow as tf

from wna_tf.datasets.batches import Source, hold


def centred_one_hot(labels: tf.Tensor, num_classes: int) -> tf.Tensor:
    """Targets `one_hot(label) - 1 / num_classes`, float32 [batch, num_classes]."""
    return tf.one_hot(labels, num_classes) - 1 / num_classes


def image_source(
    images: np.ndarray | tf.Tensor,
    labels: np.ndarray | tf.Tensor,
    num_classes: int,
    maximum: int = 255,
) -> Source:
    """Images in memory, kept once and as bytes; each batch is converted when it is fetched.

    Args:
        images: uint8 from 0 to `maximum`, [size, height, width, channels].
        labels: Integers from 0 to `num_classes - 1`, [size].
        num_classes: Number of classes C.
        maximum: The value that becomes 1.

    Returns:
        A source of `x` in [0, 1], [batch, height, width, channels], and of centred targets
        `y = one_hot(label) - 1 / C`, [batch, num_classes].

    Raises:
        ValueError: If a label is none of these: its target would be that of no class.
    """
    # A variable: tf.data copies constants where operations must be deterministic.
    images = hold(images)
    with tf.device("CPU"):
        labels = tf.cast(labels, tf.int32)
    strange = np.setdiff1d(labels, range(num_classes))
    if strange.size:
        raise ValueError(
            f"Expected labels from 0 to {num_classes - 1}. Received: label {strange[0]}"
        )

    def fetch(positions: tf.Tensor, _: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        x = tf.cast(images.sparse_read(positions), tf.float32) / maximum
        return x, centred_one_hot(tf.gather(labels, positions), num_classes)

    return Source(images.shape[0], fetch)
