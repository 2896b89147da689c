"""Splits, batches and loading: against index arithmetic, NumPy, and the data read another way."""

import collections
import itertools
import math
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from wna_tf import datasets
from wna_tf.datasets import pipeline

PREPARED = pathlib.Path(__file__).parents[2] / "shared" / "data" / "tfds"
STATM = pathlib.Path("/proc/self/statm")
needs_prepared = pytest.mark.skipif(not PREPARED.is_dir(), reason="needs shared/data/tfds")


def positions_source(size, offset=0):
    """A source whose inputs are the positions themselves, so that batches tell what they hold."""

    def fetch(positions, _):
        x = tf.cast(positions[:, None] + offset, tf.float32)
        return x, 2 * x

    return pipeline.Source(size, fetch)


def split(n=60, batch_size=7, validation_size=10, **kwargs):
    examples = pipeline.Examples(positions_source(n), positions_source(13, offset=1000))
    return pipeline.split(examples, batch_size, validation_size, **kwargs)


def inputs(dataset):
    """One pass over a dataset, its inputs in one flat list."""
    return np.concatenate([x.numpy().ravel() for x, _ in dataset]).tolist()


def one_error_line(error):
    message = str(error.value)
    assert message.startswith("Expected ") and "Received: " in message and "\n" not in message
    return message


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_split_is_first_n_with_ceil_many_batches(draws):
    n = draws.draw(st.integers(2, 80), "n")
    validation_size = draws.draw(st.integers(0, n - 1), "validation_size")
    remaining = n - validation_size
    batch_size = draws.draw(st.integers(1, remaining), "batch_size")
    data_limit = draws.draw(st.none() | st.integers(1, remaining), "data_limit")
    data = split(n, batch_size, validation_size, data_limit=data_limit)

    n_train = data_limit or remaining
    positions = {
        "train": list(range(validation_size, validation_size + n_train)),
        "validation": list(range(validation_size)),
        "test": list(range(1000, 1013)),
    }
    batches = {
        name: [x.ravel().tolist() for x, _ in dataset.as_numpy_iterator()]
        for name, dataset in zip(positions, data, strict=True)
        if dataset is not None
    }
    assert ("validation" in batches) == (validation_size > 0)
    for name, some in batches.items():
        held = [position for batch in some for position in batch]
        assert (sorted(held) if name == "train" else held) == positions[name]
    assert data.sizes == {name: len(some) for name, some in positions.items()}

    divides = data_limit is None or data_limit % batch_size == 0
    assert data.batch_size == (batch_size if divides else math.gcd(data_limit, batch_size))
    for name, some in batches.items():
        lengths = [len(batch) for batch in some]
        expected = math.ceil(data.sizes[name] / data.batch_size)
        assert len(getattr(data, name)) == len(lengths) == expected
        assert set(lengths[:-1]) <= {data.batch_size}


def test_inputs_stay_with_their_targets():
    for dataset in split():
        for x, y in dataset:
            np.testing.assert_array_equal(y, 2 * x)


def test_epochs_differ_and_the_seed_reproduces_them():
    first, same, other = (split(seed=seed).train for seed in (5, 5, 6))
    epochs = [inputs(first) for _ in range(3)]
    assert epochs == [inputs(same) for _ in range(3)]
    assert len({tuple(epoch) for epoch in [*epochs, inputs(other)]}) == 4
    assert len({tuple(sorted(epoch)) for epoch in epochs}) == 1


def test_shuffling_is_uniform_over_the_whole_set():
    # A buffer shorter than the set would keep the last examples out of the first batch.
    batches = split(n=50, batch_size=10, validation_size=0).batches_from(0).take(5 * 200)
    means = [np.mean(x) for x, _ in batches][::5]
    # The mean of 10 of 0 .. 49 without replacement has variance (50 + 1) (50 - 10) / (12 * 10).
    assert abs(np.mean(means) - 24.5) < 5 * np.sqrt(51 * 40 / 120 / 200)


