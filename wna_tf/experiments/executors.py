"""Where the runs of a sweep are trained: here, in other processes, or on a Ray cluster."""

import importlib.util
import logging
import os
import pathlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

from wna_tf import serialization
from wna_tf.experiments import processes
from wna_tf.experiments.processes import Died

Executor = Callable[
    [Callable[[Any], Any], Sequence[Any], Callable[[Any], None], Callable[[Any], Hashable]],
    Iterator[tuple[Any, Any]],
]
"""`executor(function, items, begin, kind)` yields `(item, function(item))` as they are completed.

Where the process of the function died, a `Died` takes the place of what it returns. `begin(item)`
is called when there is room for an item. A process that has had an item is given others of the
same `kind(item)` first, which are faster there.
"""


def local(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    begin: Callable[[Any], None],
    kind: Callable[[Any], Hashable],
) -> Iterator[tuple[Any, Any]]:
    """Applies the function in this process, to one item after the other."""
    for item in items:
        begin(item)
        yield item, function(item)


def on_ray(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    begin: Callable[[Any], None],
    kind: Callable[[Any], Hashable],
) -> Iterator[tuple[Any, Any]]:
    """Applies the function on the workers of Ray, one for each processor.

    That is the cluster at `RAY_ADDRESS`, if there is one, or else this machine. An accelerator is
    shared out too, one to each worker. Directories must be on a file system that all share.
    """
    import ray

    started = not ray.is_initialized()
    if started:
        ray.init(log_to_driver=False, logging_level=logging.ERROR, include_dashboard=False)
    try:
        resources = ray.cluster_resources()
        share = min(1, resources.get("GPU", 0))
        room = int(resources["GPU" if share else "CPU"])

        here = pathlib.Path.cwd()

        @ray.remote(num_cpus=1, num_gpus=share, max_retries=0)
        def apply(item: Any) -> Any:
            os.chdir(here)  # Where paths begin that are not absolute.
            return function(item)

        waiting = list(reversed(items))
        pending: dict[Any, Any] = {}
        while waiting or pending:
            while waiting and len(pending) < room:
                item = waiting.pop()
                begin(item)
                pending[apply.remote(item)] = item
            (done,), _ = ray.wait(list(pending))
            try:
                outcome = ray.get(done)
            except ray.exceptions.RayError as error:  # Killed, out of memory, its machine lost.
                outcome = Died(str(error))
            yield pending.pop(done), outcome
    finally:
        if started:
            ray.shutdown()


_TABLE: serialization.Table[Executor] = serialization.Table(
    "an executor",
    "executor",
    {"local": local, "processes": processes.apply, "ray": on_ray},
    is_open=False,
)


def names() -> tuple[str, ...]:
    """Returns the name of every executor."""
    return _TABLE.names()


def count_processes(name: str, runs: int) -> int:
    """Returns the number of processes in which an executor trains some runs on this machine."""
    return 1 if name == "local" else processes.share(runs)[0]


def get(name: str) -> Executor:
    """Returns an executor.

    Raises:
        ValueError: If the name is unknown, or the package that it needs is not installed.
    """
    executor = _TABLE.get(name)
    if name == "ray" and importlib.util.find_spec(name) is None:
        raise ValueError(
            f"Expected the package {name} for executor={name!r}: pip install {name}. "
            "Received: it is not installed"
        )
    return executor
