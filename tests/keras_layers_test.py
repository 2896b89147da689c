"""Every layer that a rule trains: its maps against TensorFlow's own gradient, and fact 1."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl
from keras import ops

import wna_tf
from tests.samples import sample

ALIGN_RULES = ("align_zero", "align_ada", "align_prop")


pytestmark = pytest.mark.usefixtures("double_precision")


def sequential(shape, *stack):
    return keras.Sequential([keras.Input(shape), *stack, kl.Flatten(), kl.Dense(3)])


def functional(function, *shapes, dtypes=()):
    inputs = [keras.Input(s, dtype=d) for s, d in zip(shapes, dtypes or [None] * 9, strict=False)]
    return keras.Model(inputs, kl.Dense(3)(kl.Flatten()(function(*inputs))))


def residual(x):
    y = kl.BatchNormalization()(kl.Conv2D(4, 3, padding="same")(x))
    z = kl.ReLU()(kl.Add()([y, kl.Conv2D(4, 1)(x)]))
    return kl.Concatenate()([z, kl.AveragePooling2D(3, 1, "same")(z), z * z])


def squeeze_and_excite(x):
    gate = kl.Dense(3, "sigmoid")(kl.GlobalAveragePooling2D()(kl.Conv2D(3, 2)(x)))
    return kl.Multiply()([kl.Conv2D(3, 2)(x), kl.Reshape((1, 1, 3))(gate)])


def shared(x):
    layer = kl.Dense(5, "tanh")
    return layer(layer(x)) + layer(x)


def transformer(x):
    y = kl.LayerNormalization()(x)
    x = x + kl.MultiHeadAttention(2, 4, dropout=0.2)(y, y)
    y = kl.Dense(8, "gelu")(kl.LayerNormalization()(x))
    return x + kl.Dropout(0.3)(kl.Dense(6)(y))


def sequence_to_sequence(x, y):
    _, *states = kl.LSTM(4, return_state=True)(x)
    y, h = kl.GRU(4, return_sequences=True, return_state=True)(y, initial_state=states[1])
    return kl.Concatenate()([kl.Flatten()(kl.LSTM(4)(y, initial_state=[h, states[0]])), h])


def token_and_position(tokens):
    return kl.Embedding(11, 4)(tokens) + kl.Embedding(5, 4)(ops.arange(5))


class Patches(kl.Layer):
    """A layer of a user's own, made of Keras layers."""

    def __init__(self):
        super().__init__()
        self.project, self.normalize = kl.Conv2D(4, 2, 2), kl.LayerNormalization()

    def build(self, input_shape):
        self.project.build(input_shape)
        self.normalize.build(self.project.compute_output_shape(input_shape))

    def call(self, x, training=False):
        x = self.normalize(self.project(x))
        return ops.relu(x) if training else x


