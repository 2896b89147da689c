"""From examples to batches: one split, one shuffle and one batching for every data set."""

import dataclasses
import math
import numbers
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Source:
    """Examples that are fetched by their positions, a batch at a time.

    Attributes:
        size: Number of examples.
        fetch: Maps positions, int64 [batch], to `(x, y)`, float32 [batch, ...] each, in TensorFlow
            operations. What it reads (tensors in memory, files) is its own business.
    """

    size: int
    fetch: Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class Data:
    """Batches of one data set; `train, validation, test = data` unpacks them.

    Attributes:
        train: Batches `(x [batch, ...], y [batch, ..., num_classes])`, both float32. The seed fixes
            a sequence of orders; each pass, even one broken off, takes the next.
        validation: The same, in the order of the source; None if no examples were set aside, as
            Keras's `fit(validation_data=None)` expects.
        test: The same, in the order of the source.
        batch_size: The size of every batch but the last of a pass, which holds the remainder.
        sizes: Number of examples in "train", "validation" and "test".
    """

    train: tf.data.Dataset
    validation: tf.data.Dataset | None
    test: tf.data.Dataset
    batch_size: int
    sizes: dict[str, int]

    def __iter__(self) -> Iterator[tf.data.Dataset | None]:
        return iter((self.train, self.validation, self.test))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, for images (height, width, channels)."""
        return tuple(self.train.element_spec[0].shape[1:])

    @property
    def num_classes(self) -> int:
        """Number of outputs: the last axis of the targets."""
        return self.train.element_spec[1].shape[-1]


def split(
    training: Source,
    test: Source,
    batch_size: int,
    validation_size: int,
    data_limit: int | None = None,
    seed: int = 0,
) -> Data:
    """Splits the training examples, then shuffles and batches.

    The first `validation_size` training examples are the validation set, the next `data_limit` (or
    all others) are trained on. Only these are shuffled. Remainder batches are kept.

    Args:
        training: Training and validation examples.
        test: Test examples.
        batch_size: Examples a batch. Where `data_limit` is not a multiple of it, the greatest
            common divisor of both takes its place, so that batches of a limited set are equal.
        validation_size: Number of examples set aside for validation, possibly 0.
        data_limit: Number of examples to train on; None for all that validation leaves.
        seed: Seed of the shuffling. As everywhere in TensorFlow the order also depends on the
            global seed, where one is set.

    Returns:
        The batches, as `Data`.

    Raises:
        ValueError: If an argument is not an integer or out of range.
    """
    _check_integer("validation_size", validation_size, 0, training.size - 1)
    remaining = training.size - validation_size
    _check_integer("batch_size", batch_size, 1, remaining)
    _check_integer("seed", seed, 0, 2**32 - 1)
    if data_limit is None:
        data_limit = remaining
    else:
        _check_integer("data_limit", data_limit, 1, remaining)
        batch_size = math.gcd(data_limit, batch_size)

    positions = {
        "train": range(validation_size, validation_size + data_limit),
        "validation": range(validation_size),
        "test": range(test.size),
    }
    return Data(
        train=_batches(training, positions["train"], batch_size, seed),
        validation=_batches(training, positions["validation"], batch_size)
        if validation_size
        else None,
        test=_batches(test, positions["test"], batch_size),
        batch_size=batch_size,
        sizes={name: len(some) for name, some in positions.items()},
    )


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
    """
    # On the CPU, where tf.data runs: it would copy from a GPU.
    with tf.device("CPU"):
        images = tf.identity(images)
        labels = tf.cast(labels, tf.int32)

    def fetch(positions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = tf.cast(tf.gather(images, positions), tf.float32) / maximum
        y = tf.one_hot(tf.gather(labels, positions), num_classes) - 1 / num_classes
        return x, y

    return Source(len(images), fetch)


def _batches(
    source: Source, positions: range, batch_size: int, seed: int | None = None
) -> tf.data.Dataset:
    """Batches of the examples at `positions`, shuffled anew in each pass if there is a seed."""
    # Positions are shuffled, not examples: the buffer takes 8 bytes an example, so that it can
    # hold them all and the shuffle is uniform, and a batch is fetched by one gather.
    dataset = tf.data.Dataset.range(positions.start, positions.stop)
    if seed is not None:
        dataset = dataset.shuffle(len(positions), seed=seed, reshuffle_each_iteration=True)
    dataset = dataset.batch(batch_size).map(source.fetch, num_parallel_calls=tf.data.AUTOTUNE)
    # To optimize its graph tf.data writes the tensors that `fetch` reads into it: a copy of all
    # the examples for each dataset. There is nothing here to optimize; autotuning is kept.
    options = tf.data.Options()
    options.experimental_optimization.apply_default_optimizations = False
    return dataset.prefetch(tf.data.AUTOTUNE).with_options(options)


def _check_integer(name: str, value: int, low: int, high: int) -> None:
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_integer or not low <= value <= high:
        raise ValueError(
            f"Expected {name} to be an integer from {low} to {high}. Received: {name}={value!r}"
        )
