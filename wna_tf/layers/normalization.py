"""Normalization by the statistics of a batch."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

STATISTICS = ("moving", "batch")
# Features up to which small operations are faster than the fused one, which takes .2 ms to start.
_FEW = 512


def normalize(
    inputs: tf.Tensor, epsilon: float, synchronized: bool = False
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalizes every feature over axis 0 to mean 0 and variance 1.

    Args:
        inputs: [batch, ...]; every feature shape but the batch must be known.
        epsilon: Added to the variance.
        synchronized: Whether the batch is that of all replicas.

    Returns:
        The normalized inputs [batch, ...], and the mean [...] and biased variance [...].
    """
    shape, features = tf.shape(inputs), math.prod(inputs.shape[1:])
    # The fused operation has no kernel for float64, and takes one replica's batch alone.
    if synchronized or inputs.dtype == tf.float64 or features <= _FEW:
        x = tf.cast(inputs, tf.float64 if inputs.dtype == tf.float64 else tf.float32)
        mean, variance = keras.ops.moments(x, [0], synchronized=synchronized)
        outputs = (x - mean) * tf.math.rsqrt(variance + epsilon)
        return tf.cast(outputs, inputs.dtype), mean, variance
    # One fused operation each way: a chain of small ones takes 2.7 times as long. It normalizes
    # over all axes but the last, hence one "channel" for each feature.
    outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=tf.reshape(inputs, [-1, 1, 1, features]),
        scale=tf.ones([features]),
        offset=tf.zeros([features]),
        mean=tf.zeros([0]),
        variance=tf.zeros([0]),
        epsilon=epsilon,
        is_training=True,
    )
    count = tf.cast(shape[0], variance.dtype)
    variance *= tf.maximum(count - 1, 1) / count  # The operation returns the unbiased one.
    return (
        tf.reshape(outputs, shape),
        tf.reshape(mean, inputs.shape[1:]),
        tf.reshape(variance, inputs.shape[1:]),
    )


@keras.saving.register_keras_serializable("wna_tf")
class BatchStatisticsNormalization(keras.layers.Layer):
    """Normalization over axis 0 alone: one mean and variance per position and channel.

    There is neither scale nor offset, and the variance is the biased one. Derivatives pass
    through both moments. Inputs and outputs are [batch, ...]. Training normalizes by the batch;
    inference normalizes by moving statistics, so that a prediction does not depend on the other
    examples of its batch. Under a distribution strategy each replica normalizes by its own part
    of the batch, and the moving statistics are averaged over replicas, unless it is synchronized.
    Source: public code of Boopathy and Fiete (2022).

    Args:
        momentum: Weight of the past in the moving statistics, in [0, 1).
        epsilon: Added to the variance.
        statistics: Statistics used at inference: `"moving"`, or `"batch"` as in the public code,
            where a prediction depends on its neighbours.
        synchronized: Whether replicas normalize by the statistics of all: the number of replicas
            does not change the result then, but every step waits for them in every layer.
        **kwargs: Arguments of `keras.layers.Layer`.

    Raises:
        ValueError: If `momentum` or `statistics` is not as above.
    """

    def __init__(
        self,
        momentum: float = 0.9,
        epsilon: float = 1e-6,
        statistics: str = "moving",
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 <= momentum < 1:
            raise ValueError(f"Expected 0 <= momentum < 1. Received: momentum={momentum}")
        if statistics not in STATISTICS:
            raise ValueError(
                f"Expected statistics to be one of {', '.join(STATISTICS)}. "
                f"Received: statistics={statistics!r}"
            )
        self.momentum = momentum
        self.epsilon = epsilon
        self.statistics = statistics
        self.synchronized = synchronized

    def build(self, input_shape: Sequence[int | None]) -> None:
        shape = tuple(input_shape[1:])
        if None in shape:
            raise ValueError(
                "Expected inputs whose shape is known except for the batch, since every position "
                f"has its own statistics. Received: input_shape={tuple(input_shape)}"
            )
        # Replicas must not assign their own values: Keras leaves variables out of step then.
        options = {"trainable": False, "autocast": False, "aggregation": "mean"}
        self.moving_mean = self.add_weight(
            name="moving_mean", shape=shape, initializer="zeros", **options
        )
        self.moving_variance = self.add_weight(
            name="moving_variance", shape=shape, initializer="ones", **options
        )

    def call(
        self,
        inputs: tf.Tensor,
        training: bool | None = None,
        scale: float = 1.0,
        offset: tf.Tensor | None = None,
    ) -> tf.Tensor:
        """Normalizes `scale * inputs + offset`.

        In training neither takes a pass over memory: the output does not depend on the offset,
        and on the scale by epsilon alone.

        Args:
            inputs: [batch, ...].
            training: Whether to normalize by the batch, and to move the statistics.
            scale: A number above 0; only in training may it be other than 1.
            offset: Broadcasts to one input, or None; only in training may there be one.
        """
        if not training and self.statistics == "moving":
            mean = tf.cast(self.moving_mean.value, inputs.dtype)
            variance = tf.cast(self.moving_variance.value, inputs.dtype)
            return (inputs - mean) * tf.math.rsqrt(variance + self.epsilon)
        epsilon = self.epsilon / scale**2
        outputs, mean, variance = normalize(inputs, epsilon, self.synchronized)
        if training:
            mean = scale * mean if offset is None else scale * mean + tf.cast(offset, mean.dtype)
            variance *= scale**2
            for moving, value in ((self.moving_mean, mean), (self.moving_variance, variance)):
                # A replica may have no example of a last batch.
                value = tf.where(tf.size(inputs) > 0, tf.cast(value, moving.dtype), moving)
                moving.assign(moving + (1 - self.momentum) * (value - moving))
        return outputs

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Sequence[int | None]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "momentum": self.momentum,
            "epsilon": self.epsilon,
            "statistics": self.statistics,
            "synchronized": self.synchronized,
        }
