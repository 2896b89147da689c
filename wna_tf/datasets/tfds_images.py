"""Labelled images prepared by TensorFlow Datasets (TFDS), read into memory."""

import contextlib
import difflib
import os
import socket
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from absl import logging

from wna_tf.datasets import memory, pipeline

_PROBE_SECONDS = 3
_VALIDATION = 5000  # Training examples set aside, unless these are more than a tenth.
_PART = 10


class _Set(NamedTuple):
    """A data set of images that have a class each.

    Attributes:
        builder: What reads it.
        image: Name of the feature that is the image.
        label: Name of the feature that is its class.
    """

    builder: tfds.core.DatasetBuilder
    image: str
    label: str

    @property
    def shape(self) -> tuple[int | None, ...]:
        """Shape of an image; None for sizes that differ."""
        return self.builder.info.features[self.image].shape

    @property
    def classes(self) -> tfds.features.ClassLabel:
        """Their number and names."""
        return self.builder.info.features[self.label]


def describe(name: str, options: pipeline.Options) -> dict[str, Any]:
    """Returns what is known of a data set without reading its examples.

    Args:
        name: Name of the data set in TFDS, with its configuration and version if it has some.
        options: `data_dir` and `image_size` count.

    Returns:
        Fields of `datasets.Dataset`. Numbers of examples are known once it is prepared.

    Raises:
        ValueError: If there is no such data set, or it is no image classification, or its images
            differ in size and there is no `image_size`.
    """
    found = _find(name, options.data_dir)
    facts: dict[str, Any] = {"shapes": (_shape(found, options), (found.classes.num_classes,))}
    splits = found.builder.info.splits
    if not splits:
        return facts
    _check_splits(found)
    sizes = {split: info.num_examples for split, info in splits.items()}
    training_size, test_size = sizes["train"], sizes.get("test", sizes.get("validation"))
    if test_size is None:
        test_size = training_size // _PART
        training_size -= test_size
    is_official = "validation" in sizes
    return facts | {
        "training_size": training_size,
        "validation_size": 0 if is_official else min(_VALIDATION, training_size // _PART),
        "test_size": test_size,
    }


def load(name: str, options: pipeline.Options) -> pipeline.Examples:
    """Reads the official examples into memory, after a download where they are missing.

    A set without test examples is tested on those for validation, too; where there are neither,
    on every tenth of the training examples, which then are none of those trained on.

    Args:
        name: Name of the data set in TFDS, with its configuration and version if it has some.
        options: `data_dir` is the directory of prepared data sets; None for the default of TFDS,
            `$TFDS_DATA_DIR` or else `~/tensorflow_datasets`. Images are resized to `image_size`,
            if it is given (bilinear, with antialiasing, rounded to integers again).

    Returns:
        Examples in the order of the files, `x` [batch, height, width, channels] in [0, 1],
        `y` [batch, num_classes].

    Raises:
        FileNotFoundError: If the data set is not prepared there and its host does not answer.
        ValueError: If there is no such data set, or it is no image classification; if its images
            differ in size and there is no `image_size`; if its files cannot be read, or a download
            fails.
    """
    found = _find(name, options.data_dir)
    builder, shape = found.builder, _shape(found, options)
    with _tfds_errors(_metadata(name, options.data_dir)):
        prepared = builder.is_prepared()
    if not prepared:
        _download(builder, name)
    _check_splits(found)
    with _tfds_errors(f"readable files of {name} in {builder.data_dir}"):
        parts = {
            split: _read(found, split, shape)
            for split in ("train", "validation", "test")
            if split in builder.info.splits
        }
        if list(parts) == ["train"]:
            images, labels = parts["train"]
            # Every tenth: examples of all classes, even if the files have one after the other.
            is_test = np.arange(len(labels)) % _PART == _PART - 1
            parts = {"train": (images[~is_test], labels[~is_test])}
            parts["test"] = images[is_test], labels[is_test]
        sources = {
            split: memory.image_source(images, labels, found.classes.num_classes)
            for split, (images, labels) in parts.items()
        }
    return pipeline.Examples(
        training=sources["train"],
        validation=sources.get("validation"),
        test=sources.get("test") or sources["validation"],
        class_names=tuple(found.classes.names),
    )


def _find(name: str, data_dir: os.PathLike | None) -> _Set:
    """Returns a data set of which nothing is read.

    Raises:
        ValueError: If there is none, its metadata cannot be read, or it is none of images that have
            a class each.
    """
    own, _, _ = name.partition(":")
    base, _, config = own.partition("/")
    with _tfds_errors(_metadata(name, data_dir)):
        known = tfds.list_builders(with_community_datasets=False)
        configs = tfds.builder_cls(base).builder_configs if base in known else {}
        try:
            builder = tfds.builder(name, data_dir=data_dir)
        except tfds.core.DatasetNotFoundError:
            builder = None
        except ValueError:
            if not config or config in configs:
                raise
            builder, known = None, [f"{base}/{some}" for some in configs]
    if builder is None:
        alike = difflib.get_close_matches(own, known)
        raise ValueError(
            "Expected a data set that TensorFlow Datasets knows, or one that is prepared in "
            f"{data_dir or 'its default directory'}{', such as ' * bool(alike)}"
            f"{', '.join(alike)}. Received: {name}"
        )
    kinds = builder.info.features
    features = kinds if isinstance(kinds, tfds.features.FeaturesDict) else {}
    images = [key for key, feature in features.items() if _is_image(feature)]
    labels = [key for key, some in features.items() if isinstance(some, tfds.features.ClassLabel)]
    pairs = [(image, label) for image in images for label in labels]
    told = builder.info.supervised_keys
    if told is None and len(pairs) == 1:
        return _Set(builder, *pairs[0])
    if told in pairs:
        return _Set(builder, *told)
    received = [f"{key} ({type(feature).__name__})" for key, feature in features.items()]
    raise ValueError(
        "Expected a data set of images (of bytes) that have a class each. "
        f"Received: {name}, with {', '.join(received) or type(kinds).__name__}"
    )


def _is_image(feature: Any) -> bool:
    return isinstance(feature, tfds.features.Image) and feature.np_dtype == np.uint8


def _shape(found: _Set, options: pipeline.Options) -> tuple[int, ...]:
    """Returns the shape that all images get.

    Raises:
        ValueError: If they differ in size and the options have none.
    """
    height, width, channels = found.shape
    if options.image_size is not None:
        height = width = options.image_size
    if height is None or width is None or channels is None:
        raise ValueError(
            f"Expected image_size for the images of {found.builder.name}, whose sizes differ. "
            "Received: image_size=None"
        )
    return height, width, channels


def _check_splits(found: _Set) -> None:
    splits = found.builder.info.splits
    if "train" not in splits:
        raise ValueError(
            "Expected a data set with examples to train on (train). "
            f"Received: {found.builder.name}, with {', '.join(splits)}"
        )


def _read(found: _Set, split: str, shape: tuple[int, ...]) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the images and labels of a part, resized where their shape is another."""

    def example(features: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        image = features[found.image]
        if shape != found.shape:
            resized = tf.image.resize(image, shape[:2], antialias=True)
            image = tf.saturate_cast(tf.round(resized), tf.uint8)
        return image, features[found.label]

    examples = found.builder.as_dataset(
        split=split,
        decoders=tfds.decode.PartialDecoding({found.image: True, found.label: True}),
        # It is read once, so a cache would only double the memory.
        read_config=tfds.ReadConfig(try_autocache=False),
    )
    size = found.builder.info.splits[split].num_examples
    return examples.map(example, tf.data.AUTOTUNE).batch(size).get_single_element()


def _metadata(name: str, data_dir: os.PathLike | None) -> str:
    return f"readable metadata of {name} in {data_dir or 'the default directory of TFDS'}"


def _download(builder: tfds.core.DatasetBuilder, name: str) -> None:
    """Downloads and prepares a data set, if its host answers: offline, TFDS retries for minutes."""
    url = urllib.parse.urlsplit(next(iter(builder.url_infos), ""))
    host = "" if builder.MANUAL_DOWNLOAD_INSTRUCTIONS else url.hostname or ""
    if not host or not _answers(host, 443 if url.scheme == "https" else 80):
        source = f"{host} to download it from" if host else "its files downloaded by hand"
        place = "reaches it" if host else "has them"
        raise FileNotFoundError(
            f"Expected {name} in {builder.data_dir}, or {source} "
            f"(on a machine that {place}, run "
            f"\"import tensorflow_datasets; tensorflow_datasets.load('{name}')\" in Python "
            f"and copy ~/tensorflow_datasets/{builder.name}). "
            f"Received: no such data set{', no answer' * bool(host)}"
        )
    with _tfds_errors(f"to download {name} from {host} to {builder.data_dir}"):
        # From the host that answered: Google's copy may be out of reach.
        config = tfds.download.DownloadConfig(try_download_gcs=False)
        builder.download_and_prepare(download_config=config)


def _answers(host: str, port: int) -> bool:
    """Whether a host accepts a connection within `_PROBE_SECONDS`."""
    answered = threading.Event()

    def connect() -> None:
        with contextlib.suppress(OSError):
            socket.create_connection((host, port), timeout=_PROBE_SECONDS).close()
            answered.set()

    # In a thread, as the time-out of a connection leaves out the look-up of the host's name.
    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS)
    return answered.is_set()


@contextlib.contextmanager
def _tfds_errors(expected: str) -> Iterator[None]:
    """Turns whatever TFDS raises into one line, and keeps its messages off stdout and the log."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except Exception as error:  # They come from TensorFlow, protobuf, requests: no common class.
        # TensorFlow puts the names of nodes around the message.
        reason = " ".join(str(error).rpartition("}} ")[2].partition(" [Op:")[0].split())
        raise ValueError(
            f"Expected {expected}. Received: {type(error).__name__}: {reason}"
        ) from error
    finally:
        logging.set_verbosity(verbosity)
