"""Trains a network of one's own by several rules, with a layer that says what its maps are."""

import keras

import wna_tf

RULES = ("backprop", "align_prop", "feedback_alignment")
EPOCHS = 5


def make_network(input_shape: tuple[int, ...], num_outputs: int, width: int) -> keras.Model:
    """Returns a small residual network in plain Keras layers."""
    inputs = keras.Input(input_shape)
    x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False, name="first")(inputs)
    x = keras.layers.BatchNormalization(momentum=0.9)(x)
    shortcut = x = keras.layers.ReLU()(x)
    x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False, name="second")(x)
    x = keras.layers.BatchNormalization(momentum=0.9)(x)
    x = keras.layers.ReLU()(keras.layers.Add()([x, shortcut]))
    x = keras.layers.Flatten()(keras.layers.MaxPooling2D()(x))
    return keras.Model(inputs, keras.layers.Dense(num_outputs, name="head")(x))


wna_tf.models.register("residual", make_network)


@keras.saving.register_keras_serializable("mine")
class WeightNormalized(keras.layers.Layer):
    """A dense layer whose kernel has columns of length 1, whatever its weights are."""

    def __init__(self, units: int, **options: object):
        super().__init__(**options)
        self.units = units

    def build(self, input_shape):
        self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1], self.units))

    def call(self, x):
        return x @ (self.kernel / keras.ops.norm(self.kernel, axis=0))

    def get_config(self):
        return super().get_config() | {"units": self.units}


def expand(layer: WeightNormalized, emit, x):
    """Says what a layer's maps are: one whose weights all learn by their derivatives."""
    return emit.local(layer, x)


def refuse_and_register() -> None:
    """Prints why a layer is refused, and what is found in it once it is registered."""
    network = keras.Sequential(
        [keras.Input((8,)), WeightNormalized(8, name="mine"), keras.layers.Dense(10, name="head")]
    )
    try:
        wna_tf.Learner(network, rule="align_prop")
    except ValueError as refusal:
        print(refusal)
    wna_tf.register_layer(WeightNormalized)(expand)
    describe(wna_tf.Learner(network, rule="align_prop"))


def describe(learner: wna_tf.Learner) -> None:
    """Prints which weights feedback weights stand in for, and which learn by derivatives."""
    kernels = {id(step.kernel) for step in learner.program.affine_maps}
    for weight in learner.trainable_variables:
        how = "kernel" if id(weight) in kernels else "by its derivative"
        print(f"{weight.path:28} {how}")


def main() -> None:
    """Trains the network by each rule, and prints its validation accuracy."""
    data = wna_tf.datasets.load("digits", batch_size=50)
    for rule in RULES:
        keras.utils.set_random_seed(0)
        learner = wna_tf.Learner(make_network((8, 8, 1), 10, width=32), rule=rule)
        learner.compile(keras.optimizers.Adam(1e-3), loss="mse", metrics=["accuracy"])
        learner.fit(data.train, epochs=EPOCHS, shuffle=False, verbose=0)
        result = learner.evaluate(data.validation, return_dict=True, verbose=0)
        print(f"{rule:28} validation accuracy {result['accuracy']:.3f}")
    print()
    describe(learner)
    print()
    refuse_and_register()


if __name__ == "__main__":
    main()
