"""What replicas of a learner do with their parts of a batch."""

from typing import Any

import keras
import tensorflow as tf


def batch_size(x: Any) -> tf.Tensor:
    """Returns the number of examples of inputs, [batch, ...] at any depth."""
    return tf.shape(keras.tree.flatten(x)[0])[0]


def share(x: Any) -> tf.Tensor | None:
    """Returns this replica's share of the examples of a global batch; None if it has all of it."""
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None
    size = tf.cast(batch_size(x), "float32")
    return size / context.all_reduce("sum", size)


def check_reductions(loss: Any) -> None:
    """Checks that losses are means over examples: of others no replica knows its part.

    Args:
        loss: What `compile` took, at any depth.

    Raises:
        ValueError: If one is none.
    """
    losses = [some for some in keras.tree.flatten(loss) if isinstance(some, keras.Loss)]
    others = {str(some.reduction) for some in losses} - {"sum_over_batch_size", "mean"}
    if others:
        raise ValueError(
            "Expected losses that are means over examples (reduction='sum_over_batch_size'), "
            f"on several replicas. Received: {', '.join(map(repr, sorted(others)))}"
        )


def over_all(
    derivative: tf.Tensor | None, mask: tf.Tensor | None, share: tf.Tensor | None
) -> tf.Tensor | None:
    """Returns a derivative of a mean over the entries that a mask leaves, so that replicas add up.

    Keras's mean is over what the mask leaves on this replica. With this replica's share of the
    examples, which is to be multiplied by, it becomes that over what it leaves on all of them.

    Args:
        derivative: The derivative; None if there is none.
        mask: The mask, [batch, ...]; None if there is none.
        share: This replica's share of the examples; None if there is one replica.
    """
    if derivative is None or mask is None or share is None:
        return derivative
    valid = tf.reduce_sum(tf.cast(mask, "float32"))
    every = tf.distribute.get_replica_context().all_reduce("sum", valid)
    factor = tf.math.divide_no_nan(valid, every * share)
    return derivative * tf.cast(factor, derivative.dtype)


def examples(x: Any) -> tuple[tf.Tensor, tf.Tensor] | None:
    """Returns where this replica's examples begin in a global batch, and how many that has.

    None if it has all of it.
    """
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return None
    replica, count = context.replica_id_in_sync_group, context.num_replicas_in_sync
    sizes = context.all_reduce("sum", batch_size(x) * tf.one_hot(replica, count, dtype="int32"))
    return tf.reduce_sum(sizes[:replica]), tf.reduce_sum(sizes)


def mean(tensor: tf.Tensor, around: tf.Tensor, share: tf.Tensor | None) -> tf.Tensor:
    """Returns the mean of a tensor over replicas, weighed by their shares of a batch.

    Args:
        tensor: The tensor.
        around: What it is near to, the same on all replicas: shares add up to 1 but for rounding.
        share: This replica's share; None if there is one replica.
    """
    if share is None:
        return tensor
    context = tf.distribute.get_replica_context()
    return around + context.all_reduce("sum", (tensor - around) * tf.cast(share, tensor.dtype))


def own_seed(seed: tf.Tensor) -> tf.Tensor:
    """Returns another seed for every replica, [2]."""
    context = tf.distribute.get_replica_context()
    replica = context.replica_id_in_sync_group if context else 0
    return tf.random.experimental.stateless_fold_in(seed, replica, alg="philox")


def with_axis(logs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Gives metrics an axis under a strategy of several workers, where Keras averages along it."""
    if isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
        return keras.tree.map_structure(lambda value: tf.reshape(value, [1]), logs)
    return logs


def mean_of_logs(strategy: tf.distribute.Strategy, logs: dict[str, Any]) -> dict[str, tf.Tensor]:
    """Returns what replicas made of `with_axis`, averaged over them."""
    if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return {name: strategy.reduce("MEAN", value, axis=0) for name, value in logs.items()}
    local = strategy.experimental_local_results
    return {name: tf.reduce_mean(tf.stack(local(value)), 0) for name, value in logs.items()}
