"""Sweeps: the runs of a grid, of which those that are not finished are trained."""

import functools
import pathlib
import time
import traceback
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from wna_tf import costs, executors, files, frozen, locks, results, rules, strategies, training
from wna_tf.config import Config
from wna_tf.training import Setup

_SETUP = Setup()


class Outcome(NamedTuple):
    """What became of a grid.

    Attributes:
        runs: The finished runs, in the order of the grid.
        failures: Why the others failed, by their directory.
    """

    runs: list[results.Run]
    failures: dict[pathlib.Path, str]


def sweep(
    configs: Sequence[Config],
    directory: pathlib.Path,
    executor: str = "local",
    setup: Setup = _SETUP,
) -> Outcome:
    """Trains what is not finished yet.

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
        return [results.state(directory / config.name) == "finished" for config in configs]

    done = strategies.from_chief(devices, finished)
    pending = [config for config, is_done in zip(configs, done, strict=True) if not is_done]
    if pending:
        _try(pending, setup)
        files.make_directory(directory)
    progress = Progress(len(configs), pending)
    function = functools.partial(attempt, directory=directory, setup=setup)
    failures = {}
    while pending:
        busy = []
        for config, failure in execute(function, progress.announce(pending, directory)):
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
    places = [directory / config.name for config in configs]
    return Outcome([results.read_run(p) for p in places if p not in failures], failures)


def _try(configs: Sequence[Config], setup: Setup) -> None:
    """Prepares the first run, and a cache for the first that has one."""
    tried = [configs[0]]
    if setup.cache_frozen:
        tried += [config for config in configs if rules.get(config.rule).runs_frozen][:1]
    for config in dict.fromkeys(tried):
        data, learner = training.prepare(config, setup.strategy)
        if setup.cache_frozen:
            frozen.choose(learner, data, setup.cache_gigabytes)


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
            results.write_failure(own, config.to_dict(), reason, details)
    except OSError as unwritten:  # A full disk, say.
        reason += f" (not recorded: {unwritten})"
    return reason


class Progress:
    """Announces runs, with the time that is left.

    Args:
        total: Number of runs of the sweep.
        pending: Those that are not finished.
    """

    def __init__(self, total: int, pending: Sequence[Config]):
        self._total, self._pending = total, len(pending)
        self._steps = {config: training.count_steps(config) for config in pending}
        self._left = sum(self._steps.values())
        self._finished = 0
        self._announced: set[Config] = set()
        self._start = time.monotonic()

    def announce(self, configs: Sequence[Config], directory: pathlib.Path) -> Iterator[Config]:
        """Yields the runs, each after a line that says how far the sweep is, told once."""
        for config in configs:
            if config not in self._announced:
                self._announced.add(config)
                number = self._total - self._pending + len(self._announced)
                place = directory / config.name
                print(f"[{number}/{self._total}] {place}{self._rest()}", flush=True)
            yield config

    def finish(self, config: Config) -> None:
        """Counts a run as done."""
        steps = self._steps.pop(config)
        self._finished += steps
        self._left -= steps

    def _rest(self) -> str:
        if not self._finished:
            return ""
        seconds = (time.monotonic() - self._start) * self._left / self._finished
        return f" (about {format_seconds(seconds)} left)"


def format_seconds(seconds: float) -> str:
    """Returns a duration in its largest unit."""
    for unit, name in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


def plan(configs: Sequence[Config], directory: pathlib.Path, setup: Setup = _SETUP) -> str:
    """Returns what a sweep would do, as a Markdown table: each run's state, steps and cost.

    The time is an estimate for training on one device of this machine, from the rates that it is
    found to have (see `costs`); the memory is that of a step, beside a process that only loaded
    TensorFlow. Neither is known with forward credit, or where image files decide what is trained
    on; a cache of the frozen network is not counted.

    Args:
        configs: The runs.
        directory: Their parent directory.
        setup: How each would be trained.

    Raises:
        ValueError: If a configuration is wrong.
        FileNotFoundError: If images are to be counted that are not there.
    """
    lines = ["| run | state | steps | time | memory |", "|---|---|---|---|---|"]
    machine = costs.measure_machine()
    total, seconds = 0, 0.0
    for config in configs:
        training.check(config, setup)
        steps, state = training.count_steps(config), results.state(directory / config.name)
        cells = ["?", "?"]
        if estimate := costs.estimate(config, machine):
            cells = [format_seconds(steps * estimate[0]), f"{estimate[1] / 1e9:.2g} GB"]
        if state != "finished":
            total, seconds = total + steps, seconds + steps * (estimate or (0, 0))[0]
        lines.append(" | ".join([f"| {config.name}", state, str(steps), *cells]) + " |")
    left = f"{len(configs)} runs, {total} steps to do, about {format_seconds(seconds)}."
    return "\n".join([*lines, "", left])
