"""The Add task of Boopathy and Fiete (2022): delayed sums of random bits, as sequences."""

import numpy as np
import tensorflow as tf

from wna_tf.datasets import pipeline
from wna_tf.datasets.batches import Source

TRAINING_SIZE = 300
TEST_SIZE = 100
VALIDATION_SIZE = 0
IS_GENERATED = True
LENGTH = 100
SHAPES = ((LENGTH, 1), (LENGTH, 1))
BIAS = 0.5
WEIGHTS = {2: 0.5, 5: -0.25}  # By how many steps ago the bit was.


def load(options: pipeline.Options) -> pipeline.Examples:
    """Training and test sequences, `x` and `y` [batch, LENGTH, 1].

    `x` holds fair bits, 0 or 1, and `y_t = 0.5 + 0.5 x_{t-2} - 0.25 x_{t-5}`; bits from before the
    first step count as 0. The test sequences are the validation set too, as in the paper, which
    reports the best test loss over the epochs.

    Args:
        options: The seed counts: it makes the sequences.
    """
    rng = np.random.Generator(np.random.Philox(options.seed))
    x = rng.integers(0, 2, [TRAINING_SIZE + TEST_SIZE, LENGTH, 1]).astype(np.float32)
    test = _source(x[TRAINING_SIZE:])
    return pipeline.Examples(
        training=_source(x[:TRAINING_SIZE]),
        test=test,
        validation=test,
        chance_loss=chance_loss,
    )


def targets(x: np.ndarray) -> np.ndarray:
    """The task's answers, float32 [batch, time, 1], to bits of that shape."""
    y = np.full_like(x, BIAS)
    for lag, weight in WEIGHTS.items():
        y[:, lag:] += weight * x[:, :-lag]
    return y


def chance_loss(y: np.ndarray | tf.Tensor) -> float:
    """Loss of always guessing 0.5, for targets [batch, time, 1].

    It is the paper's loss: squared errors, summed over time and averaged over the batch.
    """
    errors = BIAS - np.asarray(y, np.float64)
    return float(np.mean(np.sum(errors**2, axis=(1, 2))))


def _source(x: np.ndarray) -> Source:
    # On the CPU, where tf.data runs: it would copy from a GPU.
    with tf.device("CPU"):
        x, y = tf.constant(x), tf.constant(targets(x))
    return Source(len(x), lambda some, _: (tf.gather(x, some), tf.gather(y, some)))
