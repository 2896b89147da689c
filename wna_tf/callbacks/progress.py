"""The progress of a run on one line."""

import sys

import keras


class Progress(keras.callbacks.Callback):
    """Shows one bar for all epochs of a run; into a file, its end alone."""

    def on_train_begin(self, logs=None):
        self._epochs = 0
        self._bar = keras.utils.Progbar(
            self.params["epochs"],
            verbose=1 if sys.stdout.isatty() else 2,
            unit_name="epoch",
        )

    def on_epoch_end(self, epoch, logs=None):
        self._epochs = epoch + 1
        # Stateful: the bar would show means over the epochs.
        self._bar.stateful_metrics.update(logs)
        self._bar.update(self._epochs, list(logs.items()))

    def on_train_end(self, logs=None):
        if self._epochs < self.params["epochs"]:
            print(f"\nStopped after {self._epochs} of {self.params['epochs']} epochs.")
