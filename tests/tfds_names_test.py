"""Any image classification set of TensorFlow Datasets, by its name: small ones made here."""

import contextlib
import csv
import io
import re

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

import wna_tf
from tests.command import contents
from tests.pipeline_test import one_error_line
from tests.tfds_images_test import PREPARED, needs_prepared
from wna_tf import datasets
from wna_tf.experiments import build, evaluation
from wna_tf.experiments.config import Config

features = tfds.features
NAMES = ("bulb", "cup", "dice")


def write(directory, name, sizes, shape=(6, 5, 1), config=None, dtype="uint8", **others):
    """Prepares a data set as TFDS does, and returns its images and labels by split."""
    rng = np.random.default_rng(0)
    examples = {
        split: [
            {
                # Of every other size where the size is open.
                "image": rng.integers(
                    0, 256, [side or 4 + 2 * (index % 2) for side in shape], dtype
                ),
                "label": index % len(NAMES),
                "id": str(index),
            }
            for index in range(size)
        ]
        for split, size in sizes.items()
    }
    columns = {
        "image": features.Image(shape=shape, dtype=np.dtype(dtype).type),
        "label": features.ClassLabel(names=NAMES),
        "id": features.Text(),
    } | others
    with contextlib.redirect_stdout(io.StringIO()):
        tfds.dataset_builders.store_as_tfds_dataset(
            name,
            "1.0.0",
            features.FeaturesDict(columns),
            {split: list(enumerate(some)) for split, some in examples.items()},
            config=config,
            data_dir=directory,
            disable_shuffling=True,
        )
    return {
        split: ([some["image"] for some in part], [some["label"] for some in part])
        for split, part in examples.items()
    }


def read(batches):
    """The images, in bytes, and the labels of one pass."""
    x, y = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return np.round(255 * x).astype(int), y.argmax(-1)


def assert_holds(batches, images, labels):
    x, y = read(batches)
    np.testing.assert_array_equal(x, images)
    np.testing.assert_array_equal(y, labels)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("tfds")


@pytest.fixture(scope="module")
def small(place):
    return write(place, "small", {"train": 60, "test": 21})


@pytest.mark.parametrize("shape, config", [((6, 5, 1), "grey"), ((4, 4, 3), "colour")])
def test_shapes_classes_and_splits_are_those_of_its_metadata(shape, config, place):
    own = write(place, "pictures", {"train": 60, "test": 21}, shape, config)
    name = f"tfds:pictures/{config}"
    data = datasets.load(name, batch_size=10, data_dir=place)
    assert data.sizes == {"train": 54, "validation": 6, "test": 21}
    assert (data.input_shape, data.num_classes, data.class_names) == (shape, 3, NAMES)
    assert data.train.element_spec[0].dtype == tf.float32
    assert_holds(data.test, *own["test"])
    images, labels = own["train"]
    assert_holds(data.validation, images[:6], labels[:6])
    assert sorted(read(data.train)[1]) == sorted(labels[6:])
    assert datasets.shapes(name, data_dir=place) == (shape, (3,))
    assert datasets.training_size(name, place) == 54
    assert datasets.has_classes(name) and not datasets.is_generated(name)
    again = datasets.load(f"{name}:1.0.0", batch_size=10, data_dir=place)
    assert_holds(again.test, *own["test"])


def test_official_validation_examples_are_used(place):
    own = write(place, "official", {"train": 30, "validation": 9, "test": 6})
    data = datasets.load("tfds:official", batch_size=10, data_dir=place)
    assert data.sizes == {"train": 30, "validation": 9, "test": 6}
    assert_holds(data.validation, *own["validation"])
    assert_holds(data.test, *own["test"])


def test_without_test_examples_those_for_validation_are_tested_on(place):
    own = write(place, "untested", {"train": 30, "validation": 9})
    data = datasets.load("tfds:untested", batch_size=10, data_dir=place)
    assert data.sizes == {"train": 30, "validation": 9, "test": 9}
    assert_holds(data.test, *own["validation"])


def test_of_training_examples_alone_every_tenth_is_tested_on(place):
    images, labels = write(place, "alone", {"train": 65})["train"]
    data = datasets.load("tfds:alone", batch_size=10, data_dir=place)
    assert data.sizes == {"train": 54, "validation": 5, "test": 6}
    assert_holds(data.test, images[9::10], labels[9::10])
    rest = [index for index in range(65) if index % 10 != 9]
    assert_holds(data.validation, *([some[i] for i in rest[:5]] for some in (images, labels)))
    assert datasets.training_size("tfds:alone", place) == 54


def test_images_of_several_sizes_need_one(place):
    images, labels = write(place, "several", {"train": 30, "test": 6}, (None, None, 3))["test"]
    with pytest.raises(ValueError) as error:
        datasets.load("tfds:several", batch_size=10, data_dir=place)
    assert one_error_line(error) == (
        "Expected image_size for the images of several, whose sizes differ. "
        "Received: image_size=None"
    )
    data = datasets.load("tfds:several", batch_size=10, data_dir=place, image_size=4)
    assert data.input_shape == (4, 4, 3)
    resized = [np.round(tf.image.resize(some, (4, 4), antialias=True)) for some in images]
    assert_holds(data.test, resized, labels)
    assert datasets.shapes("tfds:several", 4, place) == ((4, 4, 3), (3,))


