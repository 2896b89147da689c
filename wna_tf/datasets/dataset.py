"""What a data set is, before anything of it is loaded, and those of arrays in memory."""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from wna_tf.datasets.batches import Source, hold
from wna_tf.datasets.memory import centred_one_hot
from wna_tf.datasets.pipeline import Examples, Options


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A data set that has a name.

    Attributes:
        load: Returns the examples; called when they are needed.
        training_size: Number of training examples; None if it takes loading them to know.
        validation_size: Number of these that are set aside for validation unless the user says
            otherwise.
        shapes: Shapes of one input and of one target; None if it takes loading them to know, so
            that a plan tells no cost.
        has_classes: Whether the targets are classes: a number for each, the largest one for that
            of the example. Otherwise the examples have a `chance_loss`.
        is_generated: Whether the seed of a run makes the examples, beside their order.
        digest: Of what is in memory, which tells it from another data set in memory.
        test_size: Number of examples to test on, which a plan counts; None if it is not known.
        describe: Returns fields that are known with options, to take the place of these; None if
            options change none of them.
        count: Counts the training examples, of a data set of files, or returns 0 where there are
            none; None if `training_size` tells.
    """

    load: Callable[[Options], Examples]
    training_size: int | None = None
    validation_size: int = 0
    shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    has_classes: bool = True
    is_generated: bool = True
    digest: str = ""
    test_size: int | None = None
    describe: Callable[[Options], Mapping[str, Any]] | None = None
    count: Callable[[Options], int] | None = None

    def described(self, options: Options) -> "Dataset":
        """Returns the data set with all that is known of it with some options.

        Args:
            options: What its `load` is told.
        """
        return (
            self if self.describe is None else dataclasses.replace(self, **self.describe(options))
        )


def from_arrays(
    training: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    validation_size: int = 0,
    class_names: Sequence[str] | None = None,
) -> Dataset:
    """Returns a data set of arrays in memory.

    Args:
        training: Inputs, [size, ...], and targets: integers [size] are the labels of classes,
            counted from 0, of which those become `one_hot(label) - 1 / num_classes`; numbers
            [size, ..., outputs] are targets as they are.
        test: The same, to test on.
        validation_size: Number of the training examples, the first ones, that are set aside for
            validation unless the user says otherwise.
        class_names: Names of the classes.

    Raises:
        ValueError: If arrays differ in size or shape, or labels and numbers are mixed.
    """
    arrays = [np.asarray(array) for array in (*training, *test)]
    x, y, x_test, y_test = arrays
    has_classes = y.ndim == 1 and np.issubdtype(y.dtype, np.integer)
    are_alike = (
        all(array.ndim and len(array) for array in arrays)
        and (len(x), len(x_test)) == (len(y), len(y_test))
        and (x.shape[1:], y.shape[1:]) == (x_test.shape[1:], y_test.shape[1:])
        and np.issubdtype(y.dtype, np.integer) == np.issubdtype(y_test.dtype, np.integer)
        and (has_classes or y.ndim > 1)
        and not (has_classes and min(y.min(), y_test.min()) < 0)
    )
    if not are_alike:
        raise ValueError(
            "Expected inputs [size, ...] and targets, integers [size] from 0 for classes or "
            "numbers [size, ..., outputs], of the same shapes and types to train and to test. "
            f"Received: {', '.join(f'{array.dtype} {list(array.shape)}' for array in arrays)}"
        )
    num_classes = int(max(y.max(), y_test.max())) + 1 if has_classes else None

    def load(options: Options) -> Examples:
        del options
        return Examples(
            training=_source(x, y, num_classes),
            test=_source(x_test, y_test, num_classes),
            chance_loss=None if has_classes else _mean_squares_around(y.mean(dtype=float)),
            class_names=class_names,
        )

    return Dataset(
        load,
        len(x),
        validation_size,
        (x.shape[1:], (num_classes,) if num_classes else y.shape[1:]),
        has_classes,
        is_generated=False,
        digest=_digest(arrays),
        test_size=len(x_test),
    )


def _source(x: np.ndarray, y: np.ndarray, num_classes: int | None) -> Source:
    # Variables: tf.data copies constants where operations must be deterministic.
    inputs = hold(x if np.issubdtype(x.dtype, np.integer) else x.astype("float32"))
    targets = hold(y.astype("int32" if num_classes else "float32"))

    def fetch(positions: tf.Tensor, _: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        y = targets.sparse_read(positions)
        x = tf.cast(inputs.sparse_read(positions), tf.float32)
        return x, centred_one_hot(y, num_classes) if num_classes else y

    return Source(len(x), fetch)


def _mean_squares_around(guess: float) -> Callable[[tf.Tensor], float]:
    """Returns the mean squared error of a guess, as a function of the targets."""
    return lambda y: float(np.mean(np.square(np.asarray(y, float) - guess)))


def _digest(arrays: Sequence[np.ndarray]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
