"""Networks that a program may not express: trained as Keras trains them, or refused by name."""

import keras
from keras import layers, ops

import wna_tf


def sequential(*operations, input_shape=(6, 6, 3)):
    return keras.Sequential([keras.Input(input_shape), *operations])


class OfDense(layers.Layer):
    """A layer made of one dense layer."""

    def __init__(self, **options):
        super().__init__(**options)
        self.dense = layers.Dense(6, activation="tanh")

    def build(self, input_shape):
        self.dense.build(input_shape)
        self.count = self.add_weight(name="count", initializer="ones", trainable=False)


class TiedDecoder(OfDense):
    """A layer that uses a kernel twice, once by itself."""

    def call(self, inputs):
        return ops.matmul(self.dense(inputs), ops.transpose(self.dense.kernel))


class BorrowedKernel(OfDense):
    """A layer that never calls the layer that it has a kernel from."""

    def call(self, inputs):
        return ops.matmul(inputs, self.dense.kernel) + self.dense.bias


class Counting(OfDense):
    """A layer that writes to a state of its own."""

    def call(self, inputs, training=None):
        if training:
            self.count.assign_add(1.0)
        return self.dense(inputs) * self.count


class Squared(layers.Dense):
    """A layer that is not its parent's affine map."""

    def call(self, inputs):
        return super().call(inputs) ** 2


class Tripled(keras.Model):
    """A functional model whose call is not that of its graph."""

    def __init__(self, **options):
        inputs = keras.Input((6,))
        super().__init__(inputs, layers.Dense(2)(inputs), **options)

    def call(self, inputs, training=None):
        return 3 * super().call(inputs, training=training)


class TripledSequence(keras.Sequential):
    """A sequential model whose call is not that of its layers."""

    def call(self, inputs, training=None, mask=None):
        return 3 * super().call(inputs, training=training, mask=mask)


class Written(keras.Model):
    """A model in Python, without a graph."""

    def __init__(self, **options):
        super().__init__(**options)
        self.dense = layers.Dense(2)

    def build(self, input_shape):
        self.dense.build(input_shape)

    def call(self, inputs):
        return self.dense(inputs)


class Standardized(layers.Conv2D):
    """A convolution whose kernel is standardized: not linear in its kernel."""

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel / (1 + ops.std(kernel)))


class Scaled(layers.Layer):
    """A layer that uses a weight of its own."""

    def build(self, input_shape):
        self.gain = self.add_weight(name="gain", shape=input_shape[-1:], initializer="ones")

    def call(self, inputs):
        return inputs * self.gain


class Doubled(layers.Dense):
    """A layer that does something before its call."""

    def __call__(self, inputs, **options):
        return super().__call__(2 * inputs, **options)


class Centered(layers.Layer):
    """A layer that keeps a state and reads what it has just written."""

    def build(self, input_shape):
        self.mean = self.add_weight(name="mean", shape=input_shape[-1:], trainable=False)

    def call(self, inputs):
        self.mean.assign(ops.mean(inputs, axis=0))
        return ops.square(inputs - self.mean)


class Masker(layers.Layer):
    """A layer that masks the first step, of which only the loss knows."""

    def __init__(self, **options):
        super().__init__(**options)
        self.supports_masking = True

    def call(self, inputs):
        return inputs

    def compute_mask(self, inputs, previous_mask):
        return ops.zeros_like(inputs[:, :1, 0]) < ops.arange(float(inputs.shape[1]))


def closure(use):
    """A network in which a function uses the kernel of a layer that is there too."""
    inputs = keras.Input((6,))
    dense = layers.Dense(6, name="source")
    return keras.Model(inputs, layers.Dense(2)(use(dense, dense(inputs))))


def closed_activation(dense, x):
    return layers.Dense(6, activation=lambda z: z * dense.bias, name="guilty")(x)


def closed_reference(dense, x):
    class Borrowing(layers.Layer):
        def call(self, inputs):
            return ops.matmul(inputs, dense.kernel)

    return Borrowing(name="guilty")(x)


def tripled_sequence():
    return TripledSequence([keras.Input((6,)), layers.Dense(2)], name="guilty")


def borrowed_variable():
    inputs = keras.Input((6,))
    guilty = layers.Dense(6, name="guilty")
    x = guilty(inputs)
    return keras.Model(inputs, layers.Dense(2)(ops.matmul(x, guilty.kernel)))


def with_lora():
    dense = layers.Dense(2, name="guilty")
    network = sequential(dense, input_shape=(6,))
    dense.enable_lora(2)
    return network


def inside(layer, input_shape=(6,)):
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, layers.Dense(2)(layer(inputs)))


DOUBTFUL = {
    "tied_decoder": lambda: inside(TiedDecoder(name="guilty")),
    "borrowed_kernel": lambda: inside(BorrowedKernel(name="guilty")),
    "borrowed_variable": borrowed_variable,
    "closed_kernel": lambda: closure(
        lambda dense, x: layers.Lambda(lambda z: z @ ops.transpose(dense.kernel), name="guilty")(x)
    ),
    "closed_layer": lambda: closure(lambda dense, x: layers.Lambda(dense.call, name="guilty")(x)),
    "closed_activation": lambda: closure(closed_activation),
    "closed_cell": lambda: closure(
        lambda dense, x: layers.SimpleRNN(
            6, activation=lambda z: ops.tanh(z * dense.bias), name="guilty"
        )(ops.expand_dims(x, 1))
    ),
    "closed_reference": lambda: closure(closed_reference),
    "standardized_kernel": lambda: keras.Sequential(
        [keras.Input((5, 5, 3)), Standardized(2, 3, name="guilty"), layers.Dense(2)]
    ),
    "overridden_operator": lambda: inside(Doubled(6, name="guilty")),
    "own_mask": lambda: inside(Masker(name="guilty"), (5, 6)),
    "learner": lambda: inside(
        wna_tf.Learner(sequential(layers.Dense(2), input_shape=(6,)), name="guilty")
    ),
    "state": lambda: inside(Counting(name="guilty")),
    "state_read_again": lambda: keras.Sequential(
        [keras.Input((6,)), layers.Dense(6), Centered(), layers.Dense(2)]
    ),
    "overridden_layer": lambda: inside(Squared(2, name="guilty")),
    "overridden_functional": lambda: Tripled(name="guilty"),
    "overridden_functional_inside": lambda: inside(Tripled(name="guilty")),
    "overridden_sequential": tripled_sequence,
    "overridden_sequential_inside": lambda: inside(tripled_sequence()),
    "written": lambda: Written(name="guilty"),
    "written_inside": lambda: inside(Written(name="guilty")),
    "lora": with_lora,
    "spectral_normalization": lambda: inside(
        layers.SpectralNormalization(layers.Dense(2), name="guilty")
    ),
    "time_distributed": lambda: inside(
        layers.TimeDistributed(layers.Dense(2), name="guilty"), (5, 2)
    ),
    "recurrent_dropout": lambda: inside(
        layers.LSTM(2, recurrent_dropout=0.5, name="guilty"), (5, 2)
    ),
    "recurrent_convolution": lambda: inside(layers.ConvLSTM1D(2, 2, name="guilty"), (3, 5, 2)),
    "activity_regularization": lambda: inside(layers.ActivityRegularization(0.1, name="guilty")),
    "activity_regularizer_inside": lambda: sequential(
        inside(layers.Dense(2, activity_regularizer="l2", name="guilty")), input_shape=(6,)
    ),
}
