"""From examples to batches: one split, one shuffle and one batching for every data set."""

import dataclasses
import functools
import math
import numbers
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf

from wna_tf import files
from wna_tf.datasets.batches import Source, Training, in_turn


@dataclasses.dataclass(frozen=True)
class Examples:
    """A data set before it is split and batched: what its module's `load` returns.

    Attributes:
        training: Training examples; those set aside for validation are taken from them.
        test: Test examples.
        validation: Official validation examples, used unless training examples are set aside.
        chance_loss: The loss of a guess that does not look at the inputs, of targets [size, ...];
            None if the targets are classes.
        class_names: Names of the classes; None if they have none, or the targets are not classes.
    """

    training: Source
    test: Source
    validation: Source | None = None
    chance_loss: Callable[[tf.Tensor], float] | None = None
    class_names: Sequence[str] | None = None


@dataclasses.dataclass(frozen=True, init=False)
class Options:
    """What a data set's `load` may be told; each takes what concerns it.

    Attributes:
        data_dir: Existing directory of the data sets that are kept on disk, or None. Here ~ is
            replaced, so that records of runs keep what the user has written.
        seed: Seed of generated examples.
        image_size: Height and width of images of files, or None.
        skip_corrupt: Whether files that cannot be decoded are left out rather than refused.

    Raises:
        ValueError: If an option is of the wrong type or out of range.
        FileNotFoundError: If `data_dir` is not a directory.
    """

    data_dir: pathlib.Path | None
    seed: int
    image_size: int | None
    skip_corrupt: bool

    def __init__(
        self,
        data_dir: str | os.PathLike | None = None,
        seed: int = 0,
        image_size: int | None = None,
        skip_corrupt: bool = False,
    ) -> None:
        _check_seed(seed)
        if image_size is not None:
            check_integer("image_size", image_size, 1, 2**14)
        if not isinstance(skip_corrupt, bool):
            raise ValueError(
                "Expected skip_corrupt to be True or False. "
                f"Received: skip_corrupt={skip_corrupt!r}"
            )
        directory = None if data_dir is None else files.expand(data_dir)
        if directory is not None and not directory.is_dir():
            raise FileNotFoundError(
                "Expected data_dir to be an existing directory. "
                f"Received: data_dir={str(directory)!r}"
            )
        object.__setattr__(self, "data_dir", directory)
        object.__setattr__(self, "seed", seed)
        object.__setattr__(self, "image_size", image_size)
        object.__setattr__(self, "skip_corrupt", skip_corrupt)


@dataclasses.dataclass(frozen=True)
class Data:
    """Batches of one data set; `train, validation, test = data` unpacks them.

    Attributes:
        validation: Batches `(x [batch, ...], y [batch, ..., num_outputs])`, both float32 (labels
            are int32 [batch]), in the order of the source and without augmentation; None if there
            are no such examples, as Keras's `fit(validation_data=None)` expects.
        test: The same of the test examples.
        batch_size: The size of every batch but the last of a pass, which holds the remainder.
        sizes: Number of examples in "train", "validation" and "test".
        num_classes: Number of classes; None if the targets are not classes.
        chance: What a guess scores: {"accuracy": 1 / num_classes}, or, if the targets are not
            classes, "train_loss", "validation_loss" (if there is any) and "test_loss".
        training: The training examples, of which `train` is made.
        class_names: Names of the classes, if they have any.
    """

    validation: tf.data.Dataset | None
    test: tf.data.Dataset
    batch_size: int
    sizes: dict[str, int]
    num_classes: int | None
    chance: dict[str, float]
    training: Training = dataclasses.field(repr=False)
    class_names: Sequence[str] | None = None

    @functools.cached_property
    def train(self) -> tf.data.Dataset:
        """The same of the training examples.

        The seed fixes a sequence of orders and augmentations; each pass, even one broken off, takes
        the next. `batches_from` gives the same batches by their place in this sequence.
        """
        return self.training.passes()

    def __iter__(self) -> Iterator[tf.data.Dataset | None]:
        return iter((self.train, self.validation, self.test))

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, for images (height, width, channels)."""
        return tuple(self.test.element_spec[0].shape[1:])

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one output: a number for each class, or the shape of one target."""
        if self.num_classes:
            return (self.num_classes,)
        return tuple(self.test.element_spec[1].shape[1:])

    @property
    def num_outputs(self) -> int:
        """Number of outputs (of each time step, in sequences)."""
        return self.output_shape[-1]

    @property
    def steps(self) -> int:
        """Number of training batches in an epoch."""
        return self.training.steps

    def batches_from(self, step: int) -> tf.data.Dataset:
        """The training batches from a step on, without end, whatever was drawn from `train`.

        Batch `step` is a function of the seed and the step alone: of epoch `step // steps`, it is
        the batch at `step % steps`.

        Args:
            step: Number of batches before.

        Raises:
            ValueError: If `step` is not an integer at least 0.
        """
        check_integer("step", step, 0, 2**62)
        return self.training.batches_from(step)

    def shuffled_by(self, seed: int) -> "Data":
        """Returns the same examples, with order and augmentation of another seed.

        Args:
            seed: Seed of the order of the training examples and of their augmentation.

        Raises:
            ValueError: If the seed is not an integer or out of range.
        """
        _check_seed(seed)
        return dataclasses.replace(self, training=dataclasses.replace(self.training, seed=seed))

    def fetched_from(self, source: Source) -> "Data":
        """Returns the training batches of the same orders, from the first on, of another source.

        Args:
            source: Where the examples come from, at the same positions.
        """
        return dataclasses.replace(self, training=dataclasses.replace(self.training, source=source))


