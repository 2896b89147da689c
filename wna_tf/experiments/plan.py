"""What a sweep is going to do, and how far it is."""

import pathlib
import time
from collections.abc import Sequence

from wna_tf.experiments import build, costs, durations, run_directory, training
from wna_tf.experiments.config import Config, Setup

_SETUP = Setup()


class Progress:
    """Announces runs, with the time that is left.

    Args:
        total: Number of runs of the sweep.
        pending: Those that are not finished.
        directory: Their parent directory.
    """

    def __init__(self, total: int, pending: Sequence[Config], directory: pathlib.Path):
        self._directory = directory
        self._total, self._pending = total, len(pending)
        self._steps = {config: build.count_steps(config) for config in pending}
        self._left = sum(self._steps.values())
        self._finished = 0
        self._announced: set[Config] = set()
        self._start = time.monotonic()

    def announce(self, config: Config) -> None:
        """Tells once that a run begins, and how far the sweep is."""
        if config not in self._announced:
            self._announced.add(config)
            number = self._total - self._pending + len(self._announced)
            place = self._directory / config.name
            print(f"[{number}/{self._total}] {place}{self._rest()}", flush=True)

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


def describe(
    configs: Sequence[Config],
    directory: pathlib.Path,
    setup: Setup = _SETUP,
    executor: str = "local",
) -> str:
    """Returns what a sweep would do, as a Markdown table: each run's state, steps and cost.

    The time is an estimate for training on one device of this machine, from the rates that it is
    found to have (see `costs` and `durations`): that of a run alone in a process that has started,
    and for all, of those that share learners, with what it takes to start. The memory is that of a
    step, beside a process that only loaded TensorFlow. Neither is known with forward credit, or
    where image files decide what is trained on; a cache of the frozen network is not counted.

    Args:
        configs: The runs.
        directory: Their parent directory.
        setup: How each would be trained.
        executor: Where, one of `executors.names()`.

    Raises:
        ValueError: If a configuration is wrong.
        FileNotFoundError: If images are to be counted that are not there.
    """
    lines = ["| run | state | steps | time | memory |", "|---|---|---|---|---|"]
    for config in configs:
        training.check(build.pin(config), setup)
    counts = [build.count_steps(config) for config in configs]
    machine = costs.this_machine()
    total, unfinished = 0, []
    for config, steps in zip(configs, counts, strict=True):
        state = run_directory.state(directory / config.name)
        cells = ["?", "?"]
        if estimate := costs.estimate(config, machine):
            parts = durations.parts(config, machine, setup) or {}
            cells = [format_seconds(sum(parts.values())), f"{estimate[1] / 1e9:.2g} GB"]
        if state != "finished":
            total += steps
            unfinished.append(config)
        lines.append(" | ".join([f"| {config.name}", state, str(steps), *cells]) + " |")
    seconds = durations.total(unfinished, machine, setup, executor)
    left = f"{len(configs)} runs, {total} steps to do, about {format_seconds(seconds)}."
    return "\n".join([*lines, "", left])
