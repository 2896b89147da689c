"""Run directories: what a run writes and a report reads, each file whole or not at all."""

import dataclasses
import pathlib
import reprlib
import shutil
import sys
from collections.abc import Callable, Mapping
from typing import Any

from wna_tf import files, progress

CONFIG = "config.json"
HISTORY = "history.csv"
RESULT = "result.json"
MODEL = "model.keras"
FAILURE = "failure.json"
CHECKPOINTS = "checkpoints"  # A directory, there until the run is finished.
_PARTS = ("chance", "examples")  # Of a result: numbers by name.


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        directory: Where it is.
        config: Its configuration, by field.
        result: Its results, by name.
        history: A row of metrics for each epoch.
    """

    directory: pathlib.Path
    config: dict[str, Any]
    result: dict[str, Any]
    history: list[dict[str, float]]


def clean(directory: pathlib.Path) -> None:
    """Removes what a killed process was writing, and the checkpoints of a finished run."""
    files.clean(directory)
    if state(directory) == "finished":
        shutil.rmtree(directory / CHECKPOINTS, ignore_errors=True)


def read_history(path: pathlib.Path) -> list[dict[str, float]]:
    """Reads a history, a row of numbers for each epoch.

    Raises:
        ValueError: If it is damaged; the message names it.
    """
    return files.read_rows(path, "epoch")


def state(directory: pathlib.Path) -> str:
    """Returns how far a run is: "finished" (the result is there), "failed", "started", "new"."""
    for state, file in (("finished", RESULT), ("failed", FAILURE), ("started", CONFIG)):
        if (directory / file).is_file():
            return state
    return "new"


def write_failure(
    directory: pathlib.Path, config: Mapping[str, Any], error: str, details: str
) -> None:
    """Records why a run failed.

    Args:
        directory: Its directory, made if it is not there.
        config: Its configuration, by field.
        error: The error in one line.
        details: Where it happened.
    """
    directory.mkdir(parents=True, exist_ok=True)
    files.write_json(directory / CONFIG, config)
    files.write_json(directory / FAILURE, {"error": error, "details": details.splitlines()})


def finished_runs(directory: pathlib.Path) -> list[pathlib.Path]:
    """Returns `directory` if it is a finished run, or else the finished runs in it, by name.

    Raises:
        FileNotFoundError: If there is no such directory, or nothing finished.
    """
    if not directory.is_dir():
        raise FileNotFoundError(f"Expected an existing directory. Received: {directory}")
    if state(directory) == "finished":
        return [directory]
    if (directory / CONFIG).is_file():
        raise FileNotFoundError(f"Expected a finished run. Received: {directory} has no {RESULT}")
    runs = [path.parent for path in sorted(directory.glob(f"*/{RESULT}"))]
    if not runs:
        raise FileNotFoundError(
            "Expected a run, a directory of finished runs or, to evaluate, a SavedModel. "
            f"Received: {directory}"
        )
    return runs


def read_run(directory: pathlib.Path) -> Run:
    """Reads a finished run.

    Args:
        directory: That of the run.

    Raises:
        FileNotFoundError: If a file of it is missing.
        ValueError: If a file of it is damaged.
    """
    for name in (CONFIG, RESULT, HISTORY):
        if not (directory / name).is_file():
            raise FileNotFoundError(f"Expected a finished run. Received: {directory} has no {name}")
    run = Run(
        directory,
        files.read_json(directory / CONFIG),
        files.read_json(directory / RESULT),
        read_history(directory / HISTORY),
    )
    _check_values(directory / CONFIG, run.config, _is_field)
    _check_values(directory / RESULT, run.result, _is_result)
    epochs = run.result.get("epochs")
    if epochs is None:
        raise ValueError(f"Expected the number of epochs. Received: {directory / RESULT}")
    if [row.get("epoch") for row in run.history] != list(range(1, len(run.history) + 1)) or not all(
        "seconds" in row for row in run.history
    ):
        raise ValueError(
            "Expected the columns epoch, which counts from 1, and seconds. "
            f"Received: {directory / HISTORY}"
        )
    if len(run.history) != epochs:
        raise ValueError(
            f"Expected a row for each of {epochs} epochs, as {RESULT} says. "
            f"Received: {directory / HISTORY}, which has {len(run.history)}"
        )
    return run


def _check_values(
    path: pathlib.Path, values: Mapping[str, Any], is_valid: Callable[[str, Any], bool]
) -> None:
    """Raises a ValueError, which names the file and one of them, unless all values are valid."""
    for name, value in values.items():
        if not is_valid(name, value):
            raise ValueError(
                f"Expected values as a run writes them. Received: {path}, "
                f"with {name}={reprlib.repr(value)}"
            )


def _is_field(name: str, value: Any) -> bool:
    """Returns whether a value may be that of a field of a configuration."""
    values = value if isinstance(value, list) else [value]
    return all(item is None or isinstance(item, (bool, str)) or _is_number(item) for item in values)


def _is_result(name: str, value: Any) -> bool:
    """Returns whether a value may be that of a result."""
    if name == "versions":
        return isinstance(value, dict)
    if name in _PARTS or (name == "diverged" and value is not None):
        return isinstance(value, dict) and all(map(_is_number, value.values()))
    return value is None or _is_number(value)


def _is_number(value: Any) -> bool:
    """Returns whether a value is a number that a float can be."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) <= sys.float_info.max  # An integer may be larger, and NaN is not.


def read_runs(directory: pathlib.Path) -> list[Run]:
    """Reads the finished runs in a directory, by name.

    Args:
        directory: The directory that holds those of runs.

    Raises:
        FileNotFoundError: If there is none.
    """
    found = sorted(directory.glob(f"*/{RESULT}"))
    runs = [read_run(path.parent) for path in progress.track(found, "Reading", "runs")]
    if not runs:
        raise FileNotFoundError(f"Expected a directory of finished runs. Received: {directory}")
    return runs
