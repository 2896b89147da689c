"""Fact 6: the distance between align rules and backpropagation falls as the width grows."""

import keras
import numpy as np
import tensorflow as tf

import wna_tf

WIDTHS, SEEDS, STEPS, RATE = (32, 128, 512), range(4), 100, 0.5
RULES = ("backprop", "align_zero", "align_ada", "align_prop", "linearized")


def trained_outputs(width, x, y, others):
    """Returns outputs on `others` after training, [rules, seeds, examples, 1]."""
    network = wna_tf.models.mlp((5,), 1, width, depth=2, normalize=False)
    starts = []
    for seed in SEEDS:
        keras.utils.set_random_seed(seed)
        fresh = wna_tf.models.mlp((5,), 1, width, depth=2, normalize=False)
        starts.append(fresh.get_weights())
    outputs = []
    for rule in RULES:
        learner = wna_tf.Learner(network, rule)
        learner.compile(keras.optimizers.SGD(RATE), "mse")
        weights = learner.trainable_variables

        @tf.autograph.experimental.do_not_convert
        def step(learner=learner, weights=weights):
            for weight, update in zip(weights, learner.updates(x, y), strict=True):
                weight.assign_sub(RATE * update)

        @tf.function
        def train(step=step):
            for _ in tf.range(STEPS):
                step()

        for start in starts:
            for weight, initial, value in zip(weights, learner.initial_weights, start, strict=True):
                weight.assign(value)
                initial.assign(value)
            train()
            outputs.append(learner(others))
    return np.reshape(outputs, (len(RULES), len(SEEDS), -1))


def test_the_distance_to_backprop_falls_with_the_width():
    rng = np.random.default_rng(0)
    x, others = rng.normal(size=(2, 20, 5)).astype("float32")
    y = np.sin(x[:, :1])
    distances = []
    for width in WIDTHS:
        backprop, *outputs = trained_outputs(width, x, y, others)
        squares = [np.mean((other - backprop) ** 2, -1) for other in outputs]
        distances.append(np.mean(np.log(squares) / 2, -1))
    slopes, _ = np.polyfit(np.log(WIDTHS), distances, 1)
    assert np.all(np.diff(distances, axis=0) < 0)
    # Theory bounds the distance by 1/sqrt(w), and finds 1/w for smooth activations. Over six seeds
    # it is -.76, -.73, -1.01 and -.59, in the order of RULES.
    assert np.all(slopes < -0.4), slopes
    assert np.all(slopes > -1.25), slopes
