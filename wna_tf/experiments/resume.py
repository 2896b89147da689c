"""Training that may be killed at any moment: the same call continues it, with the same bits."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from absl import logging

from wna_tf.callbacks.logs import may_hear_late
from wna_tf.datasets import Data
from wna_tf.experiments import environment, strategies
from wna_tf.experiments.checkpoints import Checkpoint, Checkpoints
from wna_tf.learner import Learner
from wna_tf.steps import Evaluation


def fit(
    learner: Learner,
    data: Data,
    epochs: int,
    callbacks: Sequence[keras.callbacks.Callback],
    directory: pathlib.Path,
    run: Mapping[str, Any],
    every: int,
) -> None:
    """Trains a learner as `learner.fit` does, from the last checkpoint on if there is one.

    For weights, optimizer, seed generators, metrics and callbacks it is as if it had never been
    interrupted. A callback sees one training: one `on_train_begin`, and batches by their place in
    the epoch. What it has gathered goes on if it is in the Keras variables of its attribute
    `variables`, which are there after `on_train_begin`, or, as values that JSON holds, in its
    attribute `state`. A training that a callback stops is not saved from there on: it stops again.

    Small steps are taken some at a time, which ends at a checkpoint and with a loss that is not
    finite: a callback hears of a batch when those behind it were trained on already. That is so if
    all methods that hear of training batches are marked by `callbacks.logs.looks_at_logs_alone`; or
    else each step waits for them.

    The same bits need the environment of the checkpoint (see `environment.describe`): a line of the
    log tells where it differs.

    Args:
        learner: A compiled learner, as it was before the first step.
        data: The data.
        epochs: Number of epochs.
        callbacks: Callbacks, the same ones and as new each time.
        directory: Directory of the checkpoints alone, which all workers share if there are several.
        run: What tells this training from others, in values that JSON holds: checkpoints of others
            are left out.
        every: Steps from one checkpoint to the next.

    Raises:
        ValueError: If `every` is not an integer at least 1, or callbacks that gather something are
            not those of the checkpoint.
    """
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise ValueError(f"Expected every to be an integer at least 1. Received: every={every!r}")
    run = {
        **run,
        "epochs": epochs,
        "replicas": learner.distribute_strategy.num_replicas_in_sync,
        "examples": data.sizes,
        "batch_size": data.batch_size,
        "learner": _describe(learner.variables),
        "optimizer": _describe(learner.optimizer.variables),
    }
    saver = _Saver(learner, Checkpoints(directory, run), every, data, callbacks)
    epoch, begin = divmod(saver.step, data.steps)
    if saver.step:
        print(f"Going on from step {saver.step} of {epochs * data.steps}.", flush=True)
    told = keras.callbacks.CallbackList(
        [*callbacks, saver],
        add_history=True,
        model=learner,
        epochs=epochs,
        steps=data.steps,
        verbose=1,
    )
    batches = learner.distribute_strategy.experimental_distribute_dataset(
        data.batches_from(saver.step)
    )
    learner.build_metrics(batches)
    validation = None if data.validation is None else Evaluation(learner, data.validation)
    at_a_time = data.steps if all(map(may_hear_late, callbacks)) else 1
    learner.stop_training = False
    learner.make_train_function()
    told.on_train_begin()
    iterator, logs = iter(batches), None
    while epoch < epochs and not learner.stop_training:
        learner.reset_metrics()
        told.on_epoch_begin(epoch)
        while begin < data.steps and not learner.stop_training:
            to_checkpoint = every - (epoch * data.steps + begin) % every
            at_most = min(data.steps - begin, to_checkpoint, at_a_time)
            for logs in learner.training_steps.take(iterator, at_most):
                told.on_train_batch_begin(begin)
                told.on_train_batch_end(begin, logs)
                begin += 1
        logs = learner.get_metrics_result()
        if validation is not None:
            found = validation.evaluate(told)
            logs |= {f"val_{name}": value for name, value in found.items()}
        told.on_epoch_end(epoch, logs)
        epoch, begin = epoch + 1, 0
    # Where Keras puts averages in the place of weights: checkpoints are from before that.
    learner.optimizer.finalize_variable_values(learner.trainable_variables)
    told.on_train_end(logs)


class _Saver(keras.callbacks.Callback):
    """Restores the newest checkpoint, and writes others; the last of the callbacks."""

    def __init__(
        self,
        learner: Learner,
        checkpoints: Checkpoints,
        every: int,
        data: Data,
        others: Sequence[keras.callbacks.Callback],
    ):
        super().__init__()
        self._checkpoints = checkpoints
        self._every = every
        self._data = data
        self._others = others
        self._epoch = 0
        self._environment = environment.describe()
        self._strategy = learner.distribute_strategy
        self._graph: Callable | None = None
        self._restored = self._newest()
        self.step = self._restored.step if self._restored else 0

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        if self._restored is None:
            return
        if self._within_epoch():
            Evaluation(self.model, self._data.test.take(1)).evaluate()  # Metrics get variables.
        names = [type(callback).__name__ for callback in self._lasting()]
        saved = [name for name, _ in self._restored.plain]
        if names != saved:
            raise ValueError(
                f"Expected the callbacks of the checkpoint, {saved}. Received: {names}"
            )
        for name, variables in self._variables().items():
            if name != "metrics":
                self._assign(variables, self._restored.arrays[name])
        for callback, (_, state) in zip(self._lasting(), self._restored.plain, strict=True):
            if hasattr(callback, "state"):
                callback.state = state

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch = epoch
        if self._restored is not None and self._within_epoch():
            metrics = self._restored.arrays["metrics"]
            self._assign(self._variables()["metrics"], metrics)  # Keras has just reset them.
        self._restored = None

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        if batch + 1 < self._data.steps:
            self._write(self._epoch * self._data.steps + batch + 1)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._write((epoch + 1) * self._data.steps)

    def _write(self, step: int) -> None:
        if step % self._every == 0 and not self.model.stop_training:
            parts = iter(self._gather_parts())
            arrays = {
                name: [
                    next(parts).numpy() if _differs(some) else np.asarray(some)
                    for some in variables
                ]
                for name, variables in self._variables().items()
            }
            plain = [
                (type(callback).__name__, getattr(callback, "state", None))
                for callback in self._lasting()
            ]
            if strategies.is_chief(self._strategy):
                self._checkpoints.write(Checkpoint(step, arrays, plain, self._environment))

    def _newest(self) -> Checkpoint | None:
        """Reads the newest checkpoint that the chief can use, as every worker does."""
        found: Checkpoint | None = None

        def find() -> int | None:
            nonlocal found
            found = self._checkpoints.newest()
            if found:
                _compare(found.environment, self._environment)
            return found.step if found else None

        step = strategies.from_chief(self._strategy, find)
        if step is None or strategies.is_chief(self._strategy):
            return found
        return self._checkpoints.at(step)

    def _lasting(self) -> list[keras.callbacks.Callback]:
        """The callbacks that gather something, which there may be others beside."""
        return [other for other in self._others if {"state", "variables"} & set(dir(other))]

    def _within_epoch(self) -> bool:
        return self.step % self._data.steps != 0

    def _variables(self) -> dict[str, list[keras.Variable]]:
        return {
            "learner": self.model.variables,
            "optimizer": self.model.optimizer.variables,
            "metrics": [some for metric in self.model.metrics for some in metric.variables],
            "callbacks": [
                some for other in self._others for some in getattr(other, "variables", ())
            ],
        }

    def _gather_parts(self) -> list[tf.Tensor]:
        """Returns the values of variables that differ between replicas, [replicas, ...] each."""
        variables = [
            some for group in self._variables().values() for some in group if _differs(some)
        ]
        if not variables:
            return []
        if self._graph is None:  # Written once: TensorFlow writes one for every gathering.

            def gather() -> list[tf.Tensor]:
                parts = self._strategy.run(
                    lambda: [tf.convert_to_tensor(some.value)[tf.newaxis] for some in variables]
                )
                return [self._strategy.gather(part, axis=0) for part in parts]

            self._graph = tf.function(gather, autograph=False).get_concrete_function()
        return self._graph()

    def _assign(self, variables: Sequence[keras.Variable], arrays: Sequence[np.ndarray]) -> None:
        pairs = list(zip(variables, arrays, strict=True))
        with self._strategy.scope():
            for variable, array in pairs:
                if not _differs(variable):
                    variable.assign(array)

        def assign_parts() -> None:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            for variable, array in pairs:
                if _differs(variable):
                    variable.assign(tf.constant(array)[replica])

        tf.function(lambda: self._strategy.run(assign_parts), autograph=False)()


def _compare(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Tells how the environment differs from that of a checkpoint, as far as that is known."""
    others = [
        f"{name}={now[name]!r} (then {before[name]!r})"
        for name in now
        if name in before and before[name] != now[name]
    ]
    if others:
        logging.warning("Continuing, perhaps not with the same bits: %s", ", ".join(others))


def _differs(variable: keras.Variable) -> bool:
    """Returns whether each replica has a value of its own."""
    return variable.value.synchronization == tf.VariableSynchronization.ON_READ


def _describe(variables: Sequence[keras.Variable]) -> list[Any]:
    """Types and shapes."""
    return [[np.dtype(some.dtype).name, list(some.shape)] for some in variables]
