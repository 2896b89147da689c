"""Data sets by name: against NumPy, and the data read another way."""

import collections
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pipeline_test import one_error_line
from wna_tf import datasets
from wna_tf.datasets import memory, pipeline

STATM = pathlib.Path("/proc/self/statm")


@settings(max_examples=10)
@given(st.integers(1, 255), st.integers(2, 12), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_images_are_scaled_and_targets_centred(maximum, num_classes, channels, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, maximum + 1, [9, 3, 5, channels], dtype=np.uint8)
    labels = rng.integers(0, num_classes, 9)
    source = memory.image_source(images, labels, num_classes, maximum)
    data = pipeline.split(pipeline.Examples(source, source), batch_size=4, validation_size=0)

    x, y = (np.concatenate(parts) for parts in zip(*data.test.as_numpy_iterator(), strict=True))
    assert x.dtype == y.dtype == np.float32
    assert x.min() >= 0 and x.max() <= 1
    np.testing.assert_allclose(x, images / maximum, rtol=1e-6)
    np.testing.assert_allclose(y, np.eye(num_classes)[labels] - 1 / num_classes, atol=1e-6)
    assert data.input_shape == (3, 5, channels)
    assert data.num_classes == data.num_outputs == num_classes
    assert data.chance == {"accuracy": 1 / num_classes}


@pytest.mark.skipif(not STATM.exists(), reason="needs Linux's /proc")
def test_splits_share_the_images_in_memory():
    def megabytes():
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

    images = np.ones([200, 1024, 1024, 1], np.uint8)  # 200 MiB.
    before = megabytes()
    source = memory.image_source(images, np.zeros(200, int), 10)
    examples = pipeline.Examples(source, source)
    for dataset in pipeline.split(examples, batch_size=1, validation_size=10):
        next(iter(dataset))
    assert megabytes() - before < 300


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    data = datasets.load("digits", batch_size=50)
    assert data.sizes == {"train": 1200, "validation": 300, "test": 297}
    assert data.input_shape == (8, 8, 1) and data.num_classes == 10
    splits = [
        [
            (*(16 * image).ravel(), label.argmax())
            for x, y in split.as_numpy_iterator()
            for image, label in zip(x, y, strict=True)
        ]
        for split in data
    ]
    assert sorted(row for split in splits for row in split) == sorted(zip_rows(images, labels))
    for split in splits:  # In an order of chance, no digit is rare.
        assert min(collections.Counter(row[-1] for row in split).values()) > 0.05 * len(split)
    for _, y in data.validation:
        np.testing.assert_allclose(tf.reduce_sum(y, -1), 0, atol=1e-6)


def zip_rows(images, labels):
    return [(*image, label) for image, label in zip(images, labels, strict=True)]


def test_data_may_be_loaded_within_the_scope_of_a_strategy(mirrored):
    outside = datasets.load("digits", batch_size=100, seed=3)
    with mirrored.scope():
        inside = datasets.load("digits", batch_size=100, seed=3)
    for (a, _), (b, _) in zip(outside.train.take(2), inside.train.take(2), strict=True):
        np.testing.assert_array_equal(a, b)


def test_load_passes_every_argument_on():
    train, validation, test = data = datasets.load(
        "digits", batch_size=100, validation_size=50, data_limit=45, seed=3
    )
    assert data.batch_size == 5 and data.sizes == {"train": 45, "validation": 50, "test": 297}
    assert (len(train), len(validation), len(test)) == (9, 10, 60)
    assert datasets.load("digits", validation_size=0).validation is None
    orders = [
        np.concatenate([y for _, y in datasets.load("digits", seed=seed).train]) for seed in (3, 4)
    ]
    assert (orders[0] != orders[1]).any()


def test_targets_have_the_form_that_is_asked_for():
    own, centred, one_hot, labels = (
        datasets.load("digits", batch_size=50, data_limit=120, seed=3, targets=form)
        for form in (None, "centred", "one_hot", "labels")
    )
    for data in (own, centred, one_hot, labels):
        assert (data.num_classes, data.num_outputs, data.output_shape) == (10, 10, (10,))
        assert data.chance == {"accuracy": 0.1}
    for parts in zip(own, centred, one_hot, labels, strict=True):
        for batches in zip(*parts, strict=True):
            (x, y), *others = batches
            for other, _ in others:
                np.testing.assert_array_equal(other, x)
            _, again, hot, classes = (some for _, some in batches)
            assert classes.dtype == tf.int32 and classes.shape == x.shape[:1]
            np.testing.assert_array_equal(again, y)
            np.testing.assert_array_equal(hot, np.eye(10)[classes])
            np.testing.assert_allclose(y, hot - 0.1, atol=1e-7)


@pytest.mark.parametrize(
    "name, targets, message",
    [
        ("digits", "logits", "Expected targets to be centred, one_hot, labels. Received: "),
        ("add", "one_hot", "Expected targets to be None where they are not classes. Received: "),
    ],
)
def test_forms_that_there_are_not_are_refused(name, targets, message):
    with pytest.raises(ValueError) as error:
        datasets.load(name, targets=targets)
    assert one_error_line(error) == f"{message}targets={targets!r}"


def test_it_is_known_which_targets_are_classes():
    numbers = [name for name in datasets.names() if not datasets.has_classes(name)]
    assert numbers == ["add", "teacher"]
    for name in ("digits", *numbers):
        assert bool(datasets.load(name, batch_size=10).num_classes) == datasets.has_classes(name)


def test_names_are_sorted_and_an_unknown_one_is_refused():
    names = ("add", "cifar10", "digits", "image_folder", "imagenet", "kmnist", "teacher")
    assert datasets.names() == names
    with pytest.raises(ValueError) as error:
        datasets.load("mnist")
    assert one_error_line(error) == (
        f"Expected a data set, one of {', '.join(names)}, or tfds:NAME of TensorFlow Datasets. "
        "Received: dataset='mnist'"
    )


@pytest.mark.parametrize("name", ["digits", "kmnist", "imagenet"])
def test_data_dir_must_be_a_directory(name, tmp_path):
    (tmp_path / "file").touch()
    for wrong in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(FileNotFoundError) as error:
            datasets.load(name, data_dir=wrong)
        assert str(wrong) in one_error_line(error)


def test_import_leaves_the_libraries_of_the_data_alone():
    # Keras imports scikit-learn itself, though not its data sets.
    code = (
        "import sys, wna_tf.datasets;"
        "assert not {'sklearn.datasets', 'tensorflow_datasets'} & set(sys.modules)"
    )
    root = pathlib.Path(__file__).parents[1]
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True)


def test_files_count_for_data_sets_of_files_alone(tmp_path):
    folder = tmp_path / "train" / "cats"
    folder.mkdir(parents=True)
    (folder / "one.png").touch()
    assert datasets.training_size("digits", tmp_path) == datasets.training_size("digits")
    assert datasets.training_size("image_folder", tmp_path) == 1


def test_a_validation_set_leaves_examples_to_train_on(tmp_path):
    folder = tmp_path / "train" / "cats"
    folder.mkdir(parents=True)
    (folder / "one.png").touch()
    with pytest.raises(ValueError, match=r"validation_size .* from 0 to 0\. Received: .*=1"):
        datasets.training_size("image_folder", tmp_path, validation_size=1)
