"""The progress of a run on one line."""

import sys

import keras


class Progress(keras.callbacks.Callback):
    """Shows one bar for all epochs of a run; into a file, its end alone.

    What belongs to one map of the network, whose name has a `/`, is left to the history.
    """

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.state = 0  # Number of epochs done.
        self._bar = keras.utils.Progbar(
            self.params["epochs"],
            verbose=1 if sys.stdout.isatty() else 2,
            unit_name="epoch",
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.state = epoch + 1
        shown = {name: value for name, value in (logs or {}).items() if "/" not in name}
        # Stateful: the bar would show means over the epochs.
        self._bar.stateful_metrics.update(shown)
        self._bar.update(self.state, list(shown.items()))

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        if self.state < self.params["epochs"] and sys.stdout.isatty():
            print()  # The bar has not ended its line.
