"""The history of a run as a file."""

import pathlib
import time
from typing import Any

import keras

from wna_tf import files


class HistoryFile(keras.callbacks.Callback):
    """Writes the metrics of every epoch to a CSV file, whole after each epoch.

    Columns are `epoch` (from 1), `seconds` (of training until then) and the metrics.

    Args:
        path: The file.
    """

    def __init__(self, path: pathlib.Path):
        super().__init__()
        self.path = path
        self.rows: list[dict[str, float]] = []
        self._start = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since training began, without those between an interruption and its end."""
        return time.monotonic() - self._start

    @property
    def state(self) -> dict[str, Any]:
        """What an interrupted training needs to go on, in values that JSON holds."""
        return {"rows": self.rows, "seconds": self.seconds}

    @state.setter
    def state(self, state: dict[str, Any]) -> None:
        self.rows, self._start = state["rows"], time.monotonic() - state["seconds"]

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.rows, self._start = [], time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        row = {"epoch": epoch + 1, "seconds": round(self.seconds, 3)}
        self.rows.append(row | {name: float(value) for name, value in (logs or {}).items()})
        files.write_rows(self.path, self.rows)
