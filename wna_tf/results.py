"""Run directories: what a run writes and a report reads, each file whole or not at all."""

import contextlib
import csv
import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

CONFIG = "config.json"
HISTORY = "history.csv"
RESULT = "result.json"
MODEL = "model.keras"
FAILURE = "failure.json"
CHECKPOINTS = "checkpoints"  # A directory, there until the run is finished.


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


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a path beside `path` to write to, and renames it to `path` when that succeeded.

    Args:
        path: A file or a directory that is to be made; what is there is replaced.
    """
    beside = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        yield beside
        if path.is_dir():
            shutil.rmtree(path)
        beside.replace(path)
    finally:
        if beside.is_dir():
            shutil.rmtree(beside)
        else:
            beside.unlink(missing_ok=True)


def make_directory(path: pathlib.Path) -> None:
    """Makes a directory to write to, and those that it is in.

    Raises:
        OSError: If it cannot be made or written to.
    """
    reason = "no permission"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror
    if not (path.is_dir() and os.access(path, os.W_OK)):
        raise OSError(f"Expected a directory that can be written to. Received: {path}: {reason}")


def clean(directory: pathlib.Path) -> None:
    """Removes what a killed process was replacing, and the checkpoints of a finished run."""
    for path in directory.glob(".[0-9]*-*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    if state(directory) == "finished":
        shutil.rmtree(directory / CHECKPOINTS, ignore_errors=True)


def write_json(path: pathlib.Path, values: Mapping[str, Any]) -> None:
    """Writes a JSON file atomically."""
    with replacing(path) as beside:
        beside.write_text(json.dumps(values, indent=2) + "\n")


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Raises:
        ValueError: If it is damaged; the message names it.
    """
    try:
        values = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"Expected a JSON file. Received: {path}: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"Expected a JSON object. Received: {path}")
    return values


def write_history(path: pathlib.Path, rows: list[dict[str, float]]) -> None:
    """Writes the history atomically as CSV, a row an epoch."""
    with replacing(path) as beside, beside.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)


def read_history(path: pathlib.Path) -> list[dict[str, float]]:
    """Reads what `write_history` wrote.

    Raises:
        ValueError: If it is damaged; the message names it.
    """
    try:
        with path.open(newline="") as file:
            rows = [
                {key: float(value) for key, value in row.items() if value != ""}
                for row in csv.DictReader(file)
            ]
    except (ValueError, TypeError, csv.Error) as error:  # A TypeError where a row has no end.
        raise ValueError(f"Expected a CSV file of numbers. Received: {path}: {error}") from error
    if not rows:
        raise ValueError(f"Expected a row for each epoch. Received: {path}, which has none")
    return rows


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
    write_json(directory / CONFIG, config)
    write_json(directory / FAILURE, {"error": error, "details": details.splitlines()})


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

    Raises:
        FileNotFoundError: If a file of it is missing.
        ValueError: If a file of it is damaged.
    """
    for name in (CONFIG, RESULT, HISTORY):
        if not (directory / name).is_file():
            raise FileNotFoundError(f"Expected a finished run. Received: {directory} has no {name}")
    return Run(
        directory,
        read_json(directory / CONFIG),
        read_json(directory / RESULT),
        read_history(directory / HISTORY),
    )


def read_runs(directory: pathlib.Path) -> list[Run]:
    """Reads the finished runs in a directory, by name.

    Raises:
        FileNotFoundError: If there is none.
    """
    runs = [read_run(path.parent) for path in sorted(directory.glob(f"*/{RESULT}"))]
    if not runs:
        raise FileNotFoundError(f"Expected a directory of finished runs. Received: {directory}")
    return runs
