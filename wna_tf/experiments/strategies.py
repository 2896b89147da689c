"""Devices of a run: distribution strategies by name."""

import contextlib
import functools
import json
import os
import pathlib
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from wna_tf import progress
from wna_tf.experiments.config import STRATEGIES


def get(name: str) -> tf.distribute.Strategy:
    """Returns a strategy: one object for each name, however often it is asked for.

    TensorFlow mixes up the collectives of several strategies in one process.

    Args:
        name: `"single"` (one device), `"mirrored"` (a replica on each GPU of this machine, or on
            each logical CPU device where there is no GPU), `"multi_worker"` (replicas on several
            machines, as `TF_CONFIG` in the environment says), or `"auto"`: `"multi_worker"` if
            there is a `TF_CONFIG` with several workers, else `"mirrored"` if there are several
            GPUs, else `"single"`.

    Raises:
        ValueError: If the name is unknown, or `TF_CONFIG` does not describe the workers.
    """
    if name not in STRATEGIES:
        raise ValueError(
            f"Expected strategy to be one of {', '.join(STRATEGIES)}. Received: strategy={name!r}"
        )
    if name == "auto":
        if len(_workers()) > 1:
            name = "multi_worker"
        else:
            several = len(tf.config.list_logical_devices("GPU")) > 1
            name = "mirrored" if several else "single"
    return _make(name)


@functools.cache
def _make(name: str) -> tf.distribute.Strategy:
    if name == "single":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        return tf.distribute.MirroredStrategy([device.name for device in devices])
    if not _workers():
        raise ValueError(
            "Expected the environment variable TF_CONFIG to list the workers of the strategy "
            f"'multi_worker'. Received: TF_CONFIG={os.environ.get('TF_CONFIG')!r}"
        )
    before = signal.getsignal(signal.SIGTERM)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    # TensorFlow would ignore it from now on, and a cluster wait until it kills the process.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)
    return strategy


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process writes files and prints: the first worker, or the only one."""
    return not has_workers(strategy) or strategy.cluster_resolver.task_id == 0


def has_workers(strategy: tf.distribute.Strategy) -> bool:
    """Returns whether other processes train with this one."""
    return isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)


def from_chief(strategy: tf.distribute.Strategy, find: Callable[[], Any]) -> Any:
    """Returns to every worker what the chief finds, so that all do the same.

    Every worker must call it, each time that another does.

    Args:
        strategy: The strategy.
        find: Called on the chief alone, returns values that JSON holds.
    """
    if not has_workers(strategy):
        return find()
    text = json.dumps(find()).encode() if is_chief(strategy) else b""

    def part(context: tf.distribute.experimental.ValueContext) -> tf.Tensor:
        said = text if context.replica_id_in_sync_group == 0 else b""
        return tf.constant(list(said), tf.int32, [len(said)])

    values = strategy.experimental_distribute_values_from_function(part)
    return json.loads(bytes(strategy.gather(values, axis=0).numpy().tolist()))


@contextlib.contextmanager
def chief_alone_prints(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Keeps what other workers than the chief print from standard output, and their progress."""
    if is_chief(strategy):
        yield
    else:
        with (
            pathlib.Path(os.devnull).open("w") as nowhere,
            contextlib.redirect_stdout(nowhere),
            progress.silenced(),
        ):
            yield


@contextlib.contextmanager
def writable(strategy: tf.distribute.Strategy, directory: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives the chief the directory to write to, and every other worker one that is thrown away."""
    if is_chief(strategy):
        yield directory
    else:
        with tempfile.TemporaryDirectory() as other:
            yield pathlib.Path(other)


def _workers() -> list[str]:
    """Returns the addresses of the workers; none without a `TF_CONFIG`."""
    return _config().get("cluster", {}).get("worker", [])


def _config() -> dict:
    text = os.environ.get("TF_CONFIG") or "{}"
    try:
        config = json.loads(text)
    except ValueError:
        config = None
    if not isinstance(config, dict):
        raise ValueError(f"Expected TF_CONFIG to be a JSON object. Received: TF_CONFIG={text!r}")
    return config