IMAGE, SEQUENCE, VOLUME = (6, 6, 2), (5, 6), (4, 4, 4, 2)
NETWORKS = {
    "dense": lambda: sequential(SEQUENCE, kl.Dense(4, "tanh"), kl.Dense(4, use_bias=False)),
    "conv1d": lambda: sequential(SEQUENCE, kl.Conv1D(4, 3, activation="elu")),
    "causal": lambda: sequential(SEQUENCE, kl.Conv1D(4, 2, dilation_rate=2, padding="causal")),
    "conv2d": lambda: sequential(IMAGE, kl.Conv2D(4, 3, 2, "same", groups=2, activation="relu")),
    "dilated": lambda: sequential(IMAGE, kl.Conv2D(4, 2, dilation_rate=2), kl.LeakyReLU()),
    "conv3d": lambda: sequential(VOLUME, kl.Conv3D(3, 2), kl.Activation("silu")),
    "transpose1d": lambda: sequential(SEQUENCE, kl.Conv1DTranspose(3, 2, 2)),
    "transpose2d": lambda: sequential(IMAGE, kl.Conv2DTranspose(3, 3, 2, "same")),
    "transpose3d": lambda: sequential(VOLUME, kl.Conv3DTranspose(2, 2, 2)),
    "depthwise1d": lambda: sequential(SEQUENCE, kl.DepthwiseConv1D(2, activation="tanh")),
    "depthwise2d": lambda: sequential(
        IMAGE, kl.DepthwiseConv2D(3, depth_multiplier=2), kl.ReLU(6.0)
    ),
    "separable1d": lambda: sequential(SEQUENCE, kl.SeparableConv1D(4, 2)),
    "separable2d": lambda: sequential(IMAGE, kl.SeparableConv2D(4, 3, activation="relu")),
    "einsum_dense": lambda: sequential(
        SEQUENCE, kl.EinsumDense("abc,cde->abde", (5, 2, 3), bias_axes="d")
    ),
    "batch_norm": lambda: sequential(IMAGE, kl.Conv2D(4, 3), kl.BatchNormalization(), kl.ReLU()),
    "group_norm": lambda: sequential(IMAGE, kl.Conv2D(4, 3), kl.GroupNormalization(2), kl.PReLU()),
    "layer_norm": lambda: sequential(SEQUENCE, kl.Dense(4), kl.LayerNormalization(), kl.ELU()),
    "rms_norm": lambda: sequential(SEQUENCE, kl.Dense(4), kl.RMSNormalization(), kl.ELU()),
    "pool_pad": lambda: sequential(
        IMAGE, kl.ZeroPadding2D(), kl.Conv2D(3, 3), kl.MaxPooling2D(), kl.UpSampling2D()
    ),
    "dropout": lambda: sequential(SEQUENCE, kl.Dense(8, "relu"), kl.Dropout(0.4), kl.Dense(4)),
    "simple_rnn": lambda: sequential(SEQUENCE, kl.SimpleRNN(4, return_sequences=True)),
    "lstm": lambda: sequential(SEQUENCE, kl.LSTM(4)),
    "gru": lambda: sequential(SEQUENCE, kl.GRU(4, return_sequences=True), kl.GRU(3)),
    "our_rnn": lambda: sequential(SEQUENCE, wna_tf.layers.Recurrent(4, activation="tanh")),
    "residual": lambda: functional(residual, IMAGE),
    "squeeze_and_excite": lambda: functional(squeeze_and_excite, IMAGE),
    "shared": lambda: functional(shared, (5,)),
    "reset_before": lambda: sequential(SEQUENCE, kl.GRU(3, reset_after=False)),
    "backwards": lambda: sequential(
        SEQUENCE, kl.LSTM(3, return_sequences=True, go_backwards=True), kl.SimpleRNN(3)
    ),
    "recurrent_dropout": lambda: sequential(
        SEQUENCE,
        kl.GRU(3, dropout=0.2, recurrent_dropout=0.3, return_sequences=True),
        kl.SimpleRNN(3, dropout=0.2, recurrent_dropout=0.3),
    ),
    "given_state": lambda: functional(
        lambda x, h: kl.SimpleRNN(3)(x, initial_state=h), SEQUENCE, (3,)
    ),
    "sequence_to_sequence": lambda: functional(sequence_to_sequence, SEQUENCE, (3, 4)),
    "transformer": lambda: functional(transformer, SEQUENCE),
    "nested": lambda: functional(lambda x: functional(residual, IMAGE)(x), IMAGE),
    "composite": lambda: functional(lambda x: Patches()(x), IMAGE),
    "two_inputs": lambda: functional(lambda x, y: kl.Dense(4, "relu")(x) * y, (4,), (4,)),
    "embedding": lambda: functional(token_and_position, (5,), dtypes=["int32"]),
}


