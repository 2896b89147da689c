"""Data sets as batches, by name: `wna_tf.datasets.load("digits")`."""

import os

from wna_tf.datasets import (
    add,
    cifar10,
    digits,
    image_folder,
    imagenet,
    kmnist,
    pipeline,
    teacher,
)
from wna_tf.datasets.folders import count_files, named_errors
from wna_tf.datasets.pipeline import Data, Examples, Options, Source, Training
from wna_tf.datasets.targets import encode

__all__ = [
    "Data",
    "Examples",
    "Options",
    "Source",
    "Training",
    "check",
    "has_classes",
    "is_generated",
    "load",
    "named_errors",
    "names",
    "shapes",
    "training_size",
]

# A data set is a module with `load(options: Options) -> Examples`, `VALIDATION_SIZE`, the number of
# training examples set aside unless the user says otherwise, `TRAINING_SIZE`, the official number
# of them, `SHAPES`, those of one input and of one target (both None where files decide),
# `IS_GENERATED`, if the seed makes its examples, and, if its targets are not classes,
# `chance_loss`.
_DATASETS = {
    "add": add,
    "cifar10": cifar10,
    "digits": digits,
    "image_folder": image_folder,
    "imagenet": imagenet,
    "kmnist": kmnist,
    "teacher": teacher,
}


def names() -> list[str]:
    """The known data sets, sorted."""
    return sorted(_DATASETS)


def check(name: str) -> None:
    """Raises a ValueError unless `name` is that of a data set."""
    if name not in _DATASETS:
        raise ValueError(
            f"Expected dataset to be one of {', '.join(names())}. Received: dataset={name!r}"
        )


def has_classes(name: str) -> bool:
    """Whether the targets of a data set, one of `names()`, are classes."""
    return not hasattr(_DATASETS[name], "chance_loss")


def is_generated(name: str) -> bool:
    """Whether the seed makes the examples of a data set, one of `names()`, beside their order."""
    return hasattr(_DATASETS[name], "IS_GENERATED")


def training_size(
    name: str, data_dir: str | os.PathLike | None = None, validation_size: int | None = None
) -> int:
    """Number of examples to train on, without loading them.

    Args:
        name: One of `names()`.
        data_dir: As for `load`. Image files are counted there; of other data sets the official
            size is told.
        validation_size: As for `load`.

    Raises:
        ValueError: If neither is known.
        FileNotFoundError: If `data_dir` is not a directory.
    """
    dataset = _DATASETS[name]
    directory = Options(data_dir=data_dir).data_dir
    files = 0 if directory is None else count_files(directory / "train")
    size = files or dataset.TRAINING_SIZE
    if size is None:
        raise ValueError(
            f"Expected data_dir to be the directory of train/. Received: data_dir={directory!r}"
        )
    return size - (dataset.VALIDATION_SIZE if validation_size is None else validation_size)


def shapes(
    name: str, image_size: int | None = None
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Shapes of one input and of one target, without loading them; None if files decide.

    Args:
        name: One of `names()`.
        image_size: As for `load`.
    """
    dataset = _DATASETS[name]
    if dataset is imagenet and image_size:
        _, target_shape = imagenet.SHAPES
        return (image_size, image_size, 3), target_shape
    return dataset.SHAPES


def load(
    name: str,
    batch_size: int = 100,
    data_dir: str | os.PathLike | None = None,
    validation_size: int | None = None,
    data_limit: int | None = None,
    seed: int = 0,
    image_size: int | None = None,
    skip_corrupt: bool = False,
    targets: str | None = None,
) -> Data:
    """Loads a data set: its inputs and targets are described in the module of its name.

    Args:
        name: One of `names()`.
        batch_size: Examples a batch; see `pipeline.split` for its part in `data_limit`.
        data_dir: For "image_folder" and "imagenet" the directory of train/ and val/. For "cifar10"
            and "kmnist" the existing directory that holds a directory for each data set; None for
            the default of TensorFlow Datasets.
        validation_size: The first so many training examples are the validation set; None for 5,000
            (digits: 300; add, image_folder, imagenet and teacher: 0). With 0 it is the official
            one, for data sets that have it (as val/), and there is none for the others.
        data_limit: Train on the first so many of the other training examples; None for all.
        seed: Seed of the order of the training examples and of their augmentation, and of the
            examples themselves where they are generated (add, teacher).
        image_size: Height and width of the images of "image_folder" (None for those of the first
            image) and "imagenet" (None for 224).
        skip_corrupt: Whether "image_folder" and "imagenet" leave out the files that cannot be
            decoded, for which every file is decoded at once; they are refused otherwise.
        targets: Form of targets that are classes: "centred" (one-hot less 1 / num_classes, for
            squared errors), "one_hot" (0 and 1, for cross-entropies), "labels" (integers [batch],
            for sparse ones), or None for the data set's own, the first ("imagenet": the second).

    Returns:
        The batches: `train, validation, test = load(...)`, or by name, see `Data`.

    Raises:
        ValueError: If an argument is wrong, or the files of the data set cannot be read.
        FileNotFoundError: If `data_dir` is not a directory, or the data set is neither in it nor
            to be downloaded.
    """
    check(name)
    dataset = _DATASETS[name]
    options = Options(
        data_dir=data_dir,
        seed=seed,
        image_size=image_size,
        skip_corrupt=skip_corrupt,
    )
    if validation_size is None:
        validation_size = dataset.VALIDATION_SIZE
    data = pipeline.split(dataset.load(options), batch_size, validation_size, data_limit, seed)
    return data if targets is None else encode(data, targets)
