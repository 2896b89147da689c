"""A small learner, its data, and what a diagnostic says of it."""

import keras
import numpy as np

import wna_tf

MAPS = ("dense", "dense_1", "head")


def make_data(num_examples=32):
    rng = np.random.default_rng(0)
    return rng.normal(size=(num_examples, 6)), rng.normal(size=(num_examples, 3))


def make_learner(rule, optimizer=None, normalize=False, **options):
    network = wna_tf.models.mlp((6,), 3, 8, depth=2, normalize=normalize, **options)
    learner = wna_tf.Learner(network, rule)
    learner.compile(optimizer or keras.optimizers.SGD(0.5), "mse")
    return learner


def fit(learner, *diagnostics, epochs=1, batch_size=16, data=None):
    x, y = data or make_data()
    return learner.fit(
        x,
        y,
        batch_size=batch_size,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=list(diagnostics),
    ).history


def measure(learner, diagnostic):
    """What a diagnostic says of a learner as it is."""
    logs = {}
    diagnostic.set_model(learner)
    diagnostic.on_epoch_end(0, logs)
    return logs
