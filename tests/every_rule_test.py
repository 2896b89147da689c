"""What training keeps to, whatever the rule: of each row of the table."""

import functools

import keras
import numpy as np
import pytest
from keras import layers

import wna_tf
from tests.samples import rule_families

every_rule = pytest.mark.parametrize("rule", wna_tf.rules.names())
every_family = pytest.mark.parametrize("rule", rule_families())
DIRECT = [name for name in wna_tf.rules.names() if "direct" in wna_tf.rules.get(name).feedback.name]
EAGER = {"loss": "mse", "run_eagerly": True}


def make_data(num_examples):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(num_examples, 4)).astype("float32")
    return x, np.eye(3, dtype="float32")[rng.integers(0, 3, num_examples)]


def make_network(trained=("body", "middle", "upper", "head")):
    """Four dense layers of which some learn, from the same weights at every call."""
    keras.utils.set_random_seed(1)
    network = keras.Sequential(
        [
            keras.Input((4,)),
            *[layers.Dense(3, "tanh", name=name) for name in ("body", "middle", "upper")],
            layers.Dense(3, name="head"),
        ]
    )
    for layer in network.layers:
        layer.trainable = layer.name in trained
    return network


def make_learner(rule, **options):
    learner = wna_tf.Learner(make_network(), rule, seed=3)
    sgd = keras.optimizers.SGD(0.25, momentum=0.5, **options)
    learner.compile(sgd, **EAGER)
    return learner


def values(learner):
    """Returns all that a step may change, but not the state of the optimizer."""
    return [variable.numpy() for variable in learner.variables]


def assert_equal(actual, expected, tolerance=0.0):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@functools.cache
def trained(rule, steps=3):
    """What a learner is after some steps on one batch."""
    learner = make_learner(rule)
    for _ in range(steps):
        learner.train_on_batch(*make_data(6))
    return values(learner)


@every_family
def test_a_scaled_loss_trains_as_one_that_is_not(rule):
    learner = make_learner(rule)
    scaling = keras.optimizers.LossScaleOptimizer(learner.optimizer, initial_scale=1000.0)
    learner.compile(scaling, **EAGER)
    x, y = make_data(6)
    for _ in range(3):
        learner.train_on_batch(x, y)
    assert_equal(values(learner), trained(rule), 1e-5)
    # Nothing changes by updates that are not finite.
    learner.train_on_batch(np.full_like(x, np.inf), y)
    assert float(scaling.dynamic_scale) == 500
    assert int(learner.optimizer.iterations) == 3
    assert_equal(values(learner), trained(rule), 1e-5)


@every_family
def test_accumulated_updates_are_one_step(rule):
    learner = make_learner(rule, gradient_accumulation_steps=2)
    batch = make_data(6)
    for _ in range(3):
        before = values(learner)
        learner.train_on_batch(*batch)
        assert_equal(values(learner), before)
        learner.train_on_batch(*batch)
    assert_equal(values(learner), trained(rule), 1e-5)


@every_family
@pytest.mark.parametrize(
    "names",
    [
        ("upper", "head"),
        *(pytest.param(some, marks=pytest.mark.slow) for some in (("head",), ("body",))),
    ],
    ids="-".join,
)
def test_what_is_frozen_stays_and_has_no_feedback_that_nothing_needs(names, rule):
    learner = wna_tf.Learner(make_network(names), rule, seed=3)
    learner.compile(keras.optimizers.SGD(0.25, momentum=0.5), **EAGER)
    # They are the same numbers, whatever else is frozen.
    every = wna_tf.Learner(make_network(), rule, seed=3).feedback_weights
    per_map, direct = len(every) // 4, rule in DIRECT
    needed = {
        ("head",): [],
        ("body",): every[:1] if direct else every,
        ("upper", "head"): every[2:] if direct else every[3 * per_map :],
    }[names]
    assert_equal(learner.feedback_weights, needed)
    assert len(every) in ([3] if direct else [0, 4, 8])

    network, batch = learner.network, make_data(6)
    if rule == "readout" and "head" not in names:
        return
    before = {variable.path: variable.numpy() for variable in network.variables}
    for _ in range(2):
        learner.train_on_batch(*batch)
    moved = {v.path for v in network.variables if not np.array_equal(v, before[v.path])}
    learning = {v.path for v in network.trainable_variables}
    assert {v.path for v in learner.trainable_variables} == learning
    assert moved == {path for path in learning if rule != "readout" or "head" in path}
    assert all(np.isfinite(value).all() for value in values(learner))


@pytest.mark.parametrize(("rule", "names"), [("readout", ("body",)), ("backprop", ())])
def test_a_rule_that_updates_nothing_is_refused(rule, names):
    learner = wna_tf.Learner(make_network(names), rule)
    learner.compile("sgd", **EAGER)
    with pytest.raises(ValueError, match=rf"^Expected .* Received: {2 * len(names)} trainable wei"):
        learner.train_on_batch(*make_data(6))


def of_everything(x):
    """Ends in classes: a convolution, a kernel that is used twice, attention, recurrence."""
    x = layers.Conv1D(4, 2, padding="same", activation="relu")(x)
    twice = layers.Dense(4, "tanh")
    x = twice(layers.LayerNormalization()(twice(x)))
    x = x + layers.MultiHeadAttention(2, 3)(x, x)
    return layers.Dense(3)(layers.GRU(3)(layers.BatchNormalization()(x)))


def make_mixed_network():
    inputs = keras.Input((3, 4))
    return keras.Model(inputs, of_everything(inputs))


def train(network, rule):
    """Trains on one batch, and checks that the first and the last map learn."""
    learner = wna_tf.Learner(network, rule, seed=3)
    learner.compile(keras.optimizers.SGD(0.01), **EAGER)
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(5, *some[1:])) for some in (network.input_shape, network.output_shape))
    first, *_, last = (step.kernel for step in learner.program.affine_maps)
    before = first.numpy(), last.numpy()
    losses = [learner.train_on_batch(x, y) for _ in range(2)]
    assert np.isfinite(losses).all()
    assert all(np.isfinite(value).all() for value in values(learner))
    assert np.array_equal(first, before[0]) == (rule == "readout")
    assert not np.array_equal(last, before[1])


@every_rule
def test_a_network_of_every_kind_of_map_is_trained(rule):
    keras.utils.set_random_seed(1)
    train(make_mixed_network(), rule)


@every_rule
def test_a_recurrent_network_of_sequences_is_trained_or_refused(rule):
    network = wna_tf.models.rnn(4, (3, 4), 2)
    if rule in DIRECT:
        with pytest.raises(ValueError, match=r"^Expected .* for direct feedback. Received: .*3, 2"):
            wna_tf.Learner(network, rule)
    else:
        train(network, rule)
