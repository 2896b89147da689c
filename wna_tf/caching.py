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
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from wna_tf import progress
from wna_tf.datasets import Data, Training, named_errors
from wna_tf.datasets.batches import hold
from wna_tf.graph.forward_pass import Evaluation, Remembered
from wna_tf.graph.recurrence import Recurrence
from wna_tf.learner import Learner

GIGABYTES = 4.0

# Below it a convolution takes no longer than fetching its outputs.
_LEAST_FAN_IN = 32
# To see whether examples depend on each other so many are evaluated, and half of them again; the
# rounding of bfloat16 is the largest.
_EXAMPLES, _ROUNDING = 8, 0.01


def cache(learner: Learner, data: Data, gigabytes: float = GIGABYTES) -> Data:
    """Returns data whose training examples bring what the frozen network makes of them.

    `learner.fit(cached.train)` trains as `learner.fit(data.train)` does, to rounding. They are for
    this learner, at the initial weights that it has now: where others are restored, they are to be
    made anew.

    Args:
        learner: The learner that is to be trained.
        data: Its data.
        gigabytes: Memory of this process for the outputs, above 0, in units of 1e9 bytes.

    Raises:
        ValueError: As `choose`.
    """
    return keep(learner, data, choose(learner, data, gigabytes))


def check(gigabytes: float) -> None:
    """Raises a ValueError unless `gigabytes` is a number above 0.

    Args:
        gigabytes: Memory for a cache, in units of 1e9 bytes.
    """
    is_number = isinstance(gigabytes, int | float) and not isinstance(gigabytes, bool)
    if not is_number or not 0 < gigabytes < math.inf:
        raise ValueError(
            "Expected cache_gigabytes to be a number above 0. "
            f"Received: cache_gigabytes={gigabytes!r}"
        )


def choose(learner: Learner, data: Data, gigabytes: float = GIGABYTES) -> dict[str, float]:
    """Returns the affine maps whose outputs a cache keeps, by name, with the gigabytes of each.

    Those whose computation costs most for each byte, as many as the memory holds; none if the rule
    does not use the frozen network.

    Args:
        learner: The learner that is to be trained.
        data: Its data.
        gigabytes: Memory of this process for the outputs, above 0, in units of 1e9 bytes.

    Raises:
        ValueError: If the examples are augmented, the frozen network couples the examples of a
            batch or is random, it has no map that is worth keeping, or none that fits.
    """
    check(gigabytes)
    if not learner.rule.runs_frozen:
        return {}
    training = data.training
    worthless = ValueError(
        "Expected hidden layers that are worth keeping in a cache of the frozen network: not "
        f"recurrent, with a fan-in of at least {_LEAST_FAN_IN}. Received: none in "
        f"{learner.network.name!r}"
    )
    candidates = _candidates(learner)
    if not candidates:
        raise worthless
    x = _sample(training)
    evaluation = learner.evaluate_networks(x)["initial"]
    outputs = _outputs(evaluation, candidates)
    _check_state(learner, evaluation)
    _check_independence(learner, x, outputs)
    size = len(keras.tree.flatten(x)[0])
    needed = {
        name: len(training.positions) * math.prod(output.shape[1:]) * output.dtype.size / 1e9
        for name, output in outputs.items()
        if output.shape[0] == size  # Not where the batch is merged with another axis.
    }
    fan_in = {name: step.fan_in for step, name in learner.program.affine_names.items()}
    chosen: dict[str, float] = {}
    for name in sorted(needed, key=lambda name: -fan_in[name]):
        if sum(chosen.values()) + needed[name] <= gigabytes:
            chosen[name] = needed[name]
    if not needed:
        raise worthless
    if not chosen:
        least = min(needed, key=needed.__getitem__)
        raise ValueError(
            f"Expected cache_gigabytes to be at least {needed[least]:.2g}, which layer {least!r} "
            f"takes. Received: cache_gigabytes={gigabytes!r}"
        )
    return chosen


