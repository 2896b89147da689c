"""Grids in two stages: what is chosen with the first seed, and the other seeds at what it chose."""

import collections
import dataclasses
import math
import pathlib
from collections.abc import Hashable, Sequence

from wna_tf.experiments import build, plan, run_directory, strategies, sweeps
from wna_tf.experiments.config import RECORDED, Config, Setup
from wna_tf.experiments.reporting import measures

_SETUP = Setup()
_OF_SEED = ("seed", *RECORDED)  # Each seed may begin with a file of its own.
_GIVEN = ("seed", "dataset")  # What is to be learned, with any seed: there is no best one.


def check(fields: Sequence[str]) -> None:
    """Checks names of fields to choose.

    Raises:
        ValueError: If one is no field that makes a grid, or the seed or the data set.
    """
    known = [
        field.name
        for field in dataclasses.fields(Config)
        if "grid" in field.metadata and field.name not in _GIVEN
    ]
    if not set(fields) <= set(known):
        raise ValueError(
            f"Expected choose to be some of {', '.join(known)}. "
            f"Received: choose={','.join(fields)!r}"
        )


def stages(configs: Sequence[Config], fields: Sequence[str]) -> tuple[list[Config], list[Config]]:
    """Returns the runs of a grid's first seed, and those of the others, none if nothing is chosen.

    Args:
        configs: The grid.
        fields: What is chosen.
    """
    if not fields:
        return list(configs), []
    check(fields)
    return (
        [config for config in configs if config.seed == configs[0].seed],
        [config for config in configs if config.seed != configs[0].seed],
    )


def is_chosen(
    configs: Sequence[Config], fields: Sequence[str], runs: Sequence[run_directory.Run]
) -> list[bool]:
    """Returns which runs of other seeds have what was best with the first one.

    That is decided by the main result on validation examples, for each combination of the other
    fields. A run that diverged or failed is worse than all others.

    Args:
        configs: Runs of other seeds.
        fields: What is chosen.
        runs: The finished runs of the first seed.
    """
    best: dict[Hashable, tuple[float, Hashable]] = collections.defaultdict(lambda: (-math.inf, ()))
    for run in runs:
        name = measures.main(run)
        value = run.result[name]
        score = -math.inf
        if value is not None and not run.result.get("diverged"):
            score = value if name.endswith("accuracy") else -value
        # A run that is older than a field has its default.
        rest, values = _split(Config().to_dict() | run.config, fields)
        if rest not in best or score > best[rest][0]:
            best[rest] = score, values
    split = [_split(config.to_dict(), fields) for config in configs]
    return [rest in best and best[rest][1] == values for rest, values in split]


def _split(config: dict, fields: Sequence[str]) -> tuple[Hashable, Hashable]:
    """Returns what is not chosen of a configuration but its seed, and what is."""
    others = {name: value for name, value in config.items() if name not in (*fields, *_OF_SEED)}
    return repr(sorted(others.items())), repr([config[name] for name in fields])


def sweep(
    configs: Sequence[Config],
    directory: pathlib.Path,
    executor: str = "local",
    setup: Setup = _SETUP,
    fields: Sequence[str] = (),
) -> sweeps.Outcome:
    """Trains a grid as `sweeps.sweep` does; of all seeds but the first only the best values.

    Args:
        configs: The grid.
        directory: Parent directory of the runs.
        executor: Where they are trained: one of `executors.names()`.
        setup: How each is trained.
        fields: What is chosen, on validation examples; nothing for one stage of all runs.

    Returns:
        The finished runs and the failures of both stages.

    Raises:
        ValueError: If a field cannot be chosen, or as of `sweeps.sweep`.
        FileNotFoundError: As of `sweeps.sweep`.
        OSError: As of `sweeps.sweep`.
    """
    first, others = stages([build.pin(config) for config in configs], fields)
    outcome = sweeps.sweep(first, directory, executor, setup)
    if not others:
        return outcome
    devices = strategies.get(setup.strategy)
    kept = strategies.from_chief(devices, lambda: is_chosen(others, fields, outcome.runs))
    chosen = [config for config, is_kept in zip(others, kept, strict=True) if is_kept]
    if chosen and strategies.is_chief(devices):
        print(f"The other seeds, at the best {' and '.join(fields)}:", flush=True)
    further = sweeps.sweep(chosen, directory, executor, setup)
    return sweeps.Outcome([*outcome.runs, *further.runs], {**outcome.failures, **further.failures})


def describe(
    configs: Sequence[Config],
    directory: pathlib.Path,
    setup: Setup = _SETUP,
    executor: str = "local",
    fields: Sequence[str] = (),
) -> str:
    """Returns what a sweep would do, as `plan.describe` does, and what is left to be chosen."""
    first, others = stages(configs, fields)
    text = plan.describe(first, directory, setup, executor)
    if not others:
        return text
    count = len({(config.seed, _split(config.to_dict(), fields)[0]) for config in others})
    return f"{text}\nThen {count} runs of other seeds, at the best {' and '.join(fields)}."
