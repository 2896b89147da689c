"""Sweeps: the runs of a grid, of which those that are not finished are trained."""

import functools
import pathlib
import time
import traceback
from collections.abc import Sequence
from typing import NamedTuple

from wna_tf import caching, files, locks, rules
from wna_tf.experiments import (
    build,
    executors,
    extensions,
    plan,
    reuse,
    run_directory,
    strategies,
    training,
)
from wna_tf.experiments.config import Config, Setup

_SETUP = Setup()


class Outcome(NamedTuple):
    """What became of a grid.

    Attributes:
        runs: The finished runs, in the order of the grid.
        failures: Why the others failed, by their directory.
    """

    runs: list[run_directory.Run]
    failures: dict[pathlib.Path, str]


def sweep(
    configs: Sequence[Config],
    directory: pathlib.Path,
    executor: str = "local",
    setup: Setup = _SETUP,
) -> Outcome:
    """Trains what is not finished yet, runs that can share a learner one behind the other.

    A run that fails is recorded in its directory (`failure.json`) and the others go on; the next
    sweep tries it again. Runs that another process trains are left to it, and waited for. With
    several workers, all go through the same grid, and a failure ends the sweep: the others may be
    waiting in the midst of the run for the worker that failed.

    Args:
        configs: The runs.
        directory: Their parent directory; each run is at `directory / config.name`.
        executor: Where they are trained: one of `executors.names()`.
        setup: How each is trained.

    Returns:
        The finished runs and the failures; runs on the chief alone, if there are several workers.

    Raises:
        ValueError: If a configuration is wrong, the first run's does not fit its data, or the
            directory of a run is another run's or damaged, or the first frozen network cannot be
            cached: nothing is trained or written then.
        FileNotFoundError: If the first run's data is missing, or a file of a finished run.
        OSError: If the directory cannot be written to.
    """
    configs = [build.pin(config) for config in configs]
    execute = executors.get(executor)
    devices = strategies.get(setup.strategy)
    if strategies.has_workers(devices) and executor != "local":
        raise ValueError(
            f"Expected executor='local' with several workers. Received: executor={executor!r}"
        )
    for config in configs:
        training.check(config, setup)
        training.check_directory(config, directory / config.name)

    def finished() -> list[bool]:
        return [run_directory.state(directory / config.name) == "finished" for config in configs]

    done = strategies.from_chief(devices, finished)
    pending = [config for config, is_done in zip(configs, done, strict=True) if not is_done]
    # Those of a kind, which share a learner, one behind the other.
    kinds = {config: reuse.kind(config) for config in pending}
    places = {kind: place for place, kind in enumerate(dict.fromkeys(kinds.values()))}
    pending.sort(key=lambda config: places[kinds[config]])
    if pending:
        _try(pending, setup)
        files.make_directory(directory)
    progress = plan.Progress(len(configs), pending, directory)
    function = functools.partial(attempt, directory=directory, setup=setup)
    failures = {}
    while pending:
        busy = []
        for config, failure in execute(function, pending, progress.announce, kinds.__getitem__):
            if isinstance(failure, executors.Died):
                failure = _record(failure, config, directory, setup)
            if failure == BUSY:
                busy.append(config)
                continue
            progress.finish(config)
            if failure:
                failures[directory / config.name] = failure
                print(f"Failed: {directory / config.name}: {failure}", flush=True)
                if strategies.has_workers(devices):
                    return Outcome([], failures)
        if len(busy) == len(pending):
            time.sleep(_PATIENCE)
        pending = busy
    if not strategies.is_chief(devices):  # The chief may not have written its last run yet.
        return Outcome([], failures)
    directories = [directory / config.name for config in configs]
    runs = [run_directory.read_run(place) for place in directories if place not in failures]
    return Outcome(runs, failures)


def _try(configs: Sequence[Config], setup: Setup) -> None:
    """Prepares the first run of each kind of network and data, and one that has a cache."""
    fields = ("model", "dataset", "augment", "initial_model")
    kinds = {tuple(getattr(config, name) for name in fields): config for config in configs[::-1]}
    tried = list(kinds.values())[::-1]
    if setup.cache_frozen:
        tried += [config for config in configs if rules.get(config.rule).runs_frozen][:1]
    for config in dict.fromkeys(tried):
        with reuse.lent(config, setup.strategy) as (data, learner):
            if setup.cache_frozen:
                caching.choose(learner, data, setup.cache_gigabytes)


BUSY = "busy"
_PATIENCE = 1.0  # Seconds between two looks at runs that other processes train.


def attempt(config: Config, directory: pathlib.Path, setup: Setup = _SETUP) -> str:
    """Trains one run, and records its failure.

    Args:
        config: The run.
        directory: The sweep's directory.
        setup: How it is trained.

    Returns:
        "" if the run is finished, `BUSY` if another process trains it, or else why it failed.
    """
    try:
        extensions.load(setup.imports)  # Another process has imported nothing yet.
        training.train(config, directory / config.name, setup)
    except locks.Busy:
        return BUSY
    except Exception as error:  # A failure of any kind must not end the sweep.
        return _record(error, config, directory, setup)
    return ""


def _record(error: Exception, config: Config, directory: pathlib.Path, setup: Setup) -> str:
    """Records the failure of a run, and returns why it failed."""
    place = directory / config.name
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    details = "".join(traceback.format_exception(error))
    try:
        with strategies.writable(strategies.get(setup.strategy), place) as own:
            run_directory.write_failure(own, config.to_dict(), reason, details)
    except OSError as unwritten:  # A full disk, say.
        reason += f" (not recorded: {unwritten})"
    return reason
