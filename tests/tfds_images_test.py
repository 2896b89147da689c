"""Prepared files of TensorFlow Datasets: read, missing, damaged."""

import pathlib
import shutil
import socket
import time

import numpy as np
import pytest

from tests.pipeline_test import one_error_line
from wna_tf import datasets

PREPARED = pathlib.Path(__file__).parents[2] / "shared" / "data" / "tfds"
needs_prepared = pytest.mark.skipif(not PREPARED.is_dir(), reason="needs shared/data/tfds")


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
