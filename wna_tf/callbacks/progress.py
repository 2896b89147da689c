"""The progress of a run: epoch, step, rate and the time that is left."""

import sys

import keras

from wna_tf import progress
from wna_tf.callbacks.logs import looks_at_logs_alone


class Progress(keras.callbacks.Callback):
    """Shows where a run is (see `wna_tf.progress`), and at its end the metrics.

    A line tells epoch, step, steps a second and the time that is left, validation included, and on
    a terminal the metrics of the last epoch. What belongs to one map of the network, whose name has
    a `/`, is left to the history.

    Args:
        every: Seconds from one line of a file to the next; it waits for a step to end.
    """

    def __init__(self, every: float = progress.EVERY) -> None:
        super().__init__()
        self._every = every

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.state = 0  # Number of epochs done.
        self._shown: dict[str, float] = {}
        self._end = keras.utils.Progbar(self.params["epochs"], verbose=2, unit_name="epoch")
        self._line = progress.Line(sys.stdout, self._every)
        self._trained = 0  # Steps since then: an interrupted run goes on with some behind it.

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch, self._step = epoch, 0

    @looks_at_logs_alone
    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._trained += 1
        self._step = batch + 1
        self._line.tell(self._describe)

    def on_test_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._line.tell(self._describe)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.state = epoch + 1
        self._shown = {name: value for name, value in (logs or {}).items() if "/" not in name}

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self._line.end()
        if self._shown:
            # Stateful: it would show means over the epochs.
            self._end.stateful_metrics.update(self._shown)
            self._end.update(self.state, list(self._shown.items()), finalize=True)

    def _describe(self, seconds: float) -> str:
        epochs, steps = self.params["epochs"], self.params["steps"]
        epoch = f"epoch {self._epoch + 1}/{epochs}, step {self._step}"
        if steps is None:
            text = f"{epoch}: {progress.pace(self._trained, None, 'steps', seconds)}"
        else:
            left = (epochs - self._epoch) * steps - self._step
            text = f"{epoch}/{steps}: {progress.pace(self._trained, left, 'steps', seconds)}"
        if self._line.is_terminal:
            text += "".join(f" - {name}: {value:.4g}" for name, value in self._shown.items())
        return text
