"""The recurrent network: a float64 oracle, fact 1 over 100 steps, and the Add task."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import wna_tf
from tests.conftest import SHARED
from tests.helpers import assert_close

ORACLES = sorted((SHARED / "golden").glob("add_oracle_*.npz"))
RULES = ("backprop", "align_zero", "align_ada", "align_prop", "feedback_alignment", "readout")
WEIGHTS = ("W_ih", "W_hh", "b_h", "W_ho", "b_o")


@pytest.mark.skipif(not ORACLES, reason="needs the golden files")
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("path", ORACLES, ids=lambda path: path.stem)
def test_training_follows_the_oracle(path, rule):
    golden = np.load(path)
    network = wna_tf.models.rnn(len(golden["b_h_init"]))
    for variable, name in zip(network.trainable_variables, WEIGHTS, strict=True):
        variable.assign(golden[f"{name}_init"].reshape(variable.shape))
    learner = wna_tf.Learner(network, rule)
    if rule == "feedback_alignment":
        for variable, name in zip(learner.feedback_weights[1:], ("W_hh", "W_ho"), strict=True):
            variable.assign(golden[f"feedback_{name}"].reshape(variable.shape))
    rate = float(golden["learning_rate"])
    learner.compile(keras.optimizers.SGD(rate), wna_tf.losses.SumSquaredError())
    losses = []
    for step, (x, y) in enumerate(zip(golden["inputs"], golden["targets"], strict=True)):
        learner.reset_metrics()
        x = x[..., None].astype("float32")
        losses.append(learner.train_on_batch(x, y[..., None], return_dict=True)["loss"])
        if step in (0, len(golden["inputs"]) - 1):
            when = "final" if step else "step1"
            for variable, name in zip(network.trainable_variables, WEIGHTS, strict=True):
                expected = golden[f"{rule}/{name}_{when}"].reshape(variable.shape)
                error = np.linalg.norm(variable - expected)
                # Of the change; where nothing is to change, of nothing.
                change = np.linalg.norm(expected - golden[f"{name}_init"].reshape(variable.shape))
                assert error <= 1e-4 * change, (name, when)
    np.testing.assert_allclose(losses, golden[f"{rule}/loss"], rtol=1e-4)


@pytest.mark.usefixtures("double_precision")
def test_rules_begin_with_backprop_over_a_hundred_steps():
    keras.utils.set_random_seed(0)
    network = wna_tf.models.rnn(16)
    x, y = next(iter(wna_tf.datasets.load("add", batch_size=20).train))
    updates = {}
    for rule in RULES[:4]:
        learner = wna_tf.Learner(network, rule)
        learner.compile("sgd", wna_tf.losses.SumSquaredError())
        updates[rule] = tf.function(learner.updates)(x, y)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum((network(x, training=True) - tf.cast(y, "float64")) ** 2) / 20
    updates["gradient"] = tape.gradient(loss, network.trainable_variables)
    for rule in (*RULES[1:4], "gradient"):
        for actual, expected in zip(updates[rule], updates["backprop"], strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-9)


RECURRENT = {
    "simple": lambda **options: layers.SimpleRNN(3, **options),
    "lstm": lambda **options: layers.LSTM(3, **options),
    "gru": lambda **options: layers.GRU(3, **options),
}


def step_by_step(layer, x):
    """Outputs [batch, time, units] of a recurrent layer, without derivatives between steps."""
    states = [tf.zeros((len(x), size), "float64") for size in layer.state_size]
    outputs = []
    for t in range(x.shape[1]):
        h, states = layer.cell(x[:, t], [tf.stop_gradient(state) for state in states])
        outputs.append(h)
    return tf.stack(outputs, 1)


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("name", RECURRENT)
def test_direct_feedback_sends_each_step_its_own_projection(name, sequences):
    recurrent = RECURRENT[name](return_sequences=sequences)
    head = [layers.Flatten()] if sequences else []
    network = keras.Sequential([keras.Input((5, 4)), recurrent, *head, layers.Dense(2)])
    learner = wna_tf.Learner(network, "direct_feedback_alignment")
    learner.compile("sgd", "mse")
    assert [weights.shape for weights in learner.feedback_weights] == [(5, 3, 2)]
    rng = np.random.default_rng(0)
    for variable in network.trainable_variables:
        variable.assign_add(0.3 * rng.normal(size=variable.shape))
    x, y = rng.normal(size=(6, 5, 4)), rng.normal(size=(6, 2))
    error = 2 * (network(x) - y) / 12
    deltas = tf.einsum("nc,tuc->ntu", error, learner.feedback_weights[0])
    with tf.GradientTape() as tape:
        projected = tf.reduce_sum(step_by_step(recurrent, tf.constant(x)) * deltas)
    expected = tape.gradient(projected, recurrent.trainable_variables)
    assert_close(learner.updates(x, y)[:3], expected)


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("rule", ["readout", "direct_feedback_alignment"])
@pytest.mark.parametrize("name", RECURRENT)
def test_the_last_affine_map_of_a_recurrent_layer_is_one_step_of_it(name, rule):
    last = RECURRENT[name](return_sequences=rule == "readout")
    network = keras.Sequential([keras.Input((5, 4)), layers.Dense(3), last])
    learner = wna_tf.Learner(network, rule)
    learner.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 5, 4)), rng.normal(size=(6, *network.output_shape[1:]))
    below = network.layers[0](x)
    with tf.GradientTape() as tape:
        outputs = step_by_step(last, below)
        loss = tf.reduce_mean(((outputs if rule == "readout" else outputs[:, -1]) - y) ** 2)
    expected = tape.gradient(loss, last.trainable_variables)
    updates = learner.updates(x, y)
    assert_close(updates[2:], expected)
    if rule == "readout":
        assert not np.any(updates[0])


@pytest.mark.usefixtures("double_precision")
def test_direct_feedback_sends_nothing_to_initial_states():
    inputs = keras.Input((5, 4))
    _, *states = layers.LSTM(3, return_state=True, name="encoder")(inputs)
    h = layers.LSTM(3, return_sequences=True, name="decoder")(inputs, initial_state=states)
    network = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(h)))
    learner = wna_tf.Learner(network, "direct_feedback_alignment")
    learner.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 5, 4)), rng.normal(size=(6, 2))
    error = 2 * (network(x) - y) / 12
    encoder = network.get_layer("encoder")
    deltas = tf.einsum("nc,tuc->ntu", error, learner.feedback_weights[0])
    with tf.GradientTape() as tape:
        projected = tf.reduce_sum(step_by_step(encoder, tf.constant(x)) * deltas)
    expected = tape.gradient(projected, encoder.trainable_variables)
    assert_close(learner.updates(x, y)[:3], expected)


def test_the_loss_sums_over_time_and_averages_over_the_batch():
    y, o = np.random.default_rng(0).normal(size=(2, 3, 5, 1))
    expected = sum(np.mean((o[:, t] - y[:, t]) ** 2) for t in range(5))
    np.testing.assert_allclose(wna_tf.losses.SumSquaredError()(y, o), expected, rtol=1e-6)


def test_direct_feedback_through_time_is_refused():
    with pytest.raises(ValueError, match=r"one output \[batch, classes\] for direct feedback"):
        wna_tf.Learner(wna_tf.models.rnn(4), "direct_feedback_alignment")


def test_a_saved_recurrent_network_is_the_same(tmp_path):
    x = np.random.default_rng(0).random((2, 7, 1), dtype="float32")
    network = wna_tf.models.rnn(4, parameterization="standard", activation="tanh")
    network.save(tmp_path / "rnn.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "rnn.keras")(x), network(x))


@pytest.mark.parametrize(("name", "message"), [("mze", "loss='mze'")])
def test_unknown_losses_are_refused(name, message):
    with pytest.raises(ValueError, match=message):
        wna_tf.losses.get(name)
