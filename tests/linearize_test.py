"""The linearized network and its kernel: against full Jacobians, and the predicted training."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

import wna_tf
from tests.samples import sample
from wna_tf import linearize, ntk

pytestmark = pytest.mark.usefixtures("double_precision")


def mlp(normalize=False):
    return wna_tf.models.mlp((4,), 3, 5, depth=2, normalize=normalize)


def cnn(normalize=False):
    return wna_tf.models.cnn((5, 5, 2), 3, 3, (1, 2), normalize=normalize)


def normalized_mlp():
    return mlp(normalize=True)


def normalized_cnn():
    return cnn(normalize=True)


def rnn():
    return wna_tf.models.rnn(3, (4, 1))


def gated():
    inputs = keras.Input((3, 2))
    x = layers.GRU(3)(layers.LSTM(3, return_sequences=True)(inputs))
    return keras.Model(inputs, layers.Dense(2)(x))


def many_kinds():
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(4, 3, groups=2, activation="tanh")(inputs)
    x = layers.LayerNormalization()(layers.DepthwiseConv2D(2)(x))
    x = layers.PReLU(keras.initializers.Constant(0.3))(x)
    x = layers.Conv2DTranspose(2, 2)(layers.AveragePooling2D(2)(x))
    return keras.Model(inputs, layers.Dense(2)(layers.Dropout(0.5)(layers.Flatten()(x))))


def shared():
    dense = layers.Dense(4, activation="tanh")
    inputs = keras.Input((4,))
    x = dense(dense(inputs))
    return keras.Model(inputs, layers.Dense(2)(layers.Concatenate()([x, dense(inputs)])))


def attention():
    inputs = keras.Input((3,), dtype="int32")
    x = layers.Embedding(5, 4)(inputs)
    x = layers.MultiHeadAttention(2, 2, dropout=0.3)(x, x)
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))


def batch_normalization():
    inputs = keras.Input((4,))
    x = layers.Activation("tanh")(layers.BatchNormalization()(layers.Dense(4)(inputs)))
    return keras.Model(inputs, layers.Dense(2)(x))


def examples_on_another_axis():
    inputs = keras.Input((3, 2))
    x = keras.ops.reshape(layers.Dense(2, activation="tanh")(inputs), (-1, 2))
    x = keras.ops.reshape(layers.Dense(2)(x), (-1, 6))
    return keras.Model(inputs, layers.Dense(2)(x))


NETWORKS = (
    mlp,
    normalized_mlp,
    cnn,
    normalized_cnn,
    rnn,
    gated,
    many_kinds,
    shared,
    attention,
    batch_normalization,
    examples_on_another_axis,
)
all_networks = pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)


def draw_inputs(network, examples, rng):
    (symbol,) = network.inputs
    shape = (examples, *symbol.shape[1:])
    return rng.integers(0, 5, shape) if symbol.dtype == "int32" else rng.normal(size=shape)


def move(network, rng, scale=0.4):
    """Moves the weights, and returns by how much."""
    steps = [scale * rng.normal(size=v.shape) for v in network.trainable_variables]
    for variable, step in zip(network.trainable_variables, steps, strict=True):
        variable.assign_add(step)
    return steps


def jacobian(network, x):
    """Returns outputs of plain Keras, and their full Jacobian [examples, outputs, parameters]."""
    normalizations = (layers.BatchNormalization, wna_tf.layers.BatchStatisticsNormalization)
    training = any(isinstance(layer, normalizations) for layer in network.layers)

    @tf.function(autograph=False)
    def compute():
        with tf.GradientTape() as tape:
            outputs = network(x, training=training)
            flat = tf.reshape(outputs, [-1])
        return outputs, tape.jacobian(
            flat,
            network.trainable_variables,
            unconnected_gradients="zero",
            experimental_use_pfor=False,
        )

    outputs, parts = compute()
    matrix = np.concatenate([np.reshape(part, (len(part), -1)) for part in parts], 1)
    return outputs.numpy(), matrix.reshape(len(x), -1, matrix.shape[1])


@all_networks
def test_outputs_are_the_first_order_at_the_initial_weights(make):
    rng = np.random.default_rng(0)
    network = make()
    move(network, rng)
    x = draw_inputs(network, 4, rng)
    initial, full = jacobian(network, x)
    linearized, other = (wna_tf.Learner(network, rule) for rule in ("linearized", "align_prop"))
    np.testing.assert_allclose(linearized(x), initial, rtol=1e-12)
    steps = np.concatenate([step.ravel() for step in move(network, rng)])
    expected = initial + (full @ steps).reshape(initial.shape)
    for learner in (linearized, other):
        np.testing.assert_allclose(linearize.outputs(learner, x), expected, rtol=1e-9, atol=1e-10)
    np.testing.assert_array_equal(linearized(x), linearize.outputs(other, x))
    np.testing.assert_allclose(linearized.predict(x, verbose=0), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("make", sample(NETWORKS))
def test_kernel_is_that_of_full_jacobians(make):
    rng = np.random.default_rng(0)
    network = make()
    move(network, rng)
    x1, x2 = draw_inputs(network, 3, rng), draw_inputs(network, 2, rng)
    (_, first), (_, second) = jacobian(network, x1), jacobian(network, x2)
    for arguments, other in (((x1,), first), ((x1, x2), second)):
        expected = np.einsum("ncp,mkp->ncmk", first, other)
        actual = ntk.empirical_ntk(network, *arguments)
        np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10 * expected.max())


def test_a_learner_s_kernel_is_at_its_initial_weights():
    rng = np.random.default_rng(0)
    network = mlp()
    x = draw_inputs(network, 3, rng)
    before = ntk.empirical_ntk(network, x)
    learner = wna_tf.Learner(network, "backprop")
    move(network, rng)
    np.testing.assert_allclose(ntk.empirical_ntk(learner, x), before, rtol=1e-10)
    assert not np.allclose(ntk.empirical_ntk(network, x), before, rtol=0.01)


def test_frozen_layers_have_no_part_in_the_kernel():
    network = cnn()
    network.layers[1].trainable = False
    x = draw_inputs(network, 3, np.random.default_rng(0))
    _, full = jacobian(network, x)
    expected = np.einsum("ncp,mkp->ncmk", full, full)
    np.testing.assert_allclose(ntk.empirical_ntk(network, x), expected, rtol=1e-10)


def test_a_kernel_of_several_outputs_is_refused():
    inputs = keras.Input((2,))
    network = keras.Model(inputs, [layers.Dense(1)(inputs), layers.Dense(1)(inputs)])
    with pytest.raises(ValueError, match=r"one output\. Received: 2 outputs"):
        ntk.empirical_ntk(network, np.ones((2, 2)))


class Branching(layers.Layer):
    """A user's layer that does something else in training."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(4)

    def build(self, input_shape):
        self.dense.build(input_shape)

    def call(self, inputs, training=None):
        return self.dense(inputs) * 2 if training else keras.ops.tanh(self.dense(inputs))


