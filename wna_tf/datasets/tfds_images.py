"""Labelled images prepared by TensorFlow Datasets (TFDS), read into memory."""

import contextlib
import os
import socket
import sys
import threading
import urllib.parse
from collections.abc import Iterator

import tensorflow_datasets as tfds
from absl import logging

from wna_tf.datasets import memory, pipeline

_PROBE_SECONDS = 3


def load(name: str, data_dir: str | os.PathLike | None = None) -> pipeline.Examples:
    """Reads the official training and test examples, after a download where they are missing.

    Args:
        name: Name of the data set in TFDS.
        data_dir: Directory of prepared data sets; None for the default of TFDS, `$TFDS_DATA_DIR`
            or else `~/tensorflow_datasets`.

    Returns:
        Training and test examples in the order of the files,
        `x` [batch, height, width, channels], `y` [batch, num_classes].

    Raises:
        FileNotFoundError: If the data set is not prepared there and its host does not answer.
        ValueError: If its files cannot be read, or a download fails.
    """
    with _tfds_errors(
        f"readable metadata of {name} in {data_dir or 'the default directory of TFDS'}"
    ):
        builder = tfds.builder(name, data_dir=data_dir)
        prepared = builder.is_prepared()
    if not prepared:
        _download(builder)
    with _tfds_errors(f"readable files of {name} in {builder.data_dir}"):
        return pipeline.Examples(
            training=_read(builder, "train"),
            test=_read(builder, "test"),
            class_names=tuple(builder.info.features["label"].names),
        )


def _read(builder: tfds.core.DatasetBuilder, split: str) -> pipeline.Source:
    # One batch of everything. It is read once, so a cache would only double the memory.
    images, labels = builder.as_dataset(
        split=split,
        batch_size=-1,
        as_supervised=True,
        read_config=tfds.ReadConfig(try_autocache=False),
    )
    num_classes = builder.info.features["label"].num_classes
    return memory.image_source(images, labels, num_classes)


def _download(builder: tfds.core.DatasetBuilder) -> None:
    """Downloads and prepares a data set, if its host answers: offline, TFDS retries for minutes."""
    url = urllib.parse.urlsplit(next(iter(builder.url_infos)))
    if not _answers(url.hostname, 443 if url.scheme == "https" else 80):
        raise FileNotFoundError(
            f"Expected {builder.name} in {builder.data_dir}, or {url.hostname} to download it from "
            "(on a machine that reaches it, run "
            f"\"import tensorflow_datasets; tensorflow_datasets.load('{builder.name}')\" in Python "
            f"and copy ~/tensorflow_datasets/{builder.name}). "
            "Received: no such data set, no answer"
        )
    with _tfds_errors(f"to download {builder.name} from {url.hostname} to {builder.data_dir}"):
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
