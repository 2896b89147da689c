"""Some of the classes of a data set, as a data set of its own."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from wna_tf.datasets.batches import Source
from wna_tf.datasets.pipeline import Examples

_AT_A_TIME = 500  # Examples.


def restrict(examples: Examples, classes: Sequence[int]) -> tuple[Examples, np.ndarray]:
    """Returns the examples of some classes, whose targets are like those of all.

    To find them all targets are fetched once, with the inputs.

    Args:
        examples: Examples whose targets are classes, the largest entry of each.
        classes: At least two of the classes, each once: the first becomes class 0.

    Returns:
        The examples, in their order, and their positions among all training examples.

    Raises:
        ValueError: If the targets are no classes, or these are none of theirs.
    """
    if examples.chance_loss is not None:
        raise ValueError(
            f"Expected a data set of classes to take some. Received: classes={tuple(classes)} "
            "where the targets are numbers"
        )
    labels = _labels(examples.training)
    known = _num_classes(examples.training)
    is_some = len(set(classes)) == len(classes) >= 2
    if not is_some or not set(classes) <= set(range(known)):
        raise ValueError(
            f"Expected classes to be at least two from 0 to {known - 1}, each once. "
            f"Received: classes={tuple(classes)}"
        )
    # A test set that is the validation set stays the same.
    found = {id(examples.training): _take(examples.training, labels, classes)}
    for source in (examples.validation, examples.test):
        if source is not None and id(source) not in found:
            found[id(source)] = _take(source, _labels(source), classes)
    names = examples.class_names
    taken = dataclasses.replace(
        examples,
        training=found[id(examples.training)],
        validation=examples.validation and found[id(examples.validation)],
        test=found[id(examples.test)],
        class_names=names and [names[label] for label in classes],
    )
    return taken, np.flatnonzero(np.isin(labels, classes))


def _num_classes(source: Source) -> int:
    return source.fetch(tf.constant([0], tf.int64), None)[1].shape[-1]


def _labels(source: Source) -> np.ndarray:
    """Returns the class of every example."""
    parts = tf.data.Dataset.range(source.size).batch(_AT_A_TIME)
    batches = parts.map(lambda positions: tf.argmax(source.fetch(positions, None)[1], -1))
    return np.concatenate([*batches.as_numpy_iterator()])


def _take(source: Source, labels: np.ndarray, classes: Sequence[int]) -> Source:
    kept = np.flatnonzero(np.isin(labels, classes))
    if not len(kept):
        raise ValueError(
            f"Expected examples of the classes. Received: none of classes={tuple(classes)}"
        )
    with tf.device("CPU"):  # Where tf.data runs: it would copy from a GPU.
        positions = tf.constant(kept, tf.int64)

    def fetch(some: tf.Tensor, seeds: tf.Tensor | None) -> tuple[Any, tf.Tensor]:
        x, y = source.fetch(tf.gather(positions, some), seeds)
        own = tf.gather(y, classes, axis=-1)
        # Centred targets are centred again, and one-hot ones stay so: their sum is the same.
        missing = tf.reduce_sum(y, -1, keepdims=True) - tf.reduce_sum(own, -1, keepdims=True)
        return x, own + missing / len(classes)

    return Source(len(kept), fetch)