def test_what_is_no_image_classification_is_told(place):
    write(place, "numbers", {"train": 30}, label=features.Scalar(np.int64))
    write(place, "deep", {"train": 3}, dtype="uint16")
    for name, told in (("numbers", "label (Scalar)"), ("deep", "image (Image)")):
        with pytest.raises(ValueError) as error:
            datasets.load(f"tfds:{name}", data_dir=place)
        message = one_error_line(error)
        assert message.startswith("Expected a data set of images (of bytes) that have a class each")
        assert f"Received: {name}, with " in message and told in message


def test_a_set_without_examples_to_train_on_is_told(place):
    write(place, "tests", {"test": 6})
    with pytest.raises(ValueError) as error:
        datasets.load("tfds:tests", data_dir=place)
    assert one_error_line(error).endswith("Received: tests, with test")


MISTAKES = {
    "unknown": ("tfds:fashin_mnist", r"such as fashion_mnist.*\. Received: fashin_mnist$"),
    "nothing": ("tfds:no_such_set", r"one that is prepared in .*\. Received: no_such_set$"),
    "configuration": ("tfds:emnist/leters", r"such as emnist/letters.* Received: emnist/leters$"),
    "version": ("tfds:kmnist:9.9.9", r"Received: .*9\.9\.9"),
    "words": ("tfds:imdb_reviews", r"have a class each\. Received: imdb_reviews, with .*Text"),
    "separators": ("tfds:../../etc", r"Expected tfds:NAME, .*Received: dataset='tfds:\.\./"),
    "network": ("tfds:huggingface:mnist", r"Expected tfds:NAME, .*Received: dataset='tfds:hugg"),
}


@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.parametrize("planned", [False, True], ids=["trained", "planned"])
def test_a_name_that_does_not_fit_ends_with_one_line(name, planned, tmp_path, command):
    dataset, message = MISTAKES[name]
    flags = [f"--dataset=digits,{dataset}", f"--data_dir={tmp_path}", "--epochs=1"]
    ended = command(*flags, f"--run_dir={tmp_path}/runs", *["--dry_run"] * planned)
    assert ended.status == 2
    (line,) = ended.splitlines()
    assert re.search(message, line), line
    assert contents(tmp_path) == set()


def test_a_set_that_is_not_there_is_one_line_at_once(tmp_path, monkeypatch):
    from wna_tf.datasets import tfds_images

    probed = []
    monkeypatch.setattr(tfds_images, "_answers", lambda *address: probed.append(address))
    for name in ("emnist/letters", "imagenet2012"):
        with pytest.raises(FileNotFoundError) as error:
            datasets.load(f"tfds:{name}", data_dir=tmp_path, image_size=8)
        message = one_error_line(error)
        assert f"Expected {name} in {tmp_path}" in message
        assert f"tensorflow_datasets.load('{name}')" in message
    assert probed == [("biometrics.nist.gov", 443)]
    assert "by hand" in message
    assert contents(tmp_path) == set()


@needs_prepared
def test_a_set_that_has_a_name_of_its_own_gives_the_same_batches():
    named, other = (
        datasets.load(name, data_dir=PREPARED, seed=3) for name in ("kmnist", "tfds:kmnist")
    )
    assert named.sizes == other.sizes and named.class_names == other.class_names
    for ours, theirs in zip(named, other, strict=True):
        for (x, y), (x2, y2) in zip(ours.take(3), theirs.take(3), strict=True):
            np.testing.assert_array_equal(x, x2)
            np.testing.assert_array_equal(y, y2)


def test_a_grid_of_data_sets_is_trained_evaluated_exported_and_reported(
    small, place, tmp_path, command
):
    write(place, "letters", {"train": 40, "test": 10}, config="big")
    runs = tmp_path / "runs"
    sets = "digits,tfds:small,tfds:letters/big"
    grid = [f"--dataset={sets}", f"--data_dir={place}", "--width=4", "--depth=1", "--rule=backprop"]
    flags = [*grid, "--epochs=1", "--batch_size=9", f"--run_dir={runs}"]
    planned = command(*flags, "--dry_run")
    assert planned.status == 0
    assert re.findall(r"new \| (\d+) ", planned.out) == ["134", "6", "4"]
    assert command(*flags).status == 0
    read = wna_tf.experiments.read_runs(runs)
    assert {run.config["dataset"] for run in read} == set(sets.split(","))
    assert all(re.fullmatch(r"[\w.+-]+", run.directory.name) for run in read)

    assert command("--mode=evaluate", f"--run_dir={runs}").status == 0
    places = {path.name for path in runs.glob("*/evaluation/*")}
    assert places == {"digits_test", "tfds_small_test", "tfds_letters_big_test"}
    (own,) = (run.directory for run in read if run.config["dataset"] == "tfds:small")
    with (own / "evaluation" / "tfds_small_test" / "confusion.csv").open(newline="") as file:
        assert next(csv.reader(file))[1:] == list(NAMES)
    assert command("--mode=export", f"--run_dir={runs}").status == 0
    (found,) = evaluation.evaluate(
        own / "saved_model",
        given={"dataset": "tfds:small", "data_dir": str(place), "batch_size": 9},
    )
    assert found.numbers["examples"] == len(small["test"][1])
    assert command("--mode=report", f"--run_dir={runs}").status == 0


def test_known_sizes_are_planned_without_any_file(tmp_path):
    config = Config(dataset="tfds:cifar10", data_dir=str(tmp_path))
    assert build.dataset(config).shapes == ((32, 32, 3), (10,))
    assert build.count_steps(config) == 4500
