"""The progress of a run: a bar in a terminal, lines in a file."""

import datetime
import sys
import time

import keras

from wna_tf.callbacks.logs import looks_at_logs_alone

_EVERY = 30.0  # Seconds: with steps of half a minute there is a line a minute still.


class Progress(keras.callbacks.Callback):
    """Shows one bar for all epochs of a run; into a file, a line now and then and its end.

    A line tells epoch, step, steps a second and the time that is left, validation included. What
    belongs to one map of the network, whose name has a `/`, is left to the history.

    Args:
        every: Seconds from one line of a file to the next; it waits for a step to end.
    """

    def __init__(self, every: float = _EVERY) -> None:
        super().__init__()
        self._every = every

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.state = 0  # Number of epochs done.
        self._is_terminal = sys.stdout.isatty()
        self._bar = keras.utils.Progbar(
            self.params["epochs"], verbose=1 if self._is_terminal else 2, unit_name="epoch"
        )
        self._start = self._told = time.monotonic()
        self._trained = 0  # Steps since then: an interrupted run goes on with some behind it.

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch, self._step = epoch, 0

    @looks_at_logs_alone
    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._trained += 1
        self._step = batch + 1
        self._tell()

    def on_test_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._tell()

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.state = epoch + 1
        shown = {name: value for name, value in (logs or {}).items() if "/" not in name}
        # Stateful: the bar would show means over the epochs.
        self._bar.stateful_metrics.update(shown)
        self._bar.update(self.state, list(shown.items()))

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        if self.state < self.params["epochs"] and self._is_terminal:
            print()  # The bar has not ended its line.

    def _tell(self) -> None:
        """Prints a line into a file, if there was none for a while."""
        now = time.monotonic()
        if self._is_terminal or now - self._told < self._every:
            return
        self._told = now
        epochs, steps = self.params["epochs"], self.params["steps"]
        rate = self._trained / (now - self._start)
        line = f"epoch {self._epoch + 1}/{epochs}, step {self._step}"
        if steps is None or not rate:  # The size is not known, or nothing was trained yet.
            line += f": {rate:.3g} steps/s"
        else:
            left = (epochs - self._epoch) * steps - self._step
            seconds = datetime.timedelta(seconds=round(left / rate))
            line += f"/{steps}: {rate:.3g} steps/s, {seconds} left"
        print(line, flush=True)
