"""Random feedback weights: their shapes, distributions, seeds, and what they never do."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import initializers, layers

import wna_tf
from wna_tf.credit import reverse_mode
from wna_tf.feedback import source


def make_network(*affine, input_shape=(40,)):
    return keras.Sequential([keras.Input(input_shape), *affine])


def make_feedback(network, rule="feedback_alignment", seed=0):
    return [variable.numpy() for variable in wna_tf.Learner(network, rule, seed).feedback_weights]


def assert_distribution(sample, standard_deviation):
    """Checks the moments of a normal distribution to five standard errors."""
    assert abs(sample.mean()) < 5 * standard_deviation / np.sqrt(sample.size)
    error = standard_deviation / np.sqrt(2 * sample.size)
    assert abs(sample.std() - standard_deviation) < 5 * error
    assert abs(np.mean(np.abs(sample) < standard_deviation) - 0.6827) < 2.5 / np.sqrt(sample.size)


@pytest.mark.parametrize(("parameterization", "deviation"), [("ntk", 1), ("standard", 40**-0.5)])
def test_random_feedback_is_distributed_as_the_weights(parameterization, deviation):
    network = make_network(wna_tf.layers.Dense(500, parameterization), layers.Dense(30))
    first, second = make_feedback(network)
    assert_distribution(first, deviation)
    limit = np.sqrt(6 / (500 + 30))  # Keras's default is Glorot's uniform distribution.
    assert np.abs(second).max() <= limit
    np.testing.assert_allclose(second.std(), limit / np.sqrt(3), rtol=0.02)
    for weights, kernel in zip((first, second), network.trainable_variables[::2], strict=True):
        assert abs(np.corrcoef(weights.ravel(), kernel.numpy().ravel())[0, 1]) < 0.05


def test_a_seed_decides_the_feedback():
    network = wna_tf.models.cnn((6, 6, 1), 3, 4, (1, 2))
    for rule in ("feedback_alignment", "direct_feedback_alignment"):
        draws = []
        for seed in (0, 0, 1):
            keras.utils.set_random_seed(len(draws))  # Which must not matter.
            draws.append(np.concatenate([w.ravel() for w in make_feedback(network, rule, seed)]))
        first, same, other = draws
        np.testing.assert_array_equal(first, same)
        assert not np.isin(first, other).any()
        assert len(set(first)) == len(first)  # Layers of one shape do not share their draws.


def test_feedback_differs_from_weights_of_the_same_seed():
    options = {"kernel_initializer": initializers.RandomNormal(seed=0)}
    network = make_network(layers.Dense(40, **options), layers.Dense(40, **options))
    weights = [kernel.numpy() for kernel in network.trainable_variables[::2]]
    assert not np.isin(make_feedback(network), weights).any()


@pytest.mark.parametrize(
    "initializer",
    ["zeros", initializers.Constant(2.0), lambda shape, dtype: np.random.normal(size=shape)],
)
@pytest.mark.parametrize("rule", ["feedback_alignment", "sign_symmetry_fixed_magnitude"])
def test_feedback_of_weights_that_no_seed_draws_is_normal(initializer, rule):
    network = make_network(layers.Dense(30), layers.Dense(50, kernel_initializer=initializer))
    draws = [make_feedback(network, rule, seed)[1] for seed in (0, 0, 1)]
    assert_distribution(draws[0], 30**-0.5)
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.isin(draws[0], draws[2]).any()


def test_a_head_of_zeros_does_not_stop_feedback_alignment():
    network = make_network(layers.Dense(30), layers.Dense(3, kernel_initializer="zeros"))
    learner = wna_tf.Learner(network, "feedback_alignment")
    learner.compile("sgd", "mse")
    assert np.abs(learner.updates(np.ones((2, 40)), np.ones((2, 3)))[0]).max() > 0


def test_feedback_weights_without_a_seed_are_refused():
    with pytest.raises(ValueError, match=r"initializer of Keras, whose seed .* Received: .*lambda"):
        source.reseed(lambda shape, dtype: np.random.normal(size=shape), 0, 0)


def test_a_shared_kernel_has_one_feedback_weight():
    inputs = keras.Input((4,))
    dense = layers.Dense(4)
    network = keras.Model(inputs, layers.Dense(2)(dense(dense(inputs))))
    assert [weights.shape for weights in make_feedback(network)] == [(4, 4), (4, 2)]


def test_direct_feedback_projects_to_block_outputs():
    network = wna_tf.models.cnn((12, 10, 2), 7, 16, (1, 2))
    weights = make_feedback(network, "direct_feedback_alignment")
    assert [b.shape for b in weights] == [(12, 10, 16, 7), (6, 5, 16, 7)]
    for b in weights:
        assert_distribution(b, np.prod(b.shape[:-1]) ** -0.5)


@pytest.mark.parametrize("rule", ["backprop", "align_zero", "align_ada", "align_prop", "readout"])
def test_other_rules_have_no_feedback_weights(rule):
    assert make_feedback(make_network(layers.Dense(3)), rule) == []


@pytest.mark.parametrize("rule", ["feedback_alignment", "direct_feedback_alignment"])
def test_training_leaves_feedback_alone(rule):
    network = make_network(layers.Dense(5, activation="relu"), layers.Dense(2))
    learner = wna_tf.Learner(network, rule)
    learner.compile("sgd", "mse")
    before = [variable.numpy() for variable in learner.feedback_weights]
    learner.fit(np.ones((8, 40)), np.ones((8, 2)), verbose=0)
    for variable, value in zip(learner.feedback_weights, before, strict=True):
        np.testing.assert_array_equal(variable, value)
        assert not any(variable is weight for weight in learner.trainable_variables)


def frozen_body(trained=("upper", "head")):
    """Four dense layers of which some learn, from the same weights at every call."""
    keras.utils.set_random_seed(0)
    names = ("body", "middle", "upper", "head")
    dense = [layers.Dense(3, activation="tanh", name=name) for name in names]
    network = make_network(*dense, input_shape=(4,))
    for layer in network.layers:
        layer.trainable = layer.name in trained
    return network


OWNED = {  # Indices of the feedback weights that are made, by the layers that learn.
    "feedback_alignment": {("head",): [], ("upper", "head"): [3], ("body",): [0, 1, 2, 3]},
    "sign_symmetry_fixed_magnitude": {("middle",): [2, 3], ("body", "head"): [0, 1, 2, 3]},
    "kolen_pollack": {("head",): [], ("middle", "head"): [2, 3]},
    "direct_feedback_alignment": {("head",): [], ("upper", "head"): [2], ("body", "head"): [0]},
}


@pytest.mark.parametrize(
    ("rule", "trained"), [(rule, trained) for rule, cases in OWNED.items() for trained in cases]
)
def test_feedback_weights_are_made_where_something_learns_by_them(rule, trained):
    learner = wna_tf.Learner(frozen_body(trained), rule, seed=3)
    owned = OWNED[rule][trained]
    assert [w.name for w in learner.feedback_weights] == [f"feedback_weight_{i}" for i in owned]
    # They are the same numbers, whatever else is frozen.
    every = wna_tf.Learner(frozen_body(("body", "middle", "upper", "head")), rule, seed=3)
    for weights, index in zip(learner.feedback_weights, owned, strict=True):
        np.testing.assert_array_equal(weights, every.feedback_weights[index])


@pytest.mark.parametrize("rule", ["backprop", *OWNED])
def test_what_learns_is_what_it_is_when_everything_does(rule):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 4)), rng.normal(size=(5, 3))
    updates = []
    for trained in (("upper", "head"), ("body", "middle", "upper", "head")):
        learner = wna_tf.Learner(frozen_body(trained), rule)
        learner.compile("sgd", "mse")
        updates.append(learner.updates(x, y))
    assert len(updates[0]) == 4
    for update, expected in zip(updates[0], updates[1][4:], strict=True):
        assert np.any(update)
        np.testing.assert_array_equal(update, expected)


def test_a_scale_that_learns_alone_has_its_projection():
    network = make_network(
        layers.Dense(3, trainable=False),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Dense(3, trainable=False),
        layers.BatchNormalization(trainable=False),
        layers.ReLU(),
        layers.Dense(2),
    )
    learner = wna_tf.Learner(network, "direct_feedback_alignment")
    assert [weights.name for weights in learner.feedback_weights] == ["feedback_weight_0"]
    learner.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    scale, *_ = learner.updates(rng.normal(size=(5, 40)), rng.normal(size=(5, 2)))
    assert np.any(scale)


@pytest.mark.parametrize("trained", [("head",), ("upper", "head")])
def test_kolen_pollack_decays_weights_without_feedback_too(trained):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 4)), rng.normal(size=(5, 3))
    rule = wna_tf.Rule({"name": "mirrored", "decay": 0.1}, "current", "current")
    learner = wna_tf.Learner(frozen_body(trained), rule)
    learner.compile(keras.optimizers.SGD(0.5), "mse")
    updates = learner.updates(x, y)[::2]
    kernels = learner.trainable_variables[::2]
    before = [kernel.numpy() for kernel in kernels]
    learner.train_on_batch(x, y)
    for kernel, old, update in zip(kernels, before, updates, strict=True):
        np.testing.assert_allclose(kernel, 0.9 * old - 0.5 * update, atol=1e-6)


@pytest.mark.parametrize("rule", ["backprop", "feedback_alignment", "align_ada", "linearized"])
def test_no_delta_goes_to_where_nothing_learns(rule):
    learner = wna_tf.Learner(frozen_body(), rule)
    x, y = tf.ones((5, 4)), tf.ones((5, 3))
    networks = learner.evaluate_networks(x)
    (place,) = learner.program.outputs
    kernels = reverse_mode.carriers(learner.rule.feedback, learner.moment(), learner.trained)
    assert [step.name for step in kernels] == ["head"]
    walk = reverse_mode.walk_back(
        learner.program,
        kernels,
        networks["current"],
        networks["current"],
        [(place, y)],
        learner.trained,
    )
    assert {step.name for step, _, _ in walk if step.weights} == {"upper", "head"}


def two_heads():
    inputs = keras.Input((3,))
    return keras.Model(inputs, [layers.Dense(2)(inputs), layers.Dense(2)(inputs)])


@pytest.mark.parametrize(
    ("network", "reason"),
    [
        (two_heads, r"one output \[batch, classes\].*\(None, 2\), \(None, 2\)"),
        (lambda: make_network(layers.Dense(2), input_shape=(5, 3)), r"one output.*\(None, 5, 2\)"),
        (
            lambda: make_network(
                layers.Dense(4, name="first"),
                layers.GlobalAveragePooling1D(),
                layers.Dense(2),
                input_shape=(None, 3),
            ),
            r"known shape.*'first'",
        ),
    ],
    ids=["two_outputs", "sequence_output", "unknown_length"],
)
def test_direct_feedback_refuses_what_it_cannot_project_to(network, reason):
    with pytest.raises(ValueError, match=rf"^Expected .*{reason}"):
        wna_tf.Learner(network(), "direct_feedback_alignment")


@pytest.mark.parametrize(
    "initializer",
    [
        initializers.TruncatedNormal(stddev=0.5),
        initializers.Orthogonal(gain=2.0),
        initializers.RandomUniform(-0.3, 0.3),
        initializers.RandomNormal(stddev=0.2),
        initializers.GlorotUniform(),
    ],
    ids=lambda some: type(some).__name__,
)
def test_the_deviation_of_a_kernel_is_that_of_its_initializer(initializer):
    network = keras.Sequential(
        [keras.Input((200,)), keras.layers.Dense(80, kernel_initializer=initializer)]
    )
    (step,) = wna_tf.Learner(network).program.affine_maps
    kernel = keras.ops.convert_to_numpy(step.kernel)
    np.testing.assert_allclose(wna_tf.feedback.random.deviation(step), kernel.std(), rtol=0.03)


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_forward_feedback_learns_the_jacobian_to_where_the_error_is_taken(activation):
    network = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(5, "tanh"), keras.layers.Dense(3, activation)]
    )
    rule = wna_tf.Rule(wna_tf.feedback.DirectForward(rate=1.0))
    learner = wna_tf.Learner(network, rule)
    loss = keras.losses.CategoricalCrossentropy(from_logits=activation is None)
    learner.compile(keras.optimizers.SGD(1.0), loss)
    x = np.random.default_rng(0).normal(size=(20000, 4)).astype("float32")
    outputs = keras.ops.convert_to_numpy(network(x))
    targets = outputs if activation else keras.ops.convert_to_numpy(keras.ops.softmax(outputs))
    learner.train_on_batch(x, targets)  # Its error is zero: the kernel stays.
    kernel = keras.ops.convert_to_numpy(network.layers[-1].kernel)
    learned = keras.ops.convert_to_numpy(learner.feedback_weights[0])
    assert np.linalg.norm(learned - kernel) < 0.05 * np.linalg.norm(kernel)