def keep(learner: Learner, data: Data, names: Collection[str]) -> Data:
    """Returns data whose training examples bring the outputs of some affine maps.

    Args:
        learner: The learner that is to be trained.
        data: Its data.
        names: Names of the maps, as `choose` returns them.
    """
    if not names:
        return data
    training = data.training
    size, first = len(training.positions), training.positions.start

    @functools.partial(tf.function, autograph=False, reduce_retracing=True)
    def evaluate(x: Any) -> dict[str, tf.Tensor]:
        return _outputs(learner.evaluate_networks(x)["initial"], names)

    tables: dict[str, tf.Variable] = {}
    with named_errors():
        batches = progress.track(training.in_turn(), "Cache of the frozen network", "batches")
        for index, (x, _) in enumerate(batches):
            for name, output in evaluate(x).items():
                if name not in tables:
                    shape, dtype = [size, *output.shape[1:]], output.dtype
                    tables[name] = hold(functools.partial(tf.zeros, shape, dtype))
                rows = index * training.batch_size + tf.range(tf.shape(output)[0])
                tables[name].scatter_update(tf.IndexedSlices(output, rows))
    names_of = learner.program.affine_names
    keys = {names_of[step]: key for key, step in learner.maps_by_key.items()}

    def fetch(positions: tf.Tensor, seeds: tf.Tensor | None) -> tuple[Any, tf.Tensor]:
        x, y = training.source.fetch(positions, seeds)
        if seeds is None:
            return x, y
        rows = positions - first
        return Remembered(x, {keys[name]: tables[name].sparse_read(rows) for name in tables}), y

    return data.fetched_from(dataclasses.replace(training.source, fetch=fetch))


def _candidates(learner: Learner) -> list[str]:
    """Returns the names of affine maps whose outputs are used, and take longer than fetching."""
    program = learner.program
    unused = set() if learner.rule.error == "linearized" else set(program.outputs)
    return [
        name
        for step, name in program.affine_names.items()
        if not isinstance(step, Recurrence)
        and step.fan_in >= _LEAST_FAN_IN
        and unused.isdisjoint(step.outputs)
    ]


def _sample(training: Training) -> Any:
    """Returns the inputs of some examples; refuses those that augmentation changes."""
    some = dataclasses.replace(training, positions=training.positions[:_EXAMPLES])
    with named_errors():
        x, *others = (next(iter(some.in_turn(seed)))[0] for seed in (None, 0, 1))
    for other in others:
        for a, b in zip(keras.tree.flatten(x), keras.tree.flatten(other), strict=True):
            if not np.array_equal(a, b):
                raise ValueError(
                    "Expected training examples without augmentation for a cache of the frozen "
                    "network, the same in every epoch. Received: augmented ones"
                )
    return x


def _check_state(learner: Learner, evaluation: Evaluation) -> None:
    """Refuses a network that changes seeds or moving statistics."""
    for variable in learner.network.non_trainable_variables:
        # Layers that are frozen have the value they were given.
        if id(variable) not in learner.program.variables and (
            evaluation.state.get_current_value(variable) is not None
        ):
            raise _dependent(learner, f"which changes {variable.path!r}")


def _check_independence(learner: Learner, x: Any, outputs: Mapping[str, tf.Tensor]) -> None:
    """Refuses a network that makes something else of an example in another batch."""
    half = len(keras.tree.flatten(x)[0]) // 2
    rest = keras.tree.map_structure(lambda inputs: inputs[half:], x)
    for name, again in _outputs(learner.evaluate_networks(rest)["initial"], outputs).items():
        same = outputs[name][-len(again) :]
        if not np.max(np.abs(same - again)) <= _ROUNDING * np.max(np.abs(again)):
            raise _dependent(learner, f"where layer {name!r} receives something else")


def _dependent(learner: Learner, reason: str) -> ValueError:
    return ValueError(
        "Expected a frozen network that makes the same of an example in every batch, without "
        "statistics of the batch and without dropout, for a cache of it. "
        f"Received: {learner.network.name!r}, {reason}"
    )


def _outputs(evaluation: Evaluation, names: Iterable[str]) -> dict[str, tf.Tensor]:
    """Returns what some affine maps put out, [batch, ...] each."""
    steps = {name: step for step, name in evaluation.program.affine_names.items()}
    return {name: evaluation.records[steps[name]].outputs[0] for name in names}
