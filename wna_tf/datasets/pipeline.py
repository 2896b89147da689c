"""From examples to batches: one split, one shuffle and one batching for every data set."""

import dataclasses
import functools
import math
import numbers
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from wna_tf import files, internals

# Batches that are fetched at a time: more would hold more memory, and one leaves processors idle
# while the last files of a batch are decoded.
_BATCHES_AT_A_TIME = 2


@dataclasses.dataclass(frozen=True)
class Source:
    """Examples that are fetched by their positions, a batch at a time.

    Attributes:
        size: Number of examples.
        fetch: Maps positions and seeds, int64 [batch] each, to `(x, y)`, float32 [batch, ...] each,
            in TensorFlow operations. What it reads (tensors in memory, files) is its own business.
            A seed, another for every example in every pass, is all the randomness of an
            augmentation; None for all seeds asks for examples without any, for evaluation.
    """

    size: int
    fetch: Callable[[tf.Tensor, tf.Tensor | None], tuple[Any, tf.Tensor]]


@dataclasses.dataclass(frozen=True)
class Training:
    """The examples that are trained on, in an order that a seed fixes.

    Attributes:
        source: Where they are fetched from.
        positions: Their positions there.
        batch_size: The size of every batch but the last of an epoch, which holds the remainder.
        seed: Seed of order and augmentation, which depend on nothing else.
    """

    source: Source
    positions: range
    batch_size: int
    seed: int

    @property
    def steps(self) -> int:
        """Number of batches in an epoch."""
        return math.ceil(len(self.positions) / self.batch_size)

    @property
    def known_size(self) -> int | None:
        """The size of every batch; None if the last of an epoch has another."""
        return None if len(self.positions) % self.batch_size else self.batch_size

    def passes(self) -> tf.data.Dataset:
        """One epoch; the next one whenever it is passed through, even if that is broken off."""
        passes = self._epochs(_count_passes())
        return passes.apply(tf.data.experimental.assert_cardinality(self.steps))

    def in_turn(self, seed: int | None = None) -> tf.data.Dataset:
        """The examples in the order of their positions; augmented only if there is a seed.

        Args:
            seed: Seed of the augmentation; None for none.
        """
        return _in_turn(self.source, self.positions, self.batch_size, seed)

    def draw(self, count: int) -> tuple[Any, tf.Tensor]:
        """Some of the examples, drawn by the seed, without augmentation; the order stays.

        Args:
            count: How many, or all if there are fewer.
        """
        drawn = np.random.default_rng(self.seed).permutation(self.positions)[:count]
        return self.source.fetch(tf.constant(np.sort(drawn), tf.int64), None)

    def batches_from(self, step: int) -> tf.data.Dataset:
        """The batches from a step on, without end.

        Args:
            step: How many batches are left out, from the first epoch's on.
        """
        epoch, begin = divmod(step, self.steps)
        batches = self._epochs(tf.data.Dataset.counter(epoch), begin)
        return batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))

    def _epochs(self, numbers: tf.data.Dataset, begin: int = 0) -> tf.data.Dataset:
        orders = numbers.flat_map(_unconverted(lambda epoch: _order(self, epoch)))
        return _fetch(self.source, orders.skip(begin))


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
        name: _in_turn(source, positions, batch_size)
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


def hold(value: np.ndarray | tf.Tensor | Callable[[], tf.Tensor]) -> tf.Variable:
    """Returns a variable on the CPU, where tf.data runs: it would copy from a GPU.

    One of this process alone, within the scope of a strategy too, which would mirror it.
    """
    with tf.device("CPU"):
        return internals.make_local_variable(value)


def _order(training: Training, epoch: tf.Tensor) -> tf.data.Dataset:
    """Positions and augmentation seeds of the batches of one epoch, int64 [batch] each."""
    positions, batch_size = training.positions, training.batch_size
    # All from one draw, which is a function of seed and epoch: tf.data prepares its graph anew for
    # every pass, which takes longer than the draw.
    keys, seeds = tf.unstack(
        tf.random.stateless_uniform(
            [2, len(positions)],
            tf.stack([tf.constant(training.seed, tf.int64), epoch]),
            minval=None,
            maxval=None,
            dtype=tf.int64,
            alg="philox",
        )
    )
    order = tf.cast(tf.argsort(keys), tf.int64) + positions.start
    # A size that is known makes a step faster, by 1% to 20%: its shapes need not be computed.
    shape = [training.known_size]
    # Slices, not `batch`, which takes one position at a time; and a strategy that sees a `batch`
    # with a remainder batches anew, across the end of an epoch.
    return tf.data.Dataset.range(0, len(positions), batch_size).map(
        _unconverted(
            lambda at: tuple(
                tf.ensure_shape(some[at : at + batch_size], shape) for some in (order, seeds)
            )
        )
    )


def _count_passes() -> tf.data.Dataset:
    """One number, that of the pass over this data set: 0, then 1, and so on."""
    passes = hold(np.int64(-1))
    return tf.data.Dataset.from_tensors(0).map(lambda _: passes.assign_add(1))


def _in_turn(
    source: Source, positions: range, batch_size: int, seed: int | None = None
) -> tf.data.Dataset:
    """Batches in the order of positions, with augmentation if there is a seed."""
    in_turn = tf.data.Dataset.range(positions.start, positions.stop).batch(batch_size)
    if seed is not None:
        in_turn = in_turn.map(lambda positions: (positions, positions + seed))
    return _fetch(source, in_turn)


def _fetch(source: Source, batches: tf.data.Dataset) -> tf.data.Dataset:
    """Examples of batches of positions, and of augmentation seeds if there are any."""
    batches = batches.map(
        _unconverted(lambda positions, seeds=None: source.fetch(positions, seeds)),
        num_parallel_calls=_BATCHES_AT_A_TIME,
    )
    options = tf.data.Options()
    # To optimize its graph tf.data writes the tensors that `fetch` reads into it: a copy of all
    # the examples for each dataset. There is nothing here to optimize; autotuning is kept.
    options.experimental_optimization.apply_default_optimizations = False
    # Workers share each batch: there are no files among the inputs to share instead.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)


def _unconverted(function: Callable) -> Callable:
    """Returns a function that has no control flow for AutoGraph, which takes long to see so."""
    return tf.autograph.experimental.do_not_convert(function)


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
