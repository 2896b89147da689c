"""Several steps in one graph: Python takes longer between two small steps than they do."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from wna_tf import progress, replicas

_SECONDS = 0.2  # So long an interruption waits, and what shows progress.

Logs = dict[str, float]


class Steps:
    """Takes steps of a model, some at a time, in a graph that is written once.

    However many are taken at a time, the graph and so the bits are the same.

    Args:
        model: A compiled model.
        step: Its `train_step` or `test_step`.
        until_infinite: Whether no other step is taken with one whose loss is not finite.
    """

    def __init__(
        self,
        model: keras.Model,
        step: Callable[[Any], dict[str, tf.Tensor]],
        until_infinite: bool = False,
    ):
        strategy = model.distribute_strategy
        names: list[str] = []  # Known when the step is traced.

        def take_one(batch: Any) -> dict[str, tf.Tensor]:
            return replicas.mean_of_logs(strategy, strategy.run(step, args=(batch,)))

        if model.jit_compile:
            take_one = tf.function(take_one, autograph=False, jit_compile=True)

        def take_next(batches: Any) -> tuple[tf.Tensor, tf.Tensor]:
            logs = take_one(batches.get_next())
            names[:] = logs
            row = tf.stack([tf.cast(value, "float64") for value in logs.values()])
            return row, until_infinite & ~tf.math.is_finite(logs["loss"])

        def take(batches: Any, count: tf.Tensor) -> tf.Tensor:
            if strategy.num_replicas_in_sync > 1:  # Workers would wait for each other in a loop.
                return take_next(batches)[0][tf.newaxis]

            def goes_on(index: tf.Tensor, is_over: tf.Tensor, _: Any) -> tf.Tensor:
                return (index < count) & ~is_over

            def body(index: tf.Tensor, _: tf.Tensor, table: tf.TensorArray) -> tuple:
                row, is_over = take_next(batches)
                return index + 1, is_over, table.write(index, row)

            table = tf.TensorArray("float64", size=0, dynamic_size=True)
            first = (tf.constant(0), tf.constant(False), table)
            *_, table = tf.while_loop(goes_on, body, first, parallel_iterations=1)
            return table.stack()

        self._take = tf.function(take, autograph=False, reduce_retracing=True)
        self._names = names
        self._at_a_time = 1

    def take(self, batches: Iterator, at_most: int) -> list[Logs]:
        """Takes one step or more, but no more than take a moment, and returns the logs of each.

        Args:
            batches: An iterator of a data set, one that the strategy distributes.
            at_most: The largest number of steps.
        """
        start = time.monotonic()
        table = self._take(batches, tf.constant(min(at_most, self._at_a_time))).numpy()
        seconds = (time.monotonic() - start) / len(table)
        self._at_a_time = max(1, int(_SECONDS / max(seconds, 1e-6)))
        return [dict(zip(self._names, row, strict=True)) for row in table.tolist()]


class Evaluation:
    """Evaluates a learner on a data set, again and again.

    Args:
        learner: A compiled learner.
        data: Batches, of a known number.
    """

    def __init__(self, learner: Any, data: tf.data.Dataset):
        self._learner = learner
        self._steps = int(data.cardinality())
        self._data = data
        self._batches: Iterator | None = None
        if learner.distribute_strategy.num_replicas_in_sync == 1:
            # Once for all: an iterator takes longer to make than small batches to evaluate.
            # Replicas would batch anew across the end of a pass.
            self._batches = iter(data.repeat())

    def evaluate(self, callbacks: keras.callbacks.CallbackList | None = None) -> Logs:
        """Returns the metrics, by name, as `learner.evaluate` does.

        Args:
            callbacks: What is told of it; None to show how far it is.
        """
        learner = self._learner
        batches = self._batches
        if batches is None:
            strategy = learner.distribute_strategy
            batches = iter(strategy.experimental_distribute_dataset(self._data))
        learner.make_test_function()
        is_alone = callbacks is None
        callbacks = callbacks or keras.callbacks.CallbackList(model=learner)
        callbacks.on_test_begin()
        learner.reset_metrics()
        step = 0
        with progress.Stage("Evaluation", "batches", self._steps) as stage:
            while step < self._steps:
                for logs in learner.test_steps.take(batches, self._steps - step):
                    callbacks.on_test_batch_begin(step)
                    callbacks.on_test_batch_end(step, logs)
                    step += 1
                    if is_alone:
                        stage.advance()
        logs = {name: float(value) for name, value in learner.get_metrics_result().items()}
        callbacks.on_test_end(logs)
        return logs
