"""Trains a small transformer on rows of digits, some of them missing, by several rules."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

import wna_tf

RULES = ("backprop", "align_prop", "align_ada", "feedback_alignment", "readout")
WIDTH, HEADS, DEPTH = 64, 4, 1
EPOCHS, RATE = 10, 2e-3
MISSING = -1.0
"""What stands in the place of a row that is missing; pixels are in [0, 1]."""


@keras.saving.register_keras_serializable("guide")
class Positions(layers.Layer):
    """Adds what is learned of each position."""

    supports_masking = True

    def build(self, input_shape: tuple) -> None:
        self.table = self.add_weight(shape=(8, input_shape[-1]), name="table")

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        return x + self.table[: ops.shape(x)[1]]


def make_network() -> keras.Model:
    """Returns a transformer of rows [rows, 8], in plain Keras layers."""
    rows = keras.Input((None, 8))
    x = layers.Masking(MISSING)(rows)
    x = Positions()(layers.Dense(WIDTH)(x))
    for _ in range(DEPTH):
        h = layers.LayerNormalization()(x)
        x = layers.Add()([x, layers.MultiHeadAttention(HEADS, WIDTH // HEADS)(h, h)])
        h = layers.LayerNormalization()(x)
        h = layers.Dense(4 * WIDTH, activation="gelu")(h)
        x = layers.Add()([x, layers.Dense(WIDTH)(h)])
    x = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(x))
    return keras.Model(rows, layers.Dense(10)(x))


def hide(images: np.ndarray, seed: int) -> np.ndarray:
    """Returns images as rows, of which the last ones are missing, three at most."""
    heights = np.random.default_rng(seed).integers(5, 9, len(images))
    is_there = np.arange(8) < heights[:, None]
    return np.where(is_there[..., None], images[..., 0], MISSING).astype("float32")


def load() -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns rows and labels of digits: to train on, and to test."""
    training, _, test = wna_tf.datasets.load("digits", targets="labels")
    pairs = []
    for seed, batches in enumerate((training, test)):
        images, labels = (
            np.concatenate(part) for part in zip(*batches.as_numpy_iterator(), strict=True)
        )
        pairs.append((hide(images, seed), labels))
    return pairs


def train(rule: str, x: np.ndarray, y: np.ndarray) -> wna_tf.Learner:
    """Returns a learner that was trained by a rule."""
    keras.utils.set_random_seed(0)
    learner = wna_tf.Learner(make_network(), rule=rule)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner.compile(keras.optimizers.Adam(RATE), loss, metrics=["accuracy"])
    batches = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(len(x), seed=0).batch(50)
    learner.fit(batches.repeat(EPOCHS), shuffle=False, verbose=0)
    return learner


def compare_padding(learner: wna_tf.Learner, x: np.ndarray, y: np.ndarray) -> None:
    """Prints how much it matters that missing rows stand in a batch."""
    short = np.all(x[:, 5:] == MISSING, axis=(1, 2))
    padded, alone, y = x[short], x[short, :5], y[short]
    outputs = np.abs(learner.predict(padded, verbose=0) - learner.predict(alone, verbose=0)).max()
    angle = wna_tf.measures.angle(learner.updates(padded, y), learner.updates(alone, y))
    print(f"{len(y)} images of 5 rows, with 3 missing ones behind them and without:")
    print(f"  outputs differ by {outputs:.3f} at most, updates by {angle:.2f} degrees")


def main() -> None:
    """Trains the network by each rule, and prints its accuracy on images that it has not seen."""
    train_data, test_data = load()
    for rule in RULES:
        learner = train(rule, *train_data)
        _, accuracy = learner.evaluate(*test_data, verbose=0)
        print(f"{rule:20} test accuracy {accuracy:.3f}", flush=True)
        if rule == "align_prop":
            kept = learner
    kernels = len(kept.program.affine_names)
    print(f"{kernels} kernels among {len(kept.trainable_variables)} trained weights")
    compare_padding(kept, *test_data)


if __name__ == "__main__":
    main()
