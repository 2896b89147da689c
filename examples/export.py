"""Keeps and exports what a learner has learned, and predicts with it without this package."""

import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf

import wna_tf
from wna_tf import experiments

WIDTH, EPOCHS = 64, 15


def train(batches: tf.data.Dataset) -> wna_tf.Learner:
    """Returns a learner of a rule that keeps weights of its own."""
    keras.utils.set_random_seed(0)
    network = wna_tf.models.mlp(input_shape=(8, 8, 1), num_classes=10, width=WIDTH)
    learner = wna_tf.Learner(network, rule="align_prop")
    learner.compile(keras.optimizers.SGD(2.0), loss="mse", metrics=["accuracy"])
    learner.fit(batches, epochs=EPOCHS, shuffle=False, verbose=0)
    return learner


def keep(learner: wna_tf.Learner, path: pathlib.Path, x: np.ndarray, y: np.ndarray) -> None:
    """Saves and loads all of a learner, and prints whether both would learn the same."""
    learner.save(path)
    loaded = keras.models.load_model(path)
    updates = zip(learner.updates(x, y), loaded.updates(x, y), strict=True)
    is_same = all(np.array_equal(ours, theirs) for ours, theirs in updates)
    tell(path.name, f"{len(loaded.variables)} variables, makes the same updates: {is_same}")


def serve(directory: pathlib.Path, x: np.ndarray) -> np.ndarray:
    """Returns what a SavedModel predicts, by TensorFlow alone."""
    serve = tf.saved_model.load(directory).signatures["serving_default"]
    return serve(images=tf.constant(x))["logits"].numpy()


def convert(directory: pathlib.Path, optimizations: list) -> bytes:
    """Returns a SavedModel in the format of TensorFlow Lite."""
    converter = tf.lite.TFLiteConverter.from_saved_model(str(directory))
    converter.optimizations = optimizations
    return converter.convert()


def serve_lite(model: bytes, x: np.ndarray) -> np.ndarray:
    """Returns what a model of TensorFlow Lite predicts, one image at a time."""
    serve = tf.lite.Interpreter(model_content=model).get_signature_runner("serving_default")
    return np.concatenate([serve(images=image[np.newaxis])["logits"] for image in x])


def tell(name: str, text: str) -> None:
    """Prints a line about a form of the learner."""
    print(f"{name:26} {text}")


def compare(name: str, outputs: np.ndarray, expected: np.ndarray, y: np.ndarray) -> None:
    """Prints how good outputs are, and how far from those of the learner."""
    accuracy = np.mean(outputs.argmax(1) == y.argmax(1))
    difference = np.abs(outputs - expected).max() / np.abs(expected).max()
    tell(name, f"test accuracy {accuracy:.3f}, outputs differ by {difference:.3f} of the largest")


def main() -> None:
    """Trains, and compares each form with the learner."""
    batches, _, test = wna_tf.datasets.load("digits", batch_size=50)
    x, y = (np.concatenate(part) for part in zip(*test.as_numpy_iterator(), strict=True))
    learner = train(batches)
    expected = learner.predict(x, verbose=0)
    compare("learner", expected, expected, y)
    with tempfile.TemporaryDirectory() as parent:
        folder = pathlib.Path(parent)
        keep(learner, folder / "learner.keras", x, y)
        directory = folder / "saved_model"
        learner.export(directory)
        compare("SavedModel", serve(directory, x), expected, y)
        tell("", f"{len(tf.saved_model.load(directory).variables)} variables, the network's alone")
        for name, options in (("", []), (", quantized", [tf.lite.Optimize.DEFAULT])):
            model = convert(directory, options)
            compare(f"TensorFlow Lite{name}", serve_lite(model, x), expected, y)
            tell("", f"{len(model)} bytes")
        (evaluation,) = experiments.evaluate(directory, given={"dataset": "digits"})
        accuracy = evaluation.numbers["accuracy"]
        tell("evaluated", f"test accuracy {accuracy:.3f}, in {evaluation.directory.name}:")
        tell("", ", ".join(sorted(path.name for path in evaluation.directory.iterdir())))


if __name__ == "__main__":
    main()