def test_every_order_is_as_likely():
    # All 120 orders of 5 examples, and so all that is uniform: chi-squared with 119 degrees.
    train = split(n=5, batch_size=5, validation_size=0, seed=7).batches_from(0)
    orders = [tuple(x.ravel()) for x, _ in train.take(2400).as_numpy_iterator()]
    counts = collections.Counter(orders)
    assert sum((counts[order] - 20) ** 2 / 20 for order in itertools.permutations(range(5))) < 190


def test_a_batch_is_a_function_of_seed_and_step():
    def batches(dataset):
        return [x.ravel().tolist() for x, _ in dataset.as_numpy_iterator()]

    data = split(n=33, seed=5)  # Batches of 7, 7, 7 and 2.
    passes = [batch for _ in range(3) for batch in batches(data.train)]
    assert data.steps == 4 and len(passes) == 12
    for step in (0, 3, 4, 10):
        tf.random.set_seed(step)
        again = split(n=33, seed=5).batches_from(step)
        assert again.cardinality() == tf.data.INFINITE_CARDINALITY
        assert batches(again.take(12 - step)) == passes[step:]
    for step in (-1, 1.5, True, None):
        with pytest.raises(ValueError, match=r"Expected step .* Received: step="):
            data.batches_from(step)


def test_augmentation_is_a_function_of_seed_and_step():
    def fetch(positions, seeds):
        seeds = tf.zeros_like(positions) if seeds is None else seeds
        return tf.cast(positions, tf.float32)[:, None], seeds[:, None]

    source = pipeline.Source(20, fetch)
    data = pipeline.split(pipeline.Examples(source, source), 6, 0, seed=4)
    first = [y.ravel().tolist() for _, y in data.batches_from(0).take(9).as_numpy_iterator()]
    later = [y.ravel().tolist() for _, y in data.batches_from(5).take(4).as_numpy_iterator()]
    assert later == first[5:]


