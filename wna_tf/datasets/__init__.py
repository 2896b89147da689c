"""Data sets as batches, by name: `wna_tf.datasets.load("digits")`."""

import os
import pathlib

from wna_tf.datasets import cifar10, digits, kmnist, pipeline
from wna_tf.datasets.pipeline import Data, Source

__all__ = ["Data", "Source", "load", "names"]

# A data set is a module with `load(data_dir) -> (training, test)`, two sources, and
# `VALIDATION_SIZE`, the number of training examples set aside unless the user says otherwise.
_DATASETS = {"cifar10": cifar10, "digits": digits, "kmnist": kmnist}


def names() -> list[str]:
    """The known data sets, sorted."""
    return sorted(_DATASETS)


def load(
    name: str,
    batch_size: int = 100,
    data_dir: str | os.PathLike | None = None,
    validation_size: int | None = None,
    data_limit: int | None = None,
    seed: int = 0,
) -> Data:
    """Loads a data set: inputs in [0, 1], targets `one_hot(label) - 1 / num_classes`.

    Args:
        name: One of `names()`.
        batch_size: Examples a batch; see `pipeline.split` for its part in `data_limit`.
        data_dir: Existing directory of the data sets that are kept on disk; None for the default
            of TensorFlow Datasets.
        validation_size: The first so many training examples are the validation set, with 0 there
            is none; None for 5,000 (digits: 300).
        data_limit: Train on the first so many of the other training examples; None for all.
        seed: Seed of the order of the training examples.

    Returns:
        The batches: `train, validation, test = load(...)`, or by name, see `Data`.

    Raises:
        ValueError: If an argument is wrong, or the files of the data set cannot be read.
        FileNotFoundError: If `data_dir` is not a directory, or the data set is neither in it nor
            to be downloaded.
    """
    if name not in _DATASETS:
        raise ValueError(f"Expected name to be one of {names()}. Received: name={name!r}")
    if data_dir is not None:
        directory = pathlib.Path(data_dir).expanduser()
        if not directory.is_dir():
            raise FileNotFoundError(
                "Expected data_dir to be an existing directory. "
                f"Received: data_dir={str(data_dir)!r}"
            )
        data_dir = directory
    dataset = _DATASETS[name]
    if validation_size is None:
        validation_size = dataset.VALIDATION_SIZE
    training, test = dataset.load(data_dir)
    return pipeline.split(training, test, batch_size, validation_size, data_limit, seed)