def test_a_layer_that_branches_is_in_inference_mode():
    inputs = keras.Input((4,))
    network = keras.Model(inputs, layers.Dense(2)(Branching()(inputs)))
    learner = wna_tf.Learner(network, "linearized")
    x = np.random.default_rng(0).normal(size=(3, 4))
    np.testing.assert_allclose(linearize.outputs(learner, x), network(x), rtol=1e-12)
    np.testing.assert_allclose(learner(x, training=True), network(x, training=True), rtol=1e-12)
    with tf.GradientTape() as tape:
        outputs = network(x)
    jacobians = [
        np.reshape(j, (3, 2, -1)) for j in tape.jacobian(outputs, network.trainable_variables)
    ]
    expected = sum(np.einsum("ncp,mkp->ncmk", j, j) for j in jacobians)
    for model in (network, learner):
        np.testing.assert_allclose(ntk.empirical_ntk(model, x), expected, rtol=1e-10)


@pytest.mark.parametrize("make", [mlp, normalized_cnn], ids=lambda make: make.__name__)
def test_training_follows_the_kernel(make):
    rng = np.random.default_rng(0)
    network = make()
    x = draw_inputs(network, 6, rng)
    y = rng.normal(size=(6, 3))
    learner = wna_tf.Learner(network, "linearized")
    kernel = ntk.empirical_ntk(learner, x)
    largest = np.linalg.eigvalsh(np.reshape(kernel, (18, 18)))[-1]
    rate, steps = 18 / largest / 2, 50
    predicted = ntk.predict_outputs(kernel, learner(x), y, rate, steps)
    losses = ntk.predict_losses(kernel, learner(x), y, rate, steps)
    learner.compile(keras.optimizers.SGD(rate), "mse")
    history = learner.fit(x, y, batch_size=6, epochs=steps, verbose=0).history
    assert losses[-1] < 0.5 * losses[0]
    np.testing.assert_allclose(history["loss"], losses[:-1], rtol=1e-10)
    scale = np.abs(predicted[-1]).max()
    np.testing.assert_allclose(learner(x), predicted[-1], atol=1e-10 * scale)
    np.testing.assert_allclose(learner.evaluate(x, y, verbose=0), losses[-1], rtol=1e-9)