@pytest.mark.parametrize("batch_size", [6, 5])
def test_replicas_share_each_batch_across_the_ends_of_epochs(batch_size, mirrored):
    data = split(n=32, batch_size=batch_size)
    distributed = iter(mirrored.experimental_distribute_dataset(data.batches_from(2)))
    for x, _ in data.batches_from(2).take(10):
        parts = mirrored.experimental_local_results(next(distributed)[0])
        np.testing.assert_array_equal(tf.concat(parts, 0), x)
        assert [len(part) for part in parts] == [(len(x) + 1) // 2, len(x) // 2]


@pytest.mark.parametrize("workers, replicas", [(2, 1), (2, 2), (3, 1)])
def test_workers_share_each_batch(workers, replicas):
    # What MultiWorkerMirroredStrategy does to a data set, without the other processes.
    from tensorflow.python.data.experimental.ops import distribute

    data = split(n=33)

    def of_worker(worker):
        parts = distribute._LegacyRebatchDataset(data.batches_from(2), workers * replicas)
        return iter(distribute._AutoShardDataset(parts, workers, worker, workers * replicas))

    assert distribute.compute_batch_size(data.train) == -1  # Or it would batch anew.
    parts = [of_worker(worker) for worker in range(workers)]
    for x, _ in data.batches_from(2).take(10):
        found = [next(part)[0] for _ in range(replicas) for part in parts]
        assert sorted(tf.concat(found, 0).numpy().ravel()) == sorted(x.numpy().ravel())


def test_official_validation_examples_serve_unless_others_are_set_aside():
    official = pipeline.Examples(
        positions_source(30), positions_source(5, 1000), positions_source(4, 2000)
    )
    data = pipeline.split(official, batch_size=10, validation_size=0)
    assert inputs(data.validation) == [2000, 2001, 2002, 2003]
    assert data.sizes == {"train": 30, "validation": 4, "test": 5}
    data = pipeline.split(official, batch_size=10, validation_size=3)
    assert inputs(data.validation) == [0, 1, 2]
    assert data.sizes == {"train": 27, "validation": 3, "test": 5}


def test_seeds_are_new_for_every_example_and_pass_and_only_for_training():
    asked = []

    def fetch(positions, seeds):
        asked.append(seeds)
        seeds = tf.zeros_like(positions) if seeds is None else seeds
        return tf.cast(positions, tf.float32)[:, None], tf.cast(seeds, tf.float32)[:, None]

    def targets(dataset):
        return np.concatenate([y for _, y in dataset]).ravel().tolist()

    source = pipeline.Source(50, fetch)
    data, same, other = (
        pipeline.split(pipeline.Examples(source, source), 20, 10, seed=seed) for seed in (5, 5, 6)
    )
    assert asked[1] is asked[2] is None
    assert set(targets(data.validation) + targets(data.test)) == {0}
    passes = [targets(data.train) for _ in range(2)]
    assert [targets(same.train) for _ in range(2)] == passes
    assert len({*passes[0], *passes[1], *targets(other.train)}) == 3 * 40


def test_shapes_and_chance_follow_the_source_not_images():
    # A sequence task: inputs [batch, T, 1] and targets [batch, T, 2].
    def fetch(positions, _):
        y = tf.tile(tf.cast(positions, tf.float32)[:, None, None], [1, 100, 2])
        return y[..., :1], y

    source = pipeline.Source(30, fetch)
    examples = pipeline.Examples(source, source, chance_loss=lambda y: float(np.max(y)))
    data = pipeline.split(examples, batch_size=10, validation_size=5, data_limit=10)
    assert data.input_shape == (100, 1) and data.num_outputs == 2 and data.num_classes is None
    assert data.chance == {"train_loss": 14, "validation_loss": 4, "test_loss": 29}
    data = pipeline.split(examples, batch_size=10, validation_size=0)
    assert data.chance == {"train_loss": 29, "test_loss": 29}


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"batch_size": 301},
        {"batch_size": 10.0},
        {"batch_size": True},
        {"validation_size": -1},
        {"validation_size": 300},
        {"validation_size": "10"},
        {"data_limit": 0},
        {"data_limit": 301},
        {"data_limit": 7.5},
        {"seed": 1.5},
        {"seed": -1},
        {"seed": None},
        {"image_size": 0},
        {"image_size": 2.5},
        {"skip_corrupt": 1},
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError) as error:
        datasets.load("add", **wrong)
    message = one_error_line(error)
    assert message.startswith(f"Expected {name} ")
    assert message.endswith(f"Received: {name}={value!r}")


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 255), st.integers(2, 12), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_images_are_scaled_and_targets_centred(maximum, num_classes, channels, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, maximum + 1, [9, 3, 5, channels], dtype=np.uint8)
    labels = rng.integers(0, num_classes, 9)
    source = pipeline.image_source(images, labels, num_classes, maximum)
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
    source = pipeline.image_source(images, np.zeros(200, int), 10)
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


def test_names_are_sorted_and_an_unknown_one_is_refused():
    names = ["add", "cifar10", "digits", "image_folder", "imagenet", "kmnist", "teacher"]
    assert datasets.names() == names
    with pytest.raises(ValueError) as error:
        datasets.load("mnist")
    message = f"Expected dataset to be one of {', '.join(names)}. Received: dataset='mnist'"
    assert one_error_line(error) == message


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


# What follows reads, or fails to read, prepared files of TensorFlow Datasets.


@needs_prepared
@pytest.mark.parametrize("name, shape", [("cifar10", (32, 32, 3)), ("kmnist", (28, 28, 1))])
def test_prepared_sets_are_those_of_tfds(name, shape, capfd):
    data = datasets.load(name, data_dir=PREPARED)
    assert capfd.readouterr().out == ""
    assert data.sizes == {"train": 3000, "validation": 5000, "test": 2000}
    assert data.input_shape == shape and data.num_classes == 10

    import tensorflow_datasets as tfds

    for ours, official in ((data.validation, "train[:5000]"), (data.test, "test")):
        reference = tfds.load(
            name, split=official, data_dir=PREPARED, download=False, as_supervised=True
        ).batch(100)
        assert len(ours) == len(reference)
        for (x, y), (images, labels) in zip(ours, reference, strict=True):
            np.testing.assert_allclose(x, images / 255, rtol=1e-6)
            np.testing.assert_array_equal(np.argmax(y, -1), labels)

    def labels_seen(train):
        return np.bincount(np.concatenate([np.argmax(y, -1) for _, y in train]), minlength=10)

    rest = tfds.load(name, split="train[5000:]", data_dir=PREPARED, download=False)
    expected = np.bincount([example["label"] for example in rest.as_numpy_iterator()])
    np.testing.assert_array_equal(labels_seen(data.train), expected)


