"""What replicas of a learner do with their parts of a batch."""

from typing import Any

import keras
import tensorflow as tf


def batch_size(x: Any) -> tf.Tensor:
    """Returns the number of examples of inputs, [batch, ...] at any depth."""
    return tf.shape(keras.tree.flatten(x)[0])[0]


def share(x: Any) -> tf.Tensor | None:
    """Returns this replica's part of a global batch, in equal parts; None if it has all of it.

    Keras takes the mean over replicas of means, which is not that of the batch when the last one
    cannot be divided equally.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None
    size = tf.cast(batch_size(x), "float32")
    return size / context.all_reduce("sum", size) * context.num_replicas_in_sync


def with_axis(logs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Gives metrics an axis under a strategy of several workers, where Keras averages along it."""
    if isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
        return keras.tree.map_structure(lambda value: tf.reshape(value, [1]), logs)
    return logs


def mean(strategy: tf.distribute.Strategy, logs: dict[str, Any]) -> dict[str, tf.Tensor]:
    """Returns what replicas made of `with_axis`, averaged over them."""
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return {name: strategy.reduce("MEAN", value, axis=0) for name, value in logs.items()}
    local = strategy.experimental_local_results
    return {name: tf.reduce_mean(tf.stack(local(value)), 0) for name, value in logs.items()}
