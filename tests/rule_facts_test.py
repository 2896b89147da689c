"""Facts of rules whose feedback learns, by the draws of the library itself."""

import keras
import numpy as np
import pytest
from keras import layers

import wna_tf
from tests.helpers import assert_close, randomize
from tests.rule_draws import DRAWING, recorded
from wna_tf import feedback

pytestmark = pytest.mark.usefixtures("double_precision")


def make_learner(network, source, learning_rate, **fields):
    rule = wna_tf.Rule(feedback.get({"name": source} | fields), "current", "current")
    learner = wna_tf.Learner(network, rule)
    learner.compile(keras.optimizers.SGD(learning_rate), "mse")
    return learner


def chain(*sizes, activation="linear", **options):
    """A dense network, linear at its end."""
    *hidden, last = sizes[1:]
    return keras.Sequential(
        [
            keras.Input(sizes[:1]),
            *[layers.Dense(size, activation, **options) for size in hidden],
            layers.Dense(last, **options),
        ]
    )


def train(learner, x, y, steps):
    """Trains on one batch, again and again."""
    x, y = (np.tile(array, (steps, *[1] * (array.ndim - 1))) for array in (x, y))
    learner.fit(x, y, len(x) // steps, shuffle=False, verbose=0)


def values(variables):
    return [variable.numpy() for variable in variables]


def distances(arrays, others):
    """How far arrays are from others, relative to these."""
    return np.array(
        [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(arrays, others, strict=True)]
    )


def angles(arrays, others):
    return np.array([angle(a, b) for a, b in zip(arrays, others, strict=True)])


def angle(a, b):
    cosine = np.sum(a * b) / np.linalg.norm(a) / np.linalg.norm(b)
    return np.degrees(np.arccos(cosine))


# A source that draws, its hyper-parameters, and the root mean square and bound of its draws.
DRAWS = {
    "sign_redrawn": ({}, (2 / 70) ** 0.5, (6 / 70) ** 0.5),
    "direct_forward": ({"rate": 1.0}, 1, np.inf),
    "weight_mirror": (
        {"rate": 0.1, "decay": 0.1, "noise": 0.3, "every": 1},
        0.3,
        0.3 * 3**0.5,
    ),
    "layerwise": ({"decay": 0.1, "amplification": 0.1, "noise": True}, 1, np.inf),
}


@pytest.mark.parametrize("source", DRAWING)
def test_draws(source):
    fields, size, bound = DRAWS[source]
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 35)), rng.normal(size=(30, 35))
    drawn = []
    for _ in range(2):
        ours, draws = recorded(feedback.get({"name": source} | fields))
        network = chain(35, 35, 35, 35, kernel_initializer="glorot_uniform")
        learner = wna_tf.Learner(network, wna_tf.Rule(ours, "current", "current"), seed=3)
        learner.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
        for _ in range(3):
            learner.train_on_batch(x, y)
        drawn.append(draws)
    one, other = drawn
    assert len(one) >= 6
    for first, again in zip(one, other, strict=True):
        np.testing.assert_array_equal(first, again)
    np.testing.assert_allclose([np.sqrt(np.mean(some**2)) for some in one], size, rtol=0.1)
    assert max(np.abs(some).max() for some in one) <= bound
    if source != "sign_redrawn":
        assert max(np.abs(some.mean()) for some in one) < 0.15 * size
    # Each step's, and each map's, are its own.
    correlations = np.corrcoef([some.ravel() for some in one])
    assert np.abs(correlations - np.eye(len(one))).max() < 0.15


def test_a_weight_mirror_shows_the_weights():
    network = keras.Sequential(
        [
            keras.Input((5, 5, 2)),
            # Where the image is padded, a kernel's margin sees less noise than its middle.
            wna_tf.layers.Conv2D(3, 3, padding="valid"),
            layers.Flatten(),
            layers.Dense(4),
            wna_tf.layers.Dense(2),
        ]
    )
    rng = np.random.default_rng(0)
    randomize(network.trainable_variables, rng, 0.1)
    x = rng.normal(size=(64, 5, 5, 2))
    kernels = values(network.trainable_variables[::2])
    learner = make_learner(network, "weight_mirror", 0.1, rate=0.04, decay=0.5, noise=0.7, every=1)
    multiples = [2 * kernel for kernel in kernels]
    assert distances(values(learner.feedback_weights), multiples).min() > 0.5
    train(learner, x, network(x), 300)  # There is no error.
    assert_close(network.trainable_variables[::2], kernels)
    assert distances(values(learner.feedback_weights), multiples).max() < 0.15


def projections(x):
    x = layers.MultiHeadAttention(2, 3)(x, x)
    x = layers.EinsumDense("abc,bd->adc", (2, 4), bias_axes="d")(x)
    return layers.EinsumDense("abc,cbd->abd", (2, 3))(x)


def filters(x):
    x = layers.Conv2D(3, 2)(layers.Reshape((3, 4, 1))(x))
    return layers.DepthwiseConv2D(2, depth_multiplier=2)(x)


def loops(x):
    x = wna_tf.layers.Recurrent(3, activation="linear")(x)
    return layers.SimpleRNN(3, activation="linear", return_sequences=True)(x)


def gates(x):
    return layers.GRU(2, return_sequences=True)(layers.LSTM(3, return_sequences=True)(x))


