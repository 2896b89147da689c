"""What a run directory holds, for tests that compare runs."""

import io
import pathlib
import zipfile
from typing import Any

import h5py

from wna_tf import files
from wna_tf.experiments import run_directory


def bits(run: pathlib.Path) -> tuple[dict[str, bytes], list[dict], dict[str, Any]]:
    """Returns everything of a run directory that must be the same, but the times."""
    with zipfile.ZipFile(run / run_directory.MODEL) as archive:
        file = h5py.File(io.BytesIO(archive.read("model.weights.h5")))
    arrays = {}
    file.visititems(
        lambda name, item: (
            arrays.update({name: item[()].tobytes()}) if isinstance(item, h5py.Dataset) else None
        )
    )
    drop = {"seconds": None}
    rows = [row | drop for row in run_directory.read_history(run / run_directory.HISTORY)]
    seconds = [row["seconds"] for row in run_directory.read_history(run / run_directory.HISTORY)]
    assert sorted(seconds) == seconds
    assert {path.name for path in run.iterdir()} == {
        run_directory.CONFIG,
        run_directory.HISTORY,
        run_directory.MODEL,
        run_directory.RESULT,
    }
    return arrays, rows, files.read_json(run / run_directory.RESULT) | drop
