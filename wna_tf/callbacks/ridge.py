"""A ridge term that ends while training goes on."""

import keras


class RidgeUntil(keras.callbacks.Callback):
    """Takes the regularizer off a weight when some epochs are over.

    The schedule of Song, Xu and Lafferty (2021): regularization aligns the last layer with its
    feedback weights; without it, training converges to the data. It costs one trace of the step.

    Args:
        kernel: The regularized weight.
        epochs: How many epochs it is regularized.
    """

    def __init__(self, kernel: keras.Variable, epochs: int):
        super().__init__()
        self.kernel = kernel
        self.epochs = epochs

    def on_epoch_begin(self, epoch, logs=None):
        if epoch >= self.epochs and self.kernel.regularizer is not None:
            self.kernel.regularizer = None
            self.model.make_train_function(force=True)
