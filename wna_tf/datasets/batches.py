"""Batches of examples by their positions, in an order that a seed fixes."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from wna_tf import internals

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
        return in_turn(self.source, self.positions, self.batch_size, seed)

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


def in_turn(
    source: Source, positions: range, batch_size: int, seed: int | None = None
) -> tf.data.Dataset:
    """Returns batches in the order of positions.

    Args:
        source: Where the examples are fetched from.
        positions: Their positions there.
        batch_size: The size of every batch but the last, which holds the remainder.
        seed: Seed of the augmentation; None for none.
    """
    in_turn = tf.data.Dataset.range(positions.start, positions.stop).batch(batch_size)
    if seed is not None:
        in_turn = in_turn.map(lambda positions: (positions, positions + seed))
    return _fetch(source, in_turn)


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