# The feedback weights stand in for multiples of the weights: 2 by the choice of decay.
MIRRORS = {
    "weight_mirror": {"rate": 0.04, "decay": 0.5, "noise": 0.7},
    "layerwise": {"decay": 0.25, "amplification": 1.0, "noise": True},
}


@pytest.mark.parametrize(
    "body",
    [
        projections,
        loops,
        *(pytest.param(some, marks=pytest.mark.slow) for some in (filters, gates)),
    ],
)
@pytest.mark.parametrize("source", MIRRORS)
def test_noise_shows_kernels_of_every_form(source, body):
    inputs = keras.Input((3, 4))
    network = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(body(inputs))))
    rng = np.random.default_rng(0)
    randomize(network.trainable_variables, rng, 0.1)
    learner = make_learner(network, source, 0.04, **MIRRORS[source])
    x = np.tile(rng.normal(size=(96, 3, 4)), (200, 1, 1))
    # There is no error, in the weights' last bits either: loops would send it round and round.
    learner.fit(x, np.zeros((len(x), 2)), 96, sample_weight=np.zeros(len(x)), verbose=0)
    shown = [2 * step.kernel.numpy() for step in learner.program.affine_maps]
    assert distances(values(learner.feedback_weights), shown).max() < 0.15


def test_symmetric_alignment_descends_its_own_term_to_the_weights():
    network = chain(6, 5, 4, 3, activation="tanh")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 6))
    decay, symmetry = 0.5, 1.0
    learner = make_learner(network, "layerwise", 0.2, decay=decay, symmetry=symmetry)
    kernels = values(network.trainable_variables[::2])

    def terms():
        return np.array(
            [
                decay * np.sum(w**2 + f**2) - symmetry * np.sum(w * f)
                for w, f in zip(kernels, values(learner.feedback_weights), strict=True)
            ]
        )

    y = network(x)
    assert distances(values(learner.feedback_weights), kernels).min() > 0.5
    for _ in range(5):
        before = terms()
        learner.train_on_batch(x, y)
        assert np.all(terms() < before)
    train(learner, x, y, 100)
    assert_close(network.trainable_variables[::2], kernels)
    # There is no factor 1/2 in the squares.
    assert_close(learner.feedback_weights, kernels, 1e-7)


def test_random_targets_know_nothing_of_what_is_above():
    network = chain(6, 5, 4, 3, activation="tanh")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 6)), np.eye(3)[rng.integers(3, size=8)]
    learner = make_learner(network, "direct_target", 0.1)
    expected = values(learner.updates(x, y))
    assert all(np.abs(update).max() > 1e-3 for update in expected)

    def check():
        updates = values(learner.updates(x, y))
        for update, before in zip(updates[:-2], expected[:-2], strict=True):
            np.testing.assert_array_equal(update, before)
        assert distances(updates[-2:], expected[-2:]).min() > 0.1

    randomize(network.trainable_variables[-2:], rng)
    check()
    learner.compile(keras.optimizers.SGD(0.1), keras.losses.CategoricalCrossentropy(True))
    check()
    # That of a block is not what is above it either.
    randomize(network.trainable_variables[2:4], rng)
    assert_close(learner.updates(x, y)[:2], expected[:2])


def test_direct_kolen_pollack_finds_the_way_down():
    decay, rate, steps = 0.125, 0.125, 250  # Keras rounds them to single precision.
    network = chain(6, 8, 7, 3, kernel_regularizer=keras.regularizers.L2(decay / 2))
    rng = np.random.default_rng(3)
    for kernel in network.trainable_variables[::2]:
        kernel.assign(0.7 * rng.normal(size=kernel.shape) / np.sqrt(kernel.shape[0]))
    learner = make_learner(network, "direct_kolen_pollack", rate, rate=1.0, decay=decay)
    for projection in learner.feedback_weights:
        projection.assign(rng.normal(size=projection.shape) / projection.shape[0])
    x = rng.normal(size=(40, 6))
    y = x @ rng.normal(size=(6, 3)) / np.sqrt(6)

    def ways_down():
        _, middle, last = values(network.trainable_variables[::2])
        return [middle @ last, last]

    before = values(learner.feedback_weights), ways_down()
    train(learner, x, y, steps)
    after = values(learner.feedback_weights), ways_down()
    assert np.all(angles(*after) < angles(*before) / 3)
    # The output's kernel and the projection of the block below it learn by one gradient.
    (_, b), (_, w) = before
    (_, mirrored), (_, kernel) = after
    assert_close([mirrored - kernel], [(1 - rate * decay) ** steps * (b - w)])


def test_forward_direct_feedback_estimates_the_jacobian():
    network = chain(6, 5, 4, 3, activation="tanh")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 6))
    learner = make_learner(network, "direct_forward", 0.05, rate=1.0)
    weights = values(network.trainable_variables)
    _, middle, last = weights[::2]
    through = keras.Model(network.inputs, network.layers[1].output)(x).numpy()
    slope = np.mean(1 - through**2, 0)
    train(learner, x, network(x), 200)  # There is no error.
    assert_close(network.trainable_variables, weights)
    jacobians = [(middle * slope) @ last, last]
    assert distances(values(learner.feedback_weights), jacobians).max() < 0.15
