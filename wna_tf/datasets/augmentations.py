"""Augmentations: training images that are changed at random, another way in every epoch."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from wna_tf import serialization
from wna_tf.datasets.batches import Source
from wna_tf.datasets.pipeline import Data

NONE = "none"
PADDING = 4  # Pixels on each side of an image.

Augmentation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def none(images: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
    """Returns images as they are."""
    del seeds
    return images


def flip_crop(images: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
    """Mirrors images with probability 1/2, pads them by 4 zeros on each side and crops them again.

    What is usual for CIFAR-10, as in He et al. (2016).

    Args:
        images: [batch, height, width, channels].
        seeds: Uniform integers, int64 [batch].

    Returns:
        Images of the same shape.
    """
    height, width, channels = images.shape[1:]
    offsets = 2 * PADDING + 1
    # Digits of a uniform number are uniform and independent.
    flip, top, left = seeds % 2, seeds // 2 % offsets, seeds // (2 * offsets) % offsets
    padded = tf.pad(images, [[0, 0], [PADDING, PADDING], [PADDING, PADDING], [0, 0]])
    tall, wide = height + 2 * PADDING, width + 2 * PADDING
    rows = top[:, None] + tf.range(height, dtype=top.dtype)
    columns = left[:, None] + tf.range(width, dtype=left.dtype)
    columns = tf.where((flip == 1)[:, None], wide - 1 - columns, columns)
    # One gather of pixels from all of the batch: one for each axis takes five times as long.
    rows += tall * tf.range(tf.size(seeds, seeds.dtype))[:, None]
    pixels = wide * rows[:, :, None] + columns[:, None, :]
    return tf.gather(tf.reshape(padded, [-1, channels]), pixels)


_TABLE: serialization.Table[Augmentation] = serialization.Table(
    "an augmentation", "augment", {NONE: none, "flip_crop": flip_crop}
)


def names() -> tuple[str, ...]:
    """Returns the name of every augmentation."""
    return _TABLE.names()


def get(name: str) -> Augmentation:
    """Returns the function of an augmentation.

    Raises:
        ValueError: If the name is unknown; the message lists the names.
    """
    return _TABLE.get(name)


def register(name: str, function: Augmentation) -> None:
    """Adds an augmentation.

    ```python
    def darken(images, seeds):
        return images / tf.cast(1 + seeds % 4, images.dtype)[:, None, None, None]

    wna_tf.datasets.augmentations.register("darken", darken)
    ```

    Args:
        name: Its name: letters, digits, "_", "-" and ".".
        function: Maps images [batch, height, width, channels] and uniform integers, int64 [batch],
            to images of the same shape, in TensorFlow operations. These integers, another for
            every example in every epoch, are all its randomness, so that a run that is resumed
            sees the same images.

    Raises:
        ValueError: If it is no function, or the name is that of another one.
    """
    if not callable(function):
        raise ValueError(f"Expected a function that augments images. Received: {function!r}")
    _TABLE.register(name, function)


def check(name: str, input_shape: Any) -> None:
    """Checks that inputs can be augmented.

    Args:
        name: One of `names()`.
        input_shape: Shape of one input, or what it has if it is nested.

    Raises:
        ValueError: If there is no such augmentation, or the inputs are no images.
    """
    get(name)
    if name != NONE and not (isinstance(input_shape, tuple) and len(input_shape) == 3):
        raise ValueError(
            "Expected images [height, width, channels] to augment. "
            f"Received: augment={name!r} for inputs {input_shape}"
        )


def apply(data: Data, name: str) -> Data:
    """Returns the same batches, of which those to train on are augmented.

    Args:
        data: Batches of images.
        name: One of `names()`.

    Raises:
        ValueError: If there is no such augmentation, or the inputs are no images.
    """
    if name == NONE:
        return data
    specs = data.test.element_spec[0]
    check(name, tf.nest.map_structure(lambda spec: tuple(spec.shape[1:]), specs))
    function = get(name)
    source = data.training.source

    def fetch(positions: tf.Tensor, seeds: tf.Tensor | None) -> tuple[Any, tf.Tensor]:
        x, y = source.fetch(positions, seeds)
        return (x if seeds is None else tf.ensure_shape(function(x, seeds), x.shape)), y

    return data.fetched_from(Source(source.size, fetch))
