"""Precisions and XLA: every rule, to the tolerances that the README states."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import config as framework

import wna_tf
from tests.samples import rule_families
from wna_tf.experiments import build, export, training
from wna_tf.experiments.config import Config

RULES = wna_tf.rules.names()
HALF = 0.02  # Of an update's norm, mixed_bfloat16 against float64. Measured: at most 0.012.
SINGLE = 1e-5  # Of an update's norm, float32 against float64. Measured: at most 5e-7.
XLA = 1e-5  # Of the weights' change, XLA against none, in float32. Measured: at most 3e-6.


@pytest.fixture(autouse=True)
def _policies():
    """Runs set what they need for the whole process."""
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def dense():
    # Smooth: a unit of a ReLU at which rounding turns the sign is a matter of chance.
    return wna_tf.models.mlp((8, 8, 1), 10, 16, depth=2, activation="tanh")


def shallow():
    return wna_tf.models.mlp((8, 8, 1), 10, 8, depth=1, activation="tanh")


def convolutional():
    return wna_tf.models.cnn((8, 8, 1), 10, 8, strides=(1, 2), activation="tanh")


def recurrent():
    return wna_tf.models.rnn(16)


CASES = [
    *((dense, rule) for rule in RULES),
    *((convolutional, rule) for rule in ("align_zero", "direct_feedback_alignment")),
    *((recurrent, rule) for rule in ("align_ada", "kolen_pollack")),
]


def batch(network):
    rng = np.random.default_rng(0)
    if network is recurrent:
        return rng.integers(0, 2, [12, 6, 1]).astype("float32"), rng.normal(size=[12, 6, 1])
    return rng.random([24, 8, 8, 1]), np.eye(10)[rng.integers(0, 10, 24)] - 0.1


def make_learner(network, rule, precision="float32", **options):
    keras.utils.set_random_seed(0)
    keras.config.set_floatx("float64" if precision == "float64" else "float32")
    keras.config.set_dtype_policy(precision)
    learner = wna_tf.Learner(network(), rule, seed=3)
    loss = wna_tf.losses.SumSquaredError() if network is recurrent else "mse"
    learner.compile(keras.optimizers.SGD(0.01 if network is recurrent else 1.0), loss, **options)
    return learner


def flat(tensors):
    return np.concatenate([np.ravel(tf.cast(tensor, "float64")) for tensor in tensors])


@pytest.fixture
def given_draws(monkeypatch):
    """Numbers that are no draws: each precision draws its own, and so does XLA."""

    def waves(shape, dtype):
        count = tf.range(tf.reduce_prod(shape))
        return tf.cast(tf.reshape(tf.sin(1.0 + tf.cast(count, "float64")), shape), dtype)

    monkeypatch.setattr(
        wna_tf.feedback.Context, "_draw", lambda *args: waves(tf.shape(args[2]), args[2].dtype)
    )
    monkeypatch.setattr(
        wna_tf.feedback.sign, "draw", lambda step, _: waves(step.kernel.shape, step.kernel.dtype)
    )


@pytest.mark.usefixtures("given_draws")
@pytest.mark.parametrize(("network", "rule"), CASES)
def test_updates_agree_with_those_of_double_precision(network, rule):
    x, y = batch(network)
    reference = make_learner(network, rule, "float64")
    # What float32 holds, so that the networks are the same.
    values = [np.float32(value) for value in reference.get_weights()]
    rng = np.random.default_rng(1)
    steps = [0.1 * np.float32(rng.normal(size=v.shape)) for v in reference.trainable_variables]
    updates = {}
    for precision in ("float64", "float32", "mixed_bfloat16"):
        learner = make_learner(network, rule, precision)
        learner.set_weights(values)
        for variable, step in zip(learner.trainable_variables, steps, strict=True):
            variable.assign_add(step)  # Away from initialization, where many rules agree.
        made = learner.updates(x, y)
        dtype = "float64" if precision == "float64" else "float32"
        assert {update.dtype.name for update in made} == {dtype}
        updates[precision] = flat(made)
    exact = updates.pop("float64")
    for precision, tolerance in (("float32", SINGLE), ("mixed_bfloat16", HALF)):
        error = np.linalg.norm(updates[precision] - exact) / np.linalg.norm(exact)
        assert error < tolerance


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_linearized_network_evaluates_as_it_trains_where_layers_cast_on_their_own(policy):
    def network():
        normalized = keras.layers.LayerNormalization()(inputs := keras.Input((5,)))
        return keras.Model(inputs, keras.layers.Dense(3)(normalized))

    learner = make_learner(network, "linearized", policy)
    rng = np.random.default_rng(0)
    for variable in learner.trainable_variables:
        variable.assign_add(rng.normal(size=variable.shape))
    x, y = rng.normal(size=(7, 5)).astype("float32"), rng.normal(size=(7, 3))
    trained = learner.evaluate_networks(tf.constant(x)).outputs("linearized")[0]
    np.testing.assert_allclose(learner(x), trained, rtol=0.02, atol=0.02)
    assert np.isfinite(learner.test_on_batch(x, y))


@pytest.mark.parametrize("network", [dense, convolutional, recurrent])
@pytest.mark.parametrize("rule", ["align_zero", "align_ada", "align_prop", "backprop"])
def test_in_double_precision_rules_begin_as_a_tape(network, rule):
    x, y = batch(network)
    learner = make_learner(network, rule, "float64")
    with tf.GradientTape() as tape:
        loss = learner.compute_loss(x, y, learner.network(tf.constant(x, "float64"), training=True))
    expected = flat(tape.gradient(loss, learner.trainable_variables))
    error = np.linalg.norm(flat(learner.updates(x, y)) - expected)
    assert error < 1e-10 * np.linalg.norm(expected)


@pytest.fixture
def without_determinism():
    """Keras does without XLA where operations must be deterministic, as in runs."""
    was_enabled = framework.is_op_determinism_enabled()
    framework.disable_op_determinism()
    yield
    if was_enabled:
        framework.enable_op_determinism()


@pytest.mark.parametrize("rule", rule_families())
@pytest.mark.filterwarnings("error:Model doesn't support `jit_compile=True`")
@pytest.mark.usefixtures("without_determinism", "given_draws")
def test_xla_takes_the_same_steps(rule):
    x, y = batch(shallow)
    compiled = make_learner(shallow, rule, jit_compile=True)
    plain = make_learner(shallow, rule, run_eagerly=True)
    before = flat(plain.trainable_variables)
    for learner in (compiled, plain):
        learner.fit(x, y, batch_size=12, shuffle=False, verbose=0)
    assert compiled.jit_compile
    error = np.linalg.norm(flat(compiled.trainable_variables) - flat(plain.trainable_variables))
    assert error < XLA * np.linalg.norm(flat(plain.trainable_variables) - before)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "float64"])
def test_a_run_trains_in_it(precision, tmp_path):
    tiny = {"width": 8, "depth": 1, "epochs": 2, "data_limit": 60, "batch_size": 20}
    run = training.train(Config(**tiny, precision=precision), tmp_path / "run")
    assert run.result["train_loss"] < run.history[0]["loss"]
    assert run.result["diverged"] is None
    network = export.load(run.directory).network
    assert {layer.dtype_policy.name for layer in network.layers} == {precision}


@pytest.mark.filterwarnings("error:Model doesn't support `jit_compile=True`")
@pytest.mark.usefixtures("without_determinism")
def test_a_run_compiles_with_xla_if_asked():
    _, learner = build.prepare(Config(width=4, jit_compile=True))
    assert learner.jit_compile