def limit(remaining: int, batch_size: int, data_limit: int | None) -> tuple[int, int]:
    """Returns how many of the remaining examples are trained on, and the size of a batch."""
    if data_limit is None:
        return remaining, batch_size
    return data_limit, math.gcd(data_limit, batch_size)


def split(
    examples: Examples,
    batch_size: int,
    validation_size: int,
    data_limit: int | None = None,
    seed: int = 0,
) -> Data:
    """Splits the training examples, then shuffles and batches.

    The first `validation_size` training examples are the validation set, the next `data_limit` (or
    all others) are trained on. Only these are shuffled. Remainder batches are kept.

    Args:
        examples: The examples.
        batch_size: Examples a batch. Where `data_limit` is not a multiple of it, the greatest
            common divisor of both takes its place, so that batches of a limited set are equal.
        validation_size: Number of training examples set aside for validation. If it is 0, the
            official validation examples are the validation set, or there is none.
        data_limit: Number of examples to train on; None for all that validation leaves.
        seed: Seed of shuffling and augmentation, which depend on nothing else.

    Returns:
        The batches, as `Data`.

    Raises:
        ValueError: If an argument is not an integer or out of range.
    """
    training, validation, test = examples.training, examples.validation, examples.test
    _check_seed(seed)
    check_integer("validation_size", validation_size, 0, training.size - 1)
    remaining = training.size - validation_size
    check_integer("batch_size", batch_size, 1, remaining)
    if data_limit is not None:
        check_integer("data_limit", data_limit, 1, remaining)
    data_limit, batch_size = limit(remaining, batch_size, data_limit)

    parts = {"train": (training, range(validation_size, validation_size + data_limit))}
    if validation_size:
        parts["validation"] = training, range(validation_size)
    elif validation:
        parts["validation"] = validation, range(validation.size)
    parts["test"] = test, range(test.size)

    batches = {
        name: in_turn(source, positions, batch_size)
        for name, (source, positions) in parts.items()
        if name != "train"
    }

    num_classes, chance_loss = None, examples.chance_loss
    if chance_loss is None:
        num_classes = batches["test"].element_spec[1].shape[-1]
        chance = {"accuracy": 1 / num_classes}
    else:
        chance = {
            f"{name}_loss": chance_loss(source.fetch(tf.constant(positions, tf.int64), None)[1])
            for name, (source, positions) in parts.items()
        }
    return Data(
        validation=batches.get("validation"),
        test=batches["test"],
        batch_size=batch_size,
        sizes={
            name: len(parts[name][1]) if name in parts else 0
            for name in ("train", "validation", "test")
        },
        num_classes=num_classes,
        chance=chance,
        training=Training(*parts["train"], batch_size, seed),
        class_names=examples.class_names,
    )


def _check_seed(seed: int) -> None:
    check_integer("seed", seed, 0, 2**32 - 1)


def check_integer(name: str, value: int, low: int, high: int) -> None:
    """Raises a ValueError unless a value is an integer within bounds.

    Args:
        name: Name of the argument.
        value: Its value.
        low: The least that it may be.
        high: The most.
    """
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_integer or not low <= value <= high:
        raise ValueError(
            f"Expected {name} to be an integer from {low} to {high}. Received: {name}={value!r}"
        )