def make_batch(network):
    rng = np.random.default_rng(0)
    inputs = [
        rng.normal(size=(7, *symbol.shape[1:]))
        if "float" in symbol.dtype
        else rng.integers(0, 11, (7, *symbol.shape[1:]))
        for symbol in network.inputs
    ]
    return inputs[0] if len(inputs) == 1 else inputs, rng.normal(size=(7, 3))


def updates(network, rule, x, y):
    learner = wna_tf.Learner(network, rule)
    learner.compile("sgd", "mse")
    return learner.updates(x, y)


def assert_close(actual, expected):
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)


def rewinder(network):
    """Returns a function that sets moving statistics and the seeds of dropout back."""
    state = [variable.numpy() for variable in network.non_trainable_variables]

    def rewind():
        for variable, value in zip(network.non_trainable_variables, state, strict=True):
            variable.assign(value)

    return rewind


@pytest.mark.parametrize("name", sample(NETWORKS))
def test_backprop_is_the_gradient_and_the_align_rules_begin_with_it(name):
    network = NETWORKS[name]()
    rng = np.random.default_rng(1)
    for variable in network.trainable_variables:  # Scales and offsets that show.
        variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
    x, y = make_batch(network)
    rewind = rewinder(network)
    backprop = updates(network, "backprop", x, y)
    rewind()
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(network(x, training=True) - y))
    assert_close(
        backprop, map(tf.convert_to_tensor, tape.gradient(loss, network.trainable_variables))
    )
    rewind()
    for rule in ALIGN_RULES:
        assert_close(updates(network, rule, x, y), backprop)


@pytest.mark.parametrize("name", NETWORKS)
def test_feedback_alignment_with_known_weights_is_a_known_rule(name):
    network = NETWORKS[name]()
    x, y = make_batch(network)
    learners = {
        rule: wna_tf.Learner(network, rule) for rule in ("feedback_alignment", "align_prop")
    }
    initial = {id(v): v.numpy() for v in network.trainable_variables}
    rng = np.random.default_rng(1)
    for variable in network.trainable_variables:
        variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
    for learner in learners.values():
        learner.compile("sgd", "mse")
    learner = learners["feedback_alignment"]
    kernels = list({id(s.kernel): s.kernel for s in learner._program.affine_maps}.values())
    assert len(kernels) == len(learner.feedback_weights)
    rewind = rewinder(network)
    for feedback, kernel in zip(learner.feedback_weights, kernels, strict=True):
        feedback.assign(initial[id(kernel)])
    rewind()
    expected = learners["align_prop"].updates(x, y)
    rewind()
    assert_close(learner.updates(x, y), expected)
    for feedback, kernel in zip(learner.feedback_weights, kernels, strict=True):
        feedback.assign(kernel)
    rewind()
    assert_close(learner.updates(x, y), updates(network, "backprop", x, y))


class Scale(kl.Layer):
    """A layer with a weight of its own."""

    def build(self, input_shape):
        self.weight = self.add_weight(name="weight", shape=(input_shape[-1],))

    def call(self, x):
        return x * ops.exp(self.weight)


def test_other_networks_are_refused():
    class Subclassed(keras.Model):
        pass

    with pytest.raises(ValueError, match="which is not built"):
        wna_tf.Learner(Subclassed())
    with pytest.raises(ValueError, match="Expected a Keras model"):
        wna_tf.Learner(kl.Dense(3))
    with pytest.raises(ValueError, match="which is not built"):
        wna_tf.Learner(keras.Sequential([kl.Dense(3)]))


def test_a_registered_layer_is_trained():
    @wna_tf.register_layer(Scale)
    def _scale(layer, emit, x):
        return emit.local(layer, x)

    network = sequential(SEQUENCE, kl.Dense(4), Scale())
    x, y = make_batch(network)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(network(x) - y))
    expected = tape.gradient(loss, network.trainable_variables)
    assert_close(updates(network, "backprop", x, y), expected)
    del wna_tf.graph.registry._EXPANSIONS[Scale]
