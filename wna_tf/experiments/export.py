"""Finished runs: what they have learned, and its export."""

import pathlib

import keras

from wna_tf import pretrained, progress
from wna_tf.experiments import run_directory
from wna_tf.learner import Learner
from wna_tf.saved_model import check_own

SAVED_MODEL = "saved_model"


def load(directory: pathlib.Path) -> Learner:
    """Loads the learner of a run.

    Nothing in the file is executed: code that it may hold, as that of a `Lambda` layer, is refused.

    Args:
        directory: A run.

    Raises:
        ValueError: If the file is damaged, or holds code or something else than a learner, or its
            feedback source is not registered.
    """
    path = directory / run_directory.MODEL
    model = pretrained.read(path, "learner")
    if not isinstance(model, Learner):
        raise ValueError(f"Expected a Learner. Received: {path}, a {type(model).__name__}")
    return model


def export_runs(directory: pathlib.Path) -> list[pathlib.Path]:
    """Exports the networks of finished runs, each as `saved_model/` in the run's directory.

    Args:
        directory: A finished run, or a directory of them.

    Returns:
        The SavedModels.

    Raises:
        FileNotFoundError: If there is no finished run.
        ValueError: If a run's model cannot be read, or its `saved_model/` is something else.
        OSError: If it cannot be written.
    """
    runs = run_directory.finished_runs(directory)
    for run in runs:
        check_own((run / SAVED_MODEL).resolve())
    written = []
    for run in progress.track(runs, "Export", "runs"):
        keras.backend.clear_session()  # The run before leaves its graphs.
        load(run).export(run / SAVED_MODEL)
        written.append(run / SAVED_MODEL)
    return written
