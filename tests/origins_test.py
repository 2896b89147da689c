"""What a variable is follows from its use: a kernel where it is contracted, local elsewhere."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import wna_tf
from wna_tf.graph.operators import Affine
from wna_tf.graph.tracing import trace


def own(shape, use, inputs=(5, 4), **more):
    """Makes a network whose middle layer uses a weight `w` of its own, and others, somehow."""

    class Own(layers.Layer):
        def build(self, input_shape):
            for name, size in {"w": shape, **more}.items():
                setattr(self, name, self.add_weight(name=name, shape=size, initializer="normal"))

        def call(self, x, training=False):
            return use(self, x)

    def make():
        x = keras.Input(inputs)
        h = Own(name="own")(layers.Dense(inputs[-1], activation="tanh", name="below")(x))
        return keras.Model(x, layers.Dense(2, name="head")(layers.GlobalAveragePooling1D()(h)))

    return make


def loop_of_additions(layer, x):
    return tf.while_loop(lambda i, _: i < 3, lambda i, h: (i + 1, h + layer.w), (0, x))[1]


def loop_of_products(layer, x):
    return tf.while_loop(lambda i, _: i < 3, lambda i, h: (i + 1, h @ layer.w), (0, x))[1]


def as_rows(layer, x):
    batch, time = ops.shape(x)[0], ops.shape(x)[1]
    flat = tf.reshape(x, [batch * time, 4]) @ layer.w
    return tf.reshape(flat, [batch, time, 3]) + layer.b


def by_patches(layer, x):
    return ops.conv(ops.reshape(x, (-1, 5, 4)), layer.w, padding="same")


@tf.function
def in_a_function(x, w):
    return tf.linalg.matmul(x, w, transpose_b=True)


@tf.custom_gradient
def rounded(x):
    return tf.round(10 * x) / 10, lambda delta: 3 * delta


def in_double_precision(layer, x):
    return ops.cast(ops.cast(x, "float64") @ ops.cast(layer.w, "float64"), "float32")


KERNELS = {
    "matmul": (own((4, 3), lambda layer, x: ops.matmul(x, layer.w)), 4),
    "behind a transpose": (own((3, 4), lambda layer, x: x @ ops.transpose(layer.w)), 4),
    "behind a reshape": (own((12,), lambda layer, x: x @ ops.reshape(layer.w, (4, 3))), 4),
    "behind a cast": (own((4, 3), in_double_precision), 4),
    "a part of it": (own((4, 6), lambda layer, x: x @ layer.w[:, ::2]), 4),
    "scaled": (own((4, 3), lambda layer, x: x @ (layer.w / 2.0)), 4),
    "einsum": (own((2, 4, 3), lambda layer, x: ops.einsum("btc,hcd->btd", x, layer.w)), 8),
    "from the left": (own((3, 5), lambda layer, x: ops.einsum("st,btc->bsc", layer.w, x)), 5),
    "tensordot": (own((4, 3), lambda layer, x: tf.tensordot(x, layer.w, 1)), 4),
    "dot": (own((4, 3), lambda layer, x: ops.dot(x, layer.w)), 4),
    "convolution": (own((3, 4, 2), by_patches), 12),
    "bias": (own((4, 3), as_rows, b=(3,)), 4),
    "tensorflow function": (own((3, 4), lambda layer, x: in_a_function(x, layer.w * 1.0)), 4),
    "own gradient": (own((4, 3), lambda layer, x: rounded(x @ layer.w)), 4),
    "swish": (own((4, 3), lambda layer, x: tf.nn.silu(x @ layer.w)), 4),
}
LOCAL = {
    "gain": own((4,), lambda layer, x: x * layer.w),
    "function of a gain": own((4,), lambda layer, x: x * ops.exp(layer.w)),
    "class token": own(
        (1, 1, 4),
        lambda layer, x: ops.concatenate(
            [ops.broadcast_to(layer.w, (ops.shape(x)[0], 1, 4)), x], axis=1
        ),
    ),
    "position": own((9, 4), lambda layer, x: x + layer.w[: ops.shape(x)[1]]),
    "gathered": own((9, 4), lambda layer, x: x + ops.take(layer.w, ops.argmax(x, -1), axis=0)),
    "norm": own(
        (4,), lambda layer, x: layer.w * x * ops.rsqrt(ops.mean(x**2, -1, keepdims=True) + 1e-6)
    ),
}
REFUSED = {
    "weight normalization": (
        own((4, 3), lambda layer, x: x @ (layer.w / ops.norm(layer.w))),
        "'own' of class Own: it passes its variable 'own/w' through something not linear",
    ),
    "two kernels": (
        own((4, 3), lambda layer, x: x @ (layer.w + layer.v), v=(4, 3)),
        "not linear before it is contracted",
    ),
    "a loop": (own((4, 4), loop_of_products), "in the operation (Stateless)?While"),
    "a loop of additions": (own((4,), loop_of_additions), "in the operation (Stateless)?While"),
    "unknown operation": (
        own((4, 4), lambda layer, x: tf.linalg.triangular_solve(layer.w, ops.swapaxes(x, 1, 2))),
        "in the operation (Batch)?MatrixTriangularSolve",
    ),
}


def compare_with_keras(network):
    """Compares the update of backprop with that of a tape."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, *network.input_shape[1:])).astype("float32")
    y = rng.normal(size=(3, 2)).astype("float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(network(x, training=True) - y))
    expected = tape.gradient(loss, [variable.value for variable in network.trainable_variables])
    learner = wna_tf.Learner(network, "backprop")
    learner.compile("sgd", "mse")
    for update, gradient, variable in zip(
        learner.updates(x, y), expected, network.trainable_variables, strict=True
    ):
        gradient = tf.convert_to_tensor(gradient)
        np.testing.assert_allclose(update, gradient, rtol=1e-4, atol=1e-6, err_msg=variable.path)


@pytest.mark.parametrize("name", KERNELS)
def test_a_variable_that_is_contracted_is_a_kernel(name):
    make, fan_in = KERNELS[name]
    network = make()
    (step,) = (step for step in trace(network).affine_maps if step.name == "own")
    assert step.kernel is network.get_layer("own").w
    assert step.fan_in == fan_in
    compare_with_keras(network)


@pytest.mark.parametrize("name", LOCAL)
def test_a_variable_that_is_used_otherwise_is_local(name):
    network = LOCAL[name]()
    weight = network.get_layer("own").w
    (step,) = (s for s in trace(network).maps if any(w is weight for w in s.weights))
    assert not isinstance(step, Affine)
    compare_with_keras(network)


def test_a_variable_may_be_both():
    ids = keras.Input((5,), dtype="int32")
    embedding = layers.Embedding(7, 4, name="embedding")
    h = layers.Dense(4, activation="tanh")(embedding(ids))
    network = keras.Model(ids, layers.Lambda(lambda h: h @ ops.transpose(embedding.embeddings))(h))
    kinds = [type(step) for step in trace(network).maps for w in step.weights if w.shape == (7, 4)]
    assert sum(issubclass(kind, Affine) for kind in kinds) == 1
    assert len(kinds) == 2
    x, y = np.arange(15).reshape(3, 5) % 7, np.ones((3, 5, 7), "float32")
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(network(x) - y))
    expected = tape.gradient(loss, embedding.embeddings.value)
    learner = wna_tf.Learner(network, "backprop")
    learner.compile("sgd", "mse")
    np.testing.assert_allclose(learner.updates(x, y)[0], expected, rtol=1e-4, atol=1e-6)
    network.trainable = False
    embedding.trainable = True
    assert len(wna_tf.Learner(network, "feedback_alignment").program.affine_maps) == 2


@pytest.mark.parametrize("name", REFUSED)
def test_a_variable_that_is_neither_is_refused(name):
    make, message = REFUSED[name]
    network = make()
    with pytest.raises(ValueError, match=message) as error:
        wna_tf.Learner(network, "align_ada")
    assert "\n@wna_tf.register_layer(Own)\n" in str(error.value)
    network.get_layer("own").trainable = False
    compare_with_keras(network)  # Where it learns nothing, its derivative is enough.


def test_the_bias_behind_a_contraction_continues_its_block():
    network = KERNELS["bias"][0]()
    program = trace(network)
    (step,) = (step for step in program.affine_maps if step.name == "own")
    end = program.block_output(step)
    assert program.shapes[end.index] == (None, 5, 3)


@pytest.mark.parametrize("function", [ops.relu, ops.gelu, ops.tanh])
def test_an_elementwise_operation_ends_a_block(function):
    network = own((4, 3), lambda layer, x: function(x @ layer.w + layer.b), b=(3,))()
    program = trace(network)
    (step,) = (step for step in program.affine_maps if step.name == "own")
    end = program.block_output(step)
    (last,) = (step for step in program.maps if end in step.outputs)
    assert last.is_symmetric
    compare_with_keras(network)