def test_shapes_that_do_not_fit_a_kernel_are_refused():
    with pytest.raises(ValueError, match=r"Expected a kernel .* Received: shapes \(2, 1, 2, 1\)"):
        ntk.predict_outputs(np.ones((2, 1, 2, 1)), np.ones((2, 1)), np.ones(2), 1.0, 3)


def test_the_linearized_network_is_saved_and_exported(tmp_path):
    rng = np.random.default_rng(0)
    learner = wna_tf.Learner(normalized_cnn(), "linearized")
    x = draw_inputs(learner.network, 4, rng)
    move(learner.network, rng)
    learner.save(tmp_path / "learner.keras")
    loaded = keras.models.load_model(tmp_path / "learner.keras")
    np.testing.assert_allclose(loaded(x), learner(x), rtol=1e-12)
    learner.export(tmp_path / "saved_model")
    served = tf.saved_model.load(tmp_path / "saved_model")
    for size in (2, 4):
        np.testing.assert_allclose(served.serve(x[:size])["logits"], learner(x[:size]), rtol=1e-9)


def test_metrics_are_the_linearized_network_s_and_statistics_the_current_one_s():
    rng = np.random.default_rng(0)
    learner = wna_tf.Learner(normalized_mlp(), "linearized")
    x, y = draw_inputs(learner.network, 4, rng), rng.normal(size=(4, 3))
    move(learner.network, rng)
    expected = np.mean(np.abs(learner(x, training=True) - y))
    plain = keras.models.clone_model(learner.network)
    plain.set_weights(learner.network.get_weights())
    plain(x, training=True)
    learner.compile("sgd", "mse", metrics=["mae"])
    assert learner.train_on_batch(x, y, return_dict=True)["mae"] == pytest.approx(expected)
    for ours, theirs in zip(
        learner.network.non_trainable_variables, plain.non_trainable_variables, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_xla_gives_the_same_training():
    rng = np.random.default_rng(0)
    learner = wna_tf.Learner(normalized_mlp(), "linearized")
    x, y = draw_inputs(learner.network, 4, rng), rng.normal(size=(4, 3))
    start, results = learner.get_weights(), []
    for jit_compile in (False, True):
        learner.set_weights(start)
        learner.compile(keras.optimizers.SGD(1.0), "mse", jit_compile=jit_compile)
        learner.fit(x, y, epochs=3, verbose=0)
        results.append(learner.predict(x, verbose=0))
    np.testing.assert_allclose(*results, rtol=1e-9)


def test_replicas_predict_by_their_part_of_the_batch(mirrored):
    rng = np.random.default_rng(0)
    with mirrored.scope():
        learner = wna_tf.Learner(normalized_mlp(), "linearized")
    x = draw_inputs(learner.network, 8, rng)
    move(learner.network, rng)
    parts = [learner(part).numpy() for part in (x[:4], x[4:])]
    np.testing.assert_allclose(learner.predict(x, verbose=0), np.concatenate(parts), rtol=1e-9)
