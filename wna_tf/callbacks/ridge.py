"""A ridge term that ends while training goes on."""

import keras

from wna_tf.callbacks.diagnostic import inner


class RidgeUntil(keras.callbacks.Callback):
    """Switches the optimizer's weight decay off when some epochs are over.

    The schedule of Song, Xu and Lafferty (2021): with a ridge term the last layer aligns with its
    feedback weights, without it training converges to the data. It costs one trace of the step.

    Args:
        epochs: How many epochs weights decay.
    """

    def __init__(self, epochs: int):
        super().__init__()
        self.epochs = epochs

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        optimizer = inner(self.model.optimizer)
        if epoch >= self.epochs and optimizer.weight_decay:
            optimizer.weight_decay = None
            self.model.make_train_function(force=True)
