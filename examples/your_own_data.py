"""Data of one's own: arrays, a data set with a name, numbers as targets, and folders of images."""

import pathlib
import tempfile

import keras
import numpy as np
from sklearn import datasets as sklearn_datasets

import wna_tf

EPOCHS = 5


def load_tumours() -> tuple[np.ndarray, np.ndarray]:
    """Returns 569 tumours, shuffled: 30 measurements, standardized, and malignant 0 or benign 1."""
    x, y = sklearn_datasets.load_breast_cancer(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    return ((x - x.mean(0)) / x.std(0))[order].astype("float32"), y[order]


x, y = load_tumours()
tumours = wna_tf.datasets.from_arrays(
    (x[:469], y[:469]), (x[469:], y[469:]), validation_size=69, class_names=("malignant", "benign")
)
wna_tf.datasets.register("tumours", tumours)


def make_learner(inputs: int, outputs: int, loss: keras.losses.Loss | str) -> wna_tf.Learner:
    """Returns a learner of a small network, the same one every time."""
    keras.utils.set_random_seed(0)
    hidden = keras.layers.Dense(64, activation="relu")
    network = keras.Sequential([keras.Input((inputs,)), hidden, keras.layers.Dense(outputs)])
    learner = wna_tf.Learner(network, rule="align_prop")
    metrics = ["accuracy"] if outputs > 1 else ["mae"]
    learner.compile(keras.optimizers.SGD(0.1), loss=loss, metrics=metrics)
    return learner


def train_on_arrays() -> None:
    """Trains on the arrays themselves, as Keras does: labels, and a loss that takes labels."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner = make_learner(30, 2, loss)
    learner.fit(x[:469], y[:469], batch_size=50, epochs=EPOCHS, verbose=0)
    result = learner.evaluate(x[469:], y[469:], return_dict=True, verbose=0)
    print(f"{'arrays':16} test accuracy {result['accuracy']:.3f}")


def train_by_name() -> None:
    """Trains on the registered data set, split and batched, with two forms of targets."""
    losses = {
        "centred": "mse",
        "labels": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    }
    for targets, loss in losses.items():
        train, validation, test = wna_tf.datasets.load("tumours", batch_size=50, targets=targets)
        _, first = next(iter(validation))
        learner = make_learner(30, 2, loss)
        learner.fit(train, validation_data=validation, epochs=EPOCHS, shuffle=False, verbose=0)
        result = learner.evaluate(test, return_dict=True, verbose=0)
        print(f"{targets:16} test accuracy {result['accuracy']:.3f}, first target {first[0]}")


def predict_numbers() -> None:
    """Trains on targets that are numbers, [size, outputs]: how far diabetes goes in a year."""
    patients, progress = sklearn_datasets.load_diabetes(return_X_y=True)
    patients /= patients.std(0)
    progress = (progress[:, None] - progress.mean()) / progress.std()
    diabetes = wna_tf.datasets.from_arrays(
        (patients[:342], progress[:342]), (patients[342:], progress[342:])
    )
    wna_tf.datasets.register("diabetes", diabetes)
    train, _, test = wna_tf.datasets.load("diabetes", batch_size=50)
    learner = make_learner(10, 1, "mse")
    learner.fit(train, epochs=EPOCHS, shuffle=False, verbose=0)
    result = learner.evaluate(test, return_dict=True, verbose=0)
    guess = abs(progress[342:] - progress[:342].mean()).mean()
    print(f"{'numbers':16} test error {result['mae']:.2f}, of a guess of the mean {guess:.2f}")


def read_folders() -> None:
    """Writes some digits as files, a folder for each class, and reads them as a data set."""
    digits = sklearn_datasets.load_digits()
    with tempfile.TemporaryDirectory() as directory:
        for index, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
            if index < 300:
                part = "train" if index < 200 else "val"
                folder = pathlib.Path(directory, part, str(label))
                folder.mkdir(parents=True, exist_ok=True)
                keras.utils.save_img(folder / f"{index}.png", image[..., None])
        train, validation, _ = wna_tf.datasets.load("image_folder", 50, data_dir=directory)
        images, targets = next(iter(train))
        print(f"{'folders':16} {len(train)} and {len(validation)} batches", end="")
        print(f" of images {list(images.shape)}, targets {list(targets.shape)}")


def main() -> None:
    """Trains on data of each kind, and prints what came of it."""
    train_on_arrays()
    train_by_name()
    predict_numbers()
    read_folders()


if __name__ == "__main__":
    main()
