"""The history of a run as a file."""

import pathlib
import time

import keras

from wna_tf import results


class HistoryFile(keras.callbacks.Callback):
    """Writes the metrics of every epoch to a CSV file, whole after each epoch.

    Columns are `epoch` (from 1), `seconds` (since training began) and the metrics.

    Args:
        path: The file.
    """

    def __init__(self, path: pathlib.Path):
        super().__init__()
        self.path = path
        self._rows: list[dict[str, float]] = []
        self._start = 0.0

    def on_train_begin(self, logs=None):
        self._rows, self._start = [], time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1, "seconds": round(time.monotonic() - self._start, 3)}
        self._rows.append(row | {name: float(value) for name, value in (logs or {}).items()})
        results.write_history(self.path, self._rows)
