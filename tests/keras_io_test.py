"""Networks as Keras's own guides write them, and layers around layers: trained as Keras does."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import wna_tf
from tests.samples import sample

RNG = np.random.default_rng(0)


class TransformerBlock(layers.Layer):
    def __init__(self, embed_dim, num_heads, ff_dim, rate=0.1):
        super().__init__()
        self.att = layers.MultiHeadAttention(num_heads=num_heads, key_dim=embed_dim)
        self.ffn = keras.Sequential(
            [
                layers.Dense(ff_dim, activation="relu"),
                layers.Dense(embed_dim),
            ]
        )
        self.layernorm1 = layers.LayerNormalization(epsilon=1e-6)
        self.layernorm2 = layers.LayerNormalization(epsilon=1e-6)
        self.dropout1 = layers.Dropout(rate)
        self.dropout2 = layers.Dropout(rate)

    def call(self, inputs):
        attn_output = self.att(inputs, inputs)
        attn_output = self.dropout1(attn_output)
        out1 = self.layernorm1(inputs + attn_output)
        ffn_output = self.ffn(out1)
        ffn_output = self.dropout2(ffn_output)
        return self.layernorm2(out1 + ffn_output)


class TokenAndPositionEmbedding(layers.Layer):
    def __init__(self, maxlen, vocab_size, embed_dim):
        super().__init__()
        self.token_emb = layers.Embedding(input_dim=vocab_size, output_dim=embed_dim)
        self.pos_emb = layers.Embedding(input_dim=maxlen, output_dim=embed_dim)

    def call(self, x):
        maxlen = ops.shape(x)[-1]
        positions = ops.arange(start=0, stop=maxlen, step=1)
        positions = self.pos_emb(positions)
        x = self.token_emb(x)
        return x + positions


def tokens(*shape, high=12):
    return RNG.integers(1, high, shape)


def padded(*shape, high=12):
    ids = tokens(*shape, high=high)
    ids[0, 3:] = ids[1, 5:] = 0
    return ids


def text_classifier():
    """Text classification with Transformer, keras.io/examples/nlp."""
    inputs = layers.Input(shape=(9,))
    x = TokenAndPositionEmbedding(9, 12, 8)(inputs)
    x = TransformerBlock(8, 2, 8)(x)
    x = layers.GlobalAveragePooling1D()(x)
    x = layers.Dropout(0.1)(x)
    x = layers.Dense(20, activation="relu")(x)
    x = layers.Dropout(0.1)(x)
    outputs = layers.Dense(2, activation="softmax")(x)
    network = keras.Model(inputs=inputs, outputs=outputs)
    return network, tokens(4, 9), RNG.integers(0, 2, 4), "sparse_categorical_crossentropy"


def bidirectional_lstm():
    """Bidirectional LSTM on IMDB, keras.io/examples/nlp."""
    inputs = keras.Input(shape=(None,), dtype="int32")
    x = layers.Embedding(12, 8)(inputs)
    x = layers.Bidirectional(layers.LSTM(5, return_sequences=True))(x)
    x = layers.Bidirectional(layers.LSTM(5))(x)
    outputs = layers.Dense(1, activation="sigmoid")(x)
    network = keras.Model(inputs, outputs)
    return network, tokens(4, 7), RNG.integers(0, 2, (4, 1)), "binary_crossentropy"


def sequence_to_sequence():
    """Character-level recurrent sequence-to-sequence model, keras.io/examples/nlp."""
    encoder_inputs = keras.Input(shape=(None, 5))
    encoder = keras.layers.LSTM(6, return_state=True)
    _, state_h, state_c = encoder(encoder_inputs)
    encoder_states = [state_h, state_c]
    decoder_inputs = keras.Input(shape=(None, 4))
    decoder_lstm = keras.layers.LSTM(6, return_sequences=True, return_state=True)
    decoder_outputs, _, _ = decoder_lstm(decoder_inputs, initial_state=encoder_states)
    decoder_dense = keras.layers.Dense(4, activation="softmax")
    network = keras.Model([encoder_inputs, decoder_inputs], decoder_dense(decoder_outputs))
    x = [RNG.normal(size=(3, 6, 5)), RNG.normal(size=(3, 4, 4))]
    return network, x, np.eye(4)[RNG.integers(0, 4, (3, 4))], "categorical_crossentropy"


def sequence(*middle, shape=(6, 4), masked=False):
    """A function that makes a network around layers of sequences."""

    def make():
        inputs = keras.Input(shape)
        x = layers.Masking()(inputs) if masked else inputs
        for layer in middle:
            x = layer()(x)
        if len(x.shape) > 2:
            x = layers.Flatten()(x)
        network = keras.Model(inputs, layers.Dense(2)(x))
        x = RNG.normal(size=(4, *shape))
        if masked:
            x[0, 4:] = x[1, 2:] = 0
        return network, x, RNG.normal(size=(4, 2)), "mse"

    return make


def masked_tokens(layer, tied=False):
    def make():
        inputs = keras.Input((None,), dtype="int32")
        embedding = layers.Embedding(12, 8, mask_zero=True)
        x = layer()(embedding(inputs))
        network = keras.Model(inputs, layers.Dense(3, activation="softmax")(x))
        shape = (4, 7) if len(network.output_shape) == 3 else (4,)
        return network, padded(4, 7), RNG.integers(0, 3, shape), "sparse_categorical_crossentropy"

    return make


class Attended(layers.Layer):
    """An attention of a sequence to itself."""

    def __init__(self, attention, options=None, **kwargs):
        super().__init__(**kwargs)
        self.attention = attention
        self.options = options or {}

    def build(self, shape):
        if not self.attention.built:
            arguments = (shape, shape) if "query" in str(self.attention.build.__doc__) else None
            self.attention.build(*arguments) if arguments else None

    def call(self, x):
        first = (
            [x, x] if isinstance(self.attention, layers.Attention | layers.AdditiveAttention) else x
        )
        second = () if isinstance(first, list) else (x,)
        return self.attention(first, *second, **self.options)


NETWORKS = {
    "text classifier": text_classifier,
    "bidirectional LSTM": bidirectional_lstm,
    "sequence to sequence": sequence_to_sequence,
    "bidirectional LSTM with mask": masked_tokens(lambda: layers.Bidirectional(layers.LSTM(5))),
    "bidirectional GRU of sequences with mask": masked_tokens(
        lambda: layers.Bidirectional(layers.GRU(5, return_sequences=True), merge_mode="sum")
    ),
    "LSTM with mask": masked_tokens(lambda: layers.LSTM(5, return_sequences=True)),
    "masked mean": masked_tokens(layers.GlobalAveragePooling1D),
    "masking": sequence(lambda: layers.SimpleRNN(3), masked=True),
    "masked normalization": sequence(layers.BatchNormalization, masked=True),
    "backwards": sequence(lambda: layers.LSTM(3, go_backwards=True, return_sequences=True)),
    "reset before": sequence(lambda: layers.GRU(3, reset_after=False)),
    "dropout": sequence(lambda: layers.LSTM(3, dropout=0.3, recurrent_dropout=0.4)),
    "cell": sequence(lambda: layers.RNN(layers.GRUCell(3))),
    "cells": sequence(lambda: layers.RNN([layers.LSTMCell(3), layers.SimpleRNNCell(2)])),
    "recurrent convolution": sequence(lambda: layers.ConvLSTM1D(2, 2), shape=(3, 5, 2)),
    "time distributed": sequence(lambda: layers.TimeDistributed(layers.Dense(3))),
    "time distributed convolution": sequence(
        lambda: layers.TimeDistributed(layers.Conv2D(2, 2, activation="relu")), shape=(3, 5, 5, 2)
    ),
    "time distributed with mask": sequence(
        lambda: layers.TimeDistributed(layers.Dense(3)), lambda: layers.LSTM(3), masked=True
    ),
    "attention": sequence(lambda: Attended(layers.Attention(use_scale=True))),
    "additive attention": sequence(lambda: Attended(layers.AdditiveAttention())),
    "causal attention": sequence(
        lambda: Attended(layers.MultiHeadAttention(2, 3), {"use_causal_mask": True}), masked=True
    ),
    "group query attention": sequence(lambda: Attended(layers.GroupQueryAttention(3, 4, 2))),
    "random fourier features": sequence(
        layers.Flatten, lambda: layers.Dense(3, activation="tanh", trainable=False)
    ),
}


@pytest.mark.parametrize("name", sample(NETWORKS))
@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
def test_backprop_is_that_of_keras(name):
    updates = []
    for kind in (keras.Model, wna_tf.Learner):
        keras.utils.set_random_seed(0)
        global RNG
        RNG = np.random.default_rng(0)
        network, x, y, loss = NETWORKS[name]()
        before = [variable.numpy() for variable in network.trainable_variables]
        model = wna_tf.Learner(network, "backprop") if kind is wna_tf.Learner else network
        model.compile(keras.optimizers.SGD(1.0), loss, run_eagerly=False)
        value = model.train_on_batch(x, y)
        after = [variable.numpy() for variable in network.trainable_variables]
        updates.append([value, *map(np.subtract, after, before)])
        others = [variable.numpy() for variable in network.non_trainable_variables]
        updates[-1] += others
    names = ["loss"] + [
        v.path for v in network.trainable_variables + network.non_trainable_variables
    ]
    for path, theirs, ours in zip(names, *updates, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-6, err_msg=path)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
def test_the_first_update_of_an_align_rule_is_that_of_backprop(name):
    network, x, y, loss = NETWORKS[name]()
    learners = [wna_tf.Learner(network, rule) for rule in ("backprop", "align_ada", "align_zero")]
    for learner in learners:
        learner.compile("sgd", loss)
    first, *others = ([np.array(u) for u in learner.updates(x, y)] for learner in learners)
    for other in others:
        for ours, theirs in zip(other, first, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
