"""A cache of what the frozen network contributes, which is the same in every epoch.

The network at its initial weights never changes. Where nothing else does (no augmentation, no
randomness, no statistics of a batch), what it makes of an example is computed once, and fetched
with the example from then on: a step of `align_zero` costs three forward passes instead of four.
What is kept are outputs of affine maps, from which derivatives and presynaptic activity follow by
elementwise functions.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from wna_tf.datasets import Data
from wna_tf.datasets.pipeline import hold
from wna_tf.learner import Learner
from wna_tf.program import Remembered
from wna_tf.recurrence import Recurrence

GIGABYTES = 4.0

# Below it a convolution takes no longer than fetching its outputs.
_LEAST_FAN_IN = 32
# To see whether examples depend on each other so many are evaluated, and half of them again; that
# of bfloat16 is the largest rounding.
_EXAMPLES, _ROUNDING = 8, 0.01


def cache(learner: Learner, data: Data, gigabytes: float = GIGABYTES) -> Data:
    """Returns data whose training examples bring what the frozen network makes of them.

    `learner.fit(cached.train)` trains as `learner.fit(data.train)` does, to rounding.

    Args:
        learner: The learner that is to be trained.
        data: Its data.
        gigabytes: Memory for the outputs, above 0, in units of 1e9 bytes.

    Raises:
        ValueError: As `choose`.
    """
    names = choose(learner, data, gigabytes)
    if not names:
        return data
    training = data.training
    size, first = len(training.positions), training.positions.start

    @functools.partial(tf.function, autograph=False, reduce_retracing=True)
    def evaluate(x):
        return _evaluate(learner, x, names)

    tables: dict[str, tf.Variable] = {}
    for begin in range(0, size, training.batch_size):
        rows = tf.range(begin, min(begin + training.batch_size, size), dtype=tf.int64)
        x, _ = training.source.fetch(rows + first, None)
        for name, output in evaluate(x).items():
            if name not in tables:
                shape, dtype = [size, *output.shape[1:]], output.dtype
                tables[name] = hold(functools.partial(tf.zeros, shape, dtype))
            tables[name].scatter_update(tf.IndexedSlices(output, rows))

    def fetch(positions, seeds):
        x, y = training.source.fetch(positions, seeds)
        if seeds is None:
            return x, y
        outputs = {name: table.sparse_read(positions - first) for name, table in tables.items()}
        return Remembered(x, outputs), y

    return data.fetched_from(dataclasses.replace(training.source, fetch=fetch))


def check(gigabytes: float) -> None:
    """Raises a ValueError unless `gigabytes` is a number above 0."""
    is_number = isinstance(gigabytes, int | float) and not isinstance(gigabytes, bool)
    if not is_number or not 0 < gigabytes < math.inf:
        raise ValueError(
            "Expected cache_gigabytes to be a number above 0. "
            f"Received: cache_gigabytes={gigabytes!r}"
        )


def choose(learner: Learner, data: Data, gigabytes: float = GIGABYTES) -> dict[str, float]:
    """Returns the affine maps whose outputs a cache keeps, with the gigabytes of each.

    Those whose computation costs most for each byte, as many as the memory holds; none if the rule
    does not use the frozen network.

    Args:
        learner: The learner that is to be trained.
        data: Its data.
        gigabytes: Memory for the outputs, above 0, in units of 1e9 bytes.

    Raises:
        ValueError: If the examples are augmented, the frozen network couples the examples of a
            batch or is random, it has no map that is worth keeping, or none that fits.
    """
    check(gigabytes)
    if not learner.rule.runs_frozen:
        return {}
    training = data.training
    if training.source.is_augmented:
        raise ValueError(
            "Expected training examples without augmentation for a cache of the frozen network, "
            "the same in every epoch. Received: augmented ones"
        )
    program = learner.program
    unused = set() if learner.rule.error == "linearized" else set(program.outputs)
    steps = {
        name: step
        for step, name in program.affine_names.items()
        if not isinstance(step, Recurrence)
        and step.fan_in >= _LEAST_FAN_IN
        and unused.isdisjoint(step.outputs)
    }
    if not steps:
        raise ValueError(
            "Expected hidden layers that are worth keeping in a cache of the frozen network: not "
            f"recurrent, with a fan-in of at least {_LEAST_FAN_IN}. Received: none in "
            f"{learner.network.name!r}"
        )
    sample = np.resize(training.positions, _EXAMPLES)  # Again from the start, if there are fewer.
    x, _ = training.source.fetch(tf.constant(sample, tf.int64), None)
    outputs = _evaluate(learner, x, steps)
    _check_independence(learner, x, outputs)
    needed = {
        name: len(training.positions) * math.prod(output.shape[1:]) * output.dtype.size / 1e9
        for name, output in outputs.items()
    }
    chosen: dict[str, float] = {}
    for name in sorted(steps, key=lambda name: -steps[name].fan_in):
        if sum(chosen.values()) + needed[name] <= gigabytes:
            chosen[name] = needed[name]
    if not chosen:
        least = min(needed, key=needed.get)
        raise ValueError(
            f"Expected cache_gigabytes to be at least {needed[least]:.2g}, which layer {least!r} "
            f"takes. Received: cache_gigabytes={gigabytes!r}"
        )
    return chosen


def _check_independence(learner: Learner, x: Any, outputs: Mapping[str, tf.Tensor]) -> None:
    """Refuses a network that makes something else of an example in another batch."""
    # The second half: the first would be given the same random numbers.
    half = _EXAMPLES // 2
    rest = keras.tree.map_structure(lambda inputs: inputs[half:], x)
    for name, again in _evaluate(learner, rest, outputs).items():
        difference = tf.reduce_max(tf.abs(outputs[name][half:] - again))
        if not difference <= _ROUNDING * tf.reduce_max(tf.abs(again)):
            raise ValueError(
                "Expected a frozen network that makes the same of an example in every batch, "
                "without statistics of the batch and without dropout, for a cache of it. "
                f"Received: {learner.network.name!r}, where layer {name!r} receives something else"
            )


def _evaluate(learner: Learner, x: Any, names: Iterable[str]) -> dict[str, tf.Tensor]:
    """Returns what some affine maps put out at the initial weights, [batch, ...] each."""
    frozen = learner.evaluate_networks(x)["initial"]
    steps = {name: step for step, name in frozen.program.affine_names.items()}
    return {name: frozen.records[steps[name]].outputs[0] for name in names}
