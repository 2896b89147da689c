"""What is known of a run's kernel: the files in its directory `kernel/`."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from wna_tf import files, locks

FOLDER = "kernel"
SETTINGS = "settings.json"  # The first that is written.
TRAIN, TEST = "train.npy", "test.npy"
SPECTRUM, PREDICTION = "spectrum.csv", "prediction.csv"
RECORD = "kernel.json"  # The last.
_NUMBERS = ("train_examples", "test_examples", "alignment", "effective_rank")
SCORES = tuple(  # Of numbers there is no accuracy.
    f"{of}_test_{score}" for of in ("regression", "trained") for score in ("accuracy", "loss")
)


@dataclasses.dataclass(frozen=True)
class Summary:
    """What was found out of a run's kernel.

    Attributes:
        record: What its `kernel.json` says.
        eigenvalues: The kernel's, the largest first.
        prediction: A row for each epoch, the first of the beginning; empty if there is none.
    """

    record: dict[str, Any]
    eigenvalues: np.ndarray
    prediction: list[dict[str, float]]


def read(run: pathlib.Path) -> Summary | None:
    """Reads what was found out of a run's kernel; None if that is not there, or not whole.

    Raises:
        ValueError: If a file of it is damaged.
        OSError: If one is missing.
    """
    folder = run / FOLDER
    if not (folder / RECORD).is_file():
        return None
    record = files.read_json(folder / RECORD)
    if not all(_is_number(record.get(name)) for name in _NUMBERS) or not all(
        record.get(name) is None or _is_number(record[name]) for name in SCORES
    ):
        raise ValueError(
            f"Expected numbers, {', '.join((*_NUMBERS, *SCORES))}. Received: {folder / RECORD}, "
            "which has others"
        )
    spectrum = _read_rows(folder / SPECTRUM, "eigenvalue")
    is_predicted = record.get("no_prediction") is None
    prediction = _read_rows(folder / PREDICTION, "epoch") if is_predicted else []
    return Summary(record, np.array([row["eigenvalue"] for row in spectrum]), prediction)


def _read_rows(path: pathlib.Path, noun: str) -> list[dict[str, float]]:
    rows = files.read_rows(path, noun)
    if not all(noun in row for row in rows):
        raise ValueError(f"Expected the column {noun}. Received: {path}")
    return rows


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def check(run: pathlib.Path, settings: Mapping[str, int]) -> None:
    """Checks that the kernel of a run, if one was begun, is one with these settings.

    Args:
        run: The directory of the run.
        settings: Number of examples in "train" and "test".

    Raises:
        ValueError: If it has others, or something else is in its place.
    """
    folder = run / FOLDER
    files.check_own(folder, _is_own, "directory for the kernel of a run")
    if not (folder / SETTINGS).is_file():
        return
    recorded = files.read_json(folder / SETTINGS)
    if recorded != settings:
        sizes = [size for size in recorded.values() if isinstance(size, int)]
        raise ValueError(
            f"Expected the kernel of {_describe(settings)}, or none. "
            f"Received: {folder}, with {_describe(recorded)}; "
            f"give --kernel_examples={max(sizes, default=0)}, or remove that directory"
        )


def _is_own(folder: pathlib.Path) -> bool:
    """Returns whether a directory is that of a kernel, or one that a killed process began."""
    names = {path.name for path in folder.glob("*") if not files.is_half_written(path)}
    return SETTINGS in names or names == {locks.NAME}


def _describe(settings: Mapping[str, Any]) -> str:
    return " and ".join(f"{size} {name}" for name, size in settings.items()) + " examples"


def state(run: pathlib.Path) -> str:
    """Returns how far the kernel of a run is: "finished", "started", "new"."""
    for state, file in (("finished", RECORD), ("started", SETTINGS)):
        if (run / FOLDER / file).is_file():
            return state
    return "new"


def load(path: pathlib.Path, shape: tuple[int, int]) -> np.ndarray:
    """Returns a kernel that is in a file.

    Args:
        path: The file.
        shape: Its shape.

    Raises:
        ValueError: If it is damaged, or has another shape.
    """
    try:
        kernel = np.load(path, mmap_mode="r")
    except (ValueError, EOFError) as error:
        raise ValueError(
            f"Expected a kernel {list(shape)}. Received: {path}, which is damaged ({error}); "
            "remove it, and it is computed anew"
        ) from error
    if kernel.shape != shape:
        raise ValueError(
            f"Expected a kernel {list(shape)}. Received: {path}, of shape {list(kernel.shape)}; "
            "remove it, and it is computed anew"
        )
    return kernel
