"""The end of a training that diverges."""

import math

import keras

from wna_tf import rules
from wna_tf.callbacks.logs import looks_at_logs_alone


class Divergence(keras.callbacks.Callback):
    """Stops training at the first loss that is not finite, and says so in one line.

    After every step it looks at the training loss, a number that Keras has fetched for its
    callbacks anyway, and after every epoch at the validation loss.

    Attributes:
        found: The `"epoch"` (from 1) and `"step"` (from 1, over all epochs) of that loss, or None.
    """

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self.found: dict[str, int] | None = None
        self._line = ""

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch = epoch + 1

    @looks_at_logs_alone
    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._look("loss", logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._look("val_loss", logs)

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        if self.found:
            print(self._line, flush=True)

    def _look(self, name: str, logs: dict[str, float] | None) -> None:
        loss = (logs or {}).get(name)
        if self.found or loss is None or math.isfinite(loss):
            return
        self.model.stop_training = True
        self.found = {"epoch": self._epoch, "step": int(self.model.optimizer.iterations)}
        noun = {"loss": "loss", "val_loss": "validation loss"}[name]
        place = "epoch {epoch}, step {step}".format(**self.found)
        self._line = f"Diverged: {_name(self.model)} in {place}: the {noun} is {loss}"


def _name(model: keras.Model) -> str:
    rule = getattr(model, "rule", None)
    return next((name for name in rules.names() if rules.get(name) == rule), model.name)
