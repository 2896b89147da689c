"""Every rule in networks of every kind, against an oracle that looks at ops alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl
from keras import ops
from keras.src.applications import convnext as convnext_module

from tests.network_cases import Case, check_first_step, check_later_step, check_oracle, rules
from tests.samples import sample

pytestmark = pytest.mark.usefixtures("double_precision")

CLASSES, BATCH = 3, 5
IMAGE, SEQUENCE, TOKENS = (8, 8, 4), (7, 6), (7,)


def functional(function, shape, dtype=None):
    inputs = keras.Input(shape, dtype=dtype)
    return keras.Model(inputs, function(inputs))


def head(x):
    return kl.Dense(CLASSES)(kl.Flatten()(x))


def mlp(x):
    x = kl.Dense(6, "tanh", name="first")(x)
    x = kl.LayerNormalization(name="norm")(kl.Dense(5, name="second")(x))
    return kl.Dense(CLASSES, name="last")(kl.Activation("gelu", name="act")(x))


def cnn(x):
    x = kl.BatchNormalization(name="norm1")(kl.Conv2D(6, 3, padding="same", name="conv1")(x))
    x = kl.Conv2D(5, 3, strides=2, activation="tanh", name="conv2")(kl.ReLU(name="relu1")(x))
    return kl.Dense(CLASSES, name="last")(kl.GlobalAveragePooling2D()(x))


def depthwise(x):
    x = kl.ReLU()(kl.BatchNormalization()(kl.Conv2D(6, 3, padding="same", groups=2)(x)))
    y = kl.LayerNormalization()(kl.DepthwiseConv2D(3, padding="same")(x))
    x = kl.LayerNormalization()(x + kl.Activation("gelu")(y))
    x = kl.SeparableConv2D(5, 3, strides=2, activation="tanh")(x)
    return kl.Dense(CLASSES)(kl.GlobalAveragePooling2D()(x))


def convnext(x):
    network = convnext_module.ConvNeXt(
        depths=[1, 1, 1, 1],
        projection_dims=[4, 4, 6, 6],
        drop_path_rate=0.0,
        layer_scale_init_value=0.5,
        include_preprocessing=False,
        weights=None,
        input_tensor=x,
        classes=CLASSES,
        classifier_activation=None,
    )
    return network.output


def bidirectional(tokens):
    x = kl.Embedding(11, 4, mask_zero=True)(tokens)
    x = kl.Bidirectional(kl.LSTM(3, return_sequences=True))(x)
    x = kl.Bidirectional(kl.GRU(3), merge_mode="sum")(x)
    return kl.Dense(CLASSES)(x)


def tagging(tokens):
    x = kl.Embedding(11, 4, mask_zero=True)(tokens)
    x = kl.Bidirectional(kl.SimpleRNN(3, return_sequences=True))(x)
    return kl.TimeDistributed(kl.Dense(CLASSES))(x)


class ClassToken(kl.Layer):
    """A class token before the patches, and a position embedding, of variables of its own."""

    def build(self, input_shape):
        _, patches, width = input_shape
        self.token = self.add_weight(shape=(1, 1, width), initializer="normal", name="token")
        self.position = self.add_weight(
            shape=(1, patches + 1, width), initializer="normal", name="position"
        )

    def call(self, x):
        token = ops.broadcast_to(self.token, (ops.shape(x)[0], 1, x.shape[-1]))
        return ops.concatenate([token, x], axis=1) + self.position


def transformer_block(x, width, **options):
    y = kl.LayerNormalization(epsilon=1e-3)(x)
    x = x + kl.MultiHeadAttention(2, 4)(y, y, **options)
    y = kl.Dense(2 * width, "gelu")(kl.LayerNormalization(epsilon=1e-3)(x))
    return x + kl.Dense(width)(y)


def vision_transformer(x):
    x = ClassToken()(kl.Reshape((-1, 6))(kl.Conv2D(6, 4, 4)(x)))
    x = kl.LayerNormalization()(transformer_block(x, 6))
    return kl.Dense(CLASSES)(x[:, 0])


def causal(x):
    return head(transformer_block(x, 6, use_causal_mask=True))


def masked_attention(tokens):
    x = kl.Embedding(11, 6, mask_zero=True)(tokens)
    return head(transformer_block(x, 6))


def additive_attention(x):
    query, value = kl.Dense(4)(x), kl.Dense(4, "tanh")(x)
    return head(kl.AdditiveAttention()([query, value]))


def scaled_attention(x):
    query, value = kl.Dense(4)(x), kl.Dense(4, "tanh")(x)
    return head(kl.Attention(use_scale=True)([query, value]))


def grouped_query_attention(x):
    x = kl.GroupQueryAttention(head_dim=4, num_query_heads=4, num_key_value_heads=2)(x, x)
    return head(kl.LayerNormalization()(x))


class ByHand(kl.Layer):
    """Affine maps of `keras.ops` and of TensorFlow, by the variables of one layer."""

    def build(self, input_shape):
        width = input_shape[-1]

        def add(name, *shape):
            return self.add_weight(shape=shape, initializer="glorot_uniform", name=name)

        self.matrix, self.bias = add("matrix", width, 4), add("bias", 4)
        self.heads = add("heads", 2, 3, 4)
        self.gain = add("gain", 6)
        self.tensor = add("tensor", 6, 5)
        self.filters = add("filters", 2, 5, 4)

    def call(self, x):
        x = ops.tanh(ops.matmul(x, self.matrix) + self.bias)
        x = ops.einsum("btc,hdc->bthd", x, self.heads)
        x = tf.reshape(x, [tf.shape(x)[0], tf.shape(x)[1], 6]) * self.gain
        x = tf.nn.silu(tf.tensordot(x, self.tensor, [[2], [0]]))
        return tf.nn.conv1d(x, self.filters, 1, "SAME")


class BatchSize(kl.Layer):
    """A layer that looks at the size of the batch."""

    def __init__(self):
        super().__init__()
        self.dense = kl.Dense(4, "tanh")

    def call(self, x):
        batch, steps = ops.shape(x)[0], x.shape[1]
        flat = self.dense(ops.reshape(x, (batch * steps, x.shape[2])))
        return ops.reshape(flat, (batch, steps, 4)) / ops.cast(batch, x.dtype)


class TrainingBranch(kl.Layer):
    """A layer that does something else in training."""

    def __init__(self):
        super().__init__()
        self.trained, self.other = kl.Dense(4, "tanh"), kl.Dense(4)

    def build(self, input_shape):
        self.trained.build(input_shape)
        self.other.build(input_shape)

    def call(self, x, training=False):
        return self.trained(x) if training else self.other(x)


class ReversibleEmbedding(kl.Layer):
    """One matrix that is gathered from at the bottom and multiplied at the top."""

    def __init__(self):
        super().__init__()
        self.embedding, self.block = kl.ReversibleEmbedding(11, 6), kl.Dense(6, "tanh")

    def call(self, tokens):
        return self.embedding(self.block(self.embedding(tokens)), reverse=True)


class TransposedMatrix(kl.Layer):
    """A matrix that is used twice, once transposed, behind reshapes and casts."""

    def build(self, input_shape):
        self.matrix = self.add_weight(shape=(24,), initializer="normal", name="matrix")

    def call(self, x):
        matrix = ops.reshape(ops.cast(self.matrix, x.dtype), (6, 4))
        hidden = ops.relu(x @ matrix)
        return hidden @ ops.transpose(matrix)


def mixture(x):
    y = kl.Dense(4, "tanh")(x)
    gate = kl.Dense(4, "softmax")(x)
    return head(kl.PReLU()(kl.Multiply()([y, gate])))


rng = np.random.default_rng(0)
images, sequences = rng.normal(size=(BATCH, *IMAGE)), rng.normal(size=(BATCH, *SEQUENCE))
vectors, targets = rng.normal(size=(BATCH, 6)), rng.normal(size=(BATCH, CLASSES))
tokens = rng.integers(1, 11, (BATCH, *TOKENS))
for row, length in enumerate((7, 4, 1, 6, 2)):
    tokens[row, length:] = 0
tags = rng.integers(0, CLASSES, (BATCH, *TOKENS))
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def sequence_case(function):
    return Case(lambda: functional(function, SEQUENCE), sequences, targets)


def image_case(function, **options):
    return Case(lambda: functional(function, IMAGE), images, targets, **options)


def token_case(function, y=targets, loss="mse", **options):
    return Case(lambda: functional(function, TOKENS, "int32"), tokens, y, loss, **options)


CHAINS = {
    "mlp": Case(
        lambda: functional(mlp, (6,)),
        vectors,
        targets,
        blocks=(("first", ["first"]), ("act", ["second", "norm"]), ("last", ["last"])),
    ),
    "cnn": image_case(
        cnn, blocks=(("relu1", ["conv1", "norm1"]), ("conv2", ["conv2"]), ("last", ["last"]))
    ),
}
CASES = CHAINS | {
    "depthwise": image_case(depthwise),
    "convnext": Case(
        lambda: functional(convnext, (32, 32, 3)), rng.normal(size=(BATCH, 32, 32, 3)), targets
    ),
    "bidirectional": token_case(bidirectional),
    "tagging": token_case(tagging, tags, cross_entropy),
    "weighted_tagging": token_case(
        tagging, tags, cross_entropy, sample_weight=rng.uniform(size=(BATCH, *TOKENS))
    ),
    "vision_transformer": image_case(vision_transformer),
    "causal": sequence_case(causal),
    "masked_attention": token_case(masked_attention),
    "additive_attention": sequence_case(additive_attention),
    "scaled_attention": sequence_case(scaled_attention),
    "grouped_query_attention": sequence_case(grouped_query_attention),
    "by_hand": sequence_case(lambda x: head(ByHand()(x))),
    "batch_size": sequence_case(lambda x: head(BatchSize()(x))),
    "training_branch": sequence_case(lambda x: head(TrainingBranch()(x))),
    "reversible_embedding": token_case(
        lambda x: ReversibleEmbedding()(x),
        rng.integers(0, 11, (BATCH, *TOKENS)),
        cross_entropy,
        sample_weight=1.0 * (tokens > 0),
    ),
    "transposed_matrix": sequence_case(lambda x: head(TransposedMatrix()(x))),
    "mixture": sequence_case(mixture),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_oracle_begins_with_the_gradient(name):
    check_oracle(CASES[name])


@pytest.mark.parametrize("name", sample(CASES))
def test_backprop_is_the_gradient_and_the_align_rules_begin_with_it(name):
    check_first_step(CASES[name])


@rules
@pytest.mark.parametrize("name", sample(CASES))
def test_rules_do_what_the_oracle_says(name, rule):
    check_later_step(CASES[name], rule)


@pytest.mark.parametrize("rule", ["direct_feedback_alignment", "readout"])
@pytest.mark.parametrize("name", CHAINS)
def test_errors_go_straight_to_the_blocks_of_chains(name, rule):
    check_later_step(CHAINS[name], rule)
