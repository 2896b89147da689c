"""Gaussian inputs with the answers of a teacher network: data for two-layer theory."""

import numpy as np
import tensorflow as tf

from wna_tf.datasets import pipeline
from wna_tf.datasets.batches import Source

TRAINING_SIZE = 50
TEST_SIZE = 1000
VALIDATION_SIZE = 0
IS_GENERATED = True
FEATURES = 150
SHAPES = ((FEATURES,), (1,))
TEACHER_WIDTH = 100


def load(options: pipeline.Options) -> pipeline.Examples:
    """Training and test examples, `x` [batch, FEATURES] ~ N(0, 1) and `y` [batch, 1].

    `y = sum_r a_r relu(v_r . x / sqrt(FEATURES)) / sqrt(TEACHER_WIDTH)` with all of `a` and `v`
    N(0, 1), centred and scaled to mean 0 and variance 1 over all examples. There are fewer training
    examples than features, so that wide linear networks fit them too. The test examples are the
    validation set as well. Setting of Song, Xu and Lafferty (2021).

    Args:
        options: The seed counts: it makes the examples and the teacher.
    """
    rng = np.random.Generator(np.random.Philox(options.seed))
    x = rng.standard_normal([TRAINING_SIZE + TEST_SIZE, FEATURES])
    hidden = np.maximum(x @ rng.standard_normal([FEATURES, TEACHER_WIDTH]), 0)
    y = hidden @ rng.standard_normal([TEACHER_WIDTH, 1])  # Any scale: it is normalized.
    y = (y - y.mean()) / y.std()
    # On the CPU, where tf.data runs: it would copy from a GPU.
    with tf.device("CPU"):
        x, y = tf.constant(x, tf.float32), tf.constant(y, tf.float32)
    test = _source(x[TRAINING_SIZE:], y[TRAINING_SIZE:])
    return pipeline.Examples(
        training=_source(x[:TRAINING_SIZE], y[:TRAINING_SIZE]),
        test=test,
        validation=test,
        chance_loss=chance_loss,
    )


def chance_loss(y: np.ndarray | tf.Tensor) -> float:
    """Mean squared error of always guessing 0, the answers' mean, for targets [batch, 1]."""
    return float(np.mean(np.square(np.asarray(y, np.float64))))


def _source(x: tf.Tensor, y: tf.Tensor) -> Source:
    return Source(len(x), lambda some, _: (tf.gather(x, some), tf.gather(y, some)))