@pytest.fixture
def tfds_images():
    from wna_tf.datasets import tfds_images

    return tfds_images


@pytest.mark.parametrize("name", ["cifar10", "kmnist"])
def test_missing_data_without_network_is_one_line_at_once(name, tmp_path, tfds_images, monkeypatch):
    probed = []
    monkeypatch.setattr(tfds_images, "_answers", lambda *address: probed.append(address))
    start = time.monotonic()
    with pytest.raises(FileNotFoundError) as error:
        datasets.load(name, data_dir=tmp_path)
    assert time.monotonic() - start < 10
    hosts = {"cifar10": ("www.cs.toronto.edu", 443), "kmnist": ("codh.rois.ac.jp", 80)}
    assert probed == [hosts[name]]
    message = one_error_line(error)
    assert str(tmp_path / name) in message and hosts[name][0] in message
    assert not any(tmp_path.iterdir())


def refuse(*_, **__):
    raise ConnectionRefusedError


@pytest.mark.parametrize(
    "connect, answers",
    [
        (lambda *_, **__: socket.socket(), True),
        (refuse, False),
        (lambda *_, **__: time.sleep(5), False),  # A name server that does not answer.
    ],
    ids=["open", "refused", "hanging"],
)
def test_probe_takes_its_time_out_at_most(connect, answers, tfds_images, monkeypatch):
    monkeypatch.setattr(tfds_images, "_PROBE_SECONDS", 0.5)
    monkeypatch.setattr(socket, "create_connection", connect)
    start = time.monotonic()
    assert tfds_images._answers("host", 80) is answers
    assert time.monotonic() - start < 2


@pytest.fixture
def online(tfds_images, monkeypatch):
    """Returns a function that puts another in the place of TFDS's download."""
    monkeypatch.setattr(tfds_images, "_answers", lambda *_: True)
    builder = type(tfds_images.tfds.builder("kmnist"))
    return lambda download: monkeypatch.setattr(builder, "download_and_prepare", download)


@needs_prepared
def test_missing_data_is_downloaded(tmp_path, online, capsys):
    def download(builder, download_config):
        print("Dataset kmnist downloaded and prepared")
        shutil.copytree(PREPARED / "kmnist", tmp_path / "kmnist")
        type(builder).__init__(builder, data_dir=tmp_path)  # Metadata, as after a real download.

    online(download)
    assert datasets.load("kmnist", data_dir=tmp_path).sizes["test"] == 2000
    assert capsys.readouterr().out == ""


def test_failed_download_is_one_line(tmp_path, online):
    def download(builder, download_config):
        raise ConnectionError("cut\noff")

    online(download)
    with pytest.raises(ValueError) as error:
        datasets.load("kmnist", data_dir=tmp_path)
    message = one_error_line(error)
    assert message.startswith("Expected to download kmnist from codh.rois.ac.jp")
    assert message.endswith("Received: ConnectionError: cut off")


def halve(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


@needs_prepared
@pytest.mark.parametrize(
    "file, damage",
    [
        ("kmnist-train.tfrecord-00000-of-00001", halve),
        ("kmnist-test.tfrecord-00000-of-00001", lambda path: path.write_bytes(b"")),
        ("kmnist-test.tfrecord-00000-of-00001", lambda path: path.write_bytes(b"noise" * 1000)),
        ("kmnist-test.tfrecord-00000-of-00001", lambda path: path.unlink()),
        ("dataset_info.json", halve),
    ],
    ids=["truncated", "empty", "noise", "missing", "metadata"],
)
def test_damaged_files_are_one_line(file, damage, tmp_path):
    shutil.copytree(PREPARED / "kmnist", tmp_path / "kmnist")
    damage(next(tmp_path.glob(f"kmnist/*/{file}")))
    with pytest.raises(ValueError) as error:
        datasets.load("kmnist", data_dir=tmp_path)
    message = one_error_line(error)
    assert "kmnist" in message and str(tmp_path) in message and len(message) < 400
    assert error.value.__cause__ is not None
