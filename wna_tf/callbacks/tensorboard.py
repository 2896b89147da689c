"""The logs of a run for TensorBoard."""

import importlib.util
import pathlib

import keras
import tensorflow as tf


def check_tensorboard() -> None:
    """Raises a ValueError unless TensorBoard is installed, with which TensorFlow writes scalars."""
    if importlib.util.find_spec("tensorboard") is None:
        raise ValueError(
            "Expected the package tensorboard: pip install tensorboard. "
            "Received: it is not installed"
        )


class TensorBoard(keras.callbacks.Callback):
    """Writes the logs of every epoch as scalars, diagnostics among them.

    Args:
        directory: Where the event files go.

    Raises:
        ValueError: If TensorBoard is not installed; TensorFlow writes scalars with it.
    """

    def __init__(self, directory: pathlib.Path):
        super().__init__()
        check_tensorboard()
        self.directory = directory

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._writer = tf.summary.create_file_writer(str(self.directory))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        with self._writer.as_default(step=epoch + 1):
            for name, value in (logs or {}).items():
                tf.summary.scalar(name, value)
        self._writer.flush()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self._writer.close()
