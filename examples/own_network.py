"""Trains a Keras network of your own by several rules, with the usual fit."""

import keras

import wna_tf

RULES = ("backprop", "align_ada", "feedback_alignment", "readout")
EPOCHS = 8


def make_network() -> keras.Model:
    """Returns a small residual network in plain Keras layers."""
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(32, 3, padding="same", use_bias=False)(inputs)
    x = keras.layers.BatchNormalization(momentum=0.9)(x)
    shortcut = x = keras.layers.ReLU()(x)
    x = keras.layers.Conv2D(32, 3, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization(momentum=0.9)(x)
    x = keras.layers.ReLU()(keras.layers.Add()([x, shortcut]))
    x = keras.layers.Flatten()(keras.layers.MaxPooling2D()(x))
    return keras.Model(inputs, keras.layers.Dense(10)(x))


def main() -> None:
    """Trains the network by each rule, and prints its validation accuracy."""
    train, validation, _ = wna_tf.datasets.load("digits", batch_size=50)
    for rule in RULES:
        keras.utils.set_random_seed(0)
        learner = wna_tf.Learner(make_network(), rule=rule)
        learner.compile(keras.optimizers.Adam(1e-3), loss="mse", metrics=["accuracy"])
        learner.fit(train, epochs=EPOCHS, shuffle=False, verbose=0)  # train shuffles itself
        _, accuracy = learner.evaluate(validation, verbose=0)
        print(f"{rule:20} validation accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
