"""Trains one network by two rules, compares them, and keeps what one of them has learned."""

import pathlib
import tempfile

import keras
import numpy as np

import wna_tf

RULES = ("backprop", "align_prop")
EPOCHS = 5


def make_network() -> keras.Model:
    """Returns a small convolutional network in plain Keras layers."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(32, 3, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dense(10),
        ]
    )


def train(rule: str, data: wna_tf.datasets.Data) -> wna_tf.Learner:
    """Returns a learner that has been trained by a rule, and prints how that went."""
    keras.utils.set_random_seed(0)  # The same initial weights for every rule.
    learner = wna_tf.Learner(make_network(), rule=rule)
    learner.compile(
        optimizer=keras.optimizers.SGD(0.1),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    history = learner.fit(
        data.train,
        validation_data=data.validation,
        epochs=EPOCHS,
        shuffle=False,  # `data.train` shuffles itself.
        verbose=0,
    ).history
    for epoch in range(EPOCHS):
        loss, accuracy = history["loss"][epoch], history["val_accuracy"][epoch]
        print(f"{rule:12} epoch {epoch + 1}: loss {loss:.3f}, validation accuracy {accuracy:.3f}")
    return learner


def compare_updates(learner: wna_tf.Learner, data: wna_tf.datasets.Data) -> None:
    """Prints how far a rule's updates of each kernel are from the gradient, in degrees."""
    x, y = next(iter(data.train))
    teacher = wna_tf.Learner(learner.network, rule="backprop")
    teacher.compile(loss=learner.loss)
    updates = learner.updates(x, y), teacher.updates(x, y), learner.trainable_variables
    for ours, theirs, weight in zip(*updates, strict=True):
        if weight.name == "kernel":
            angle = wna_tf.measures.angle(ours, theirs)
            print(f"{weight.path:28} {angle:5.1f} degrees from the gradient")


def save_and_load(learner: wna_tf.Learner, data: wna_tf.datasets.Data) -> None:
    """Saves a learner, loads it, and prints whether it predicts the same."""
    x, _ = next(iter(data.test))
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "learner.keras"
        learner.save(path)
        loaded = keras.models.load_model(path)
    is_same = np.array_equal(learner.predict(x, verbose=0), loaded.predict(x, verbose=0))
    print(f"loaded: a {type(loaded).__name__}, predicts the same: {is_same}")


def main() -> None:
    """Trains by each rule, and prints what the comparison and the loaded learner tell."""
    data = wna_tf.datasets.load("digits", batch_size=50, targets="labels")
    learners = {rule: train(rule, data) for rule in RULES}
    for rule, learner in learners.items():
        test = learner.evaluate(data.test, return_dict=True, verbose=0)
        print(f"{rule:12} test accuracy {test['accuracy']:.3f}")
    compare_updates(learners["align_prop"], data)
    save_and_load(learners["align_prop"], data)


if __name__ == "__main__":
    main()
