"""Data sets as batches, by name: `wna_tf.datasets.load("digits")`."""

import functools
import os
from collections.abc import Sequence

import numpy as np

from wna_tf import serialization
from wna_tf.datasets import (
    add,
    augmentations,
    digits,
    image_folder,
    imagenet,
    pipeline,
    prepared,
    teacher,
)
from wna_tf.datasets.batches import Source, Training
from wna_tf.datasets.dataset import Dataset, from_arrays
from wna_tf.datasets.folders import named_errors
from wna_tf.datasets.pipeline import Data, Examples, Options
from wna_tf.datasets.some_classes import restrict
from wna_tf.datasets.targets import encode

__all__ = [
    "Data",
    "Dataset",
    "Examples",
    "Options",
    "Source",
    "Training",
    "augmentations",
    "from_arrays",
    "get",
    "has_classes",
    "is_generated",
    "load",
    "named_errors",
    "names",
    "register",
    "restrict",
    "shapes",
    "training_size",
]

# A module has `load`, `TRAINING_SIZE`, the official number of examples, `VALIDATION_SIZE`,
# `TEST_SIZE` and `SHAPES`; `chance_loss`, if its targets are not classes; `IS_GENERATED`, if a seed
# makes them; `describe`, if options tell more; `count`, if files do.
_MODULES = {
    "add": add,
    "digits": digits,
    "image_folder": image_folder,
    "imagenet": imagenet,
    "teacher": teacher,
}
_OWN = {
    name: Dataset(
        module.load,
        module.TRAINING_SIZE,
        module.VALIDATION_SIZE,
        module.SHAPES,
        not hasattr(module, "chance_loss"),
        hasattr(module, "IS_GENERATED"),
        test_size=module.TEST_SIZE,
        describe=getattr(module, "describe", None),
        count=getattr(module, "count", None),
    )
    for name, module in _MODULES.items()
}
_TABLE = serialization.Table(
    "a data set",
    "dataset",
    dict(sorted((_OWN | prepared.KNOWN).items())),
    key=lambda dataset: (*serialization.origin(dataset.load), dataset.digest),
    others=f"{prepared.PREFIX}NAME of TensorFlow Datasets",
)


def names() -> tuple[str, ...]:
    """Returns the name of every data set that has one here; `get` takes those of TFDS too."""
    return _TABLE.names()


def get(name: str) -> Dataset:
    """Returns a data set, of which nothing is loaded.

    Args:
        name: One of `names()`, or "tfds:NAME" for any image classification set that TensorFlow
            Datasets knows or that is prepared, such as "tfds:fashion_mnist", "tfds:emnist/letters".

    Raises:
        ValueError: If the name is unknown; the message lists the names.
    """
    if isinstance(name, str) and name.startswith(prepared.PREFIX):
        return prepared.get(name)
    return _TABLE.get(name)


def register(name: str, dataset: Dataset) -> None:
    """Adds a data set.

    ```python
    x, y = np.load("x.npy"), np.load("y.npy")
    mine = wna_tf.datasets.from_arrays((x[:800], y[:800]), (x[800:], y[800:]))
    wna_tf.datasets.register("mine", mine)
    ```

    Args:
        name: Its name: letters, digits, "_", "-" and ".".
        dataset: What `from_arrays` returns, or a `Dataset` whose examples are made or read when
            they are needed.

    Raises:
        ValueError: If it is none, or the name is that of another one.
    """
    if not isinstance(dataset, Dataset):
        raise ValueError(f"Expected a Dataset to register. Received: {dataset!r}")
    _TABLE.register(name, dataset)


def has_classes(name: str) -> bool:
    """Whether the targets of a data set, by its name, are classes.

    Args:
        name: As `get` takes it.
    """
    return get(name).has_classes


def is_generated(name: str) -> bool:
    """Whether the seed makes the examples of a data set, by its name, beside their order.

    Args:
        name: As `get` takes it.
    """
    return get(name).is_generated


def training_size(
    name: str,
    data_dir: str | os.PathLike | None = None,
    validation_size: int | None = None,
    image_size: int | None = None,
    classes: Sequence[int] | None = None,
) -> int:
    """Number of examples to train on, without loading them if it is known.

    Args:
        name: As for `get`.
        data_dir: As for `load`. Image files are counted there; of other data sets the official
            size is told, but some classes are counted.
        validation_size: As for `load`.
        image_size: As for `load`.
        classes: As for `load`.

    Raises:
        ValueError: If an argument is wrong, or the files of the data set cannot be read.
        FileNotFoundError: If `data_dir` is not a directory.
    """
    dataset, options = get(name), Options(data_dir=data_dir, image_size=image_size)
    if classes:
        size, set_aside = _sizes_of_some(dataset, options, tuple(classes))
    else:
        counted = dataset.count(options) if dataset.count else 0
        told = dataset.described(options).training_size
        size = counted or told or dataset.load(options).training.size
        set_aside = dataset.described(options).validation_size
    if validation_size is not None:
        pipeline.check_integer("validation_size", validation_size, 0, size - 1)
        set_aside = validation_size
    return size - set_aside


@functools.cache
def _sizes_of_some(dataset: Dataset, options: Options, classes: tuple[int, ...]) -> tuple[int, int]:
    examples, set_aside = _load(dataset, options, classes)
    return examples.training.size, set_aside


def _load(
    dataset: Dataset, options: Options, classes: Sequence[int] | None
) -> tuple[Examples, int]:
    """Returns the examples, and how many of them are set aside: of some classes, those of all."""
    examples = dataset.load(options)
    # Described by now: it may have been downloaded.
    set_aside = dataset.described(options).validation_size
    if not classes:
        return examples, set_aside
    examples, positions = restrict(examples, classes)
    return examples, int(np.sum(positions < set_aside))


def shapes(
    name: str, image_size: int | None = None, data_dir: str | os.PathLike | None = None
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Shapes of one input and of one target, without loading them; None if loading tells.

    Args:
        name: As for `get`.
        image_size: As for `load`.
        data_dir: As for `load`.
    """
    return get(name).described(Options(data_dir=data_dir, image_size=image_size)).shapes


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
    augment: str = augmentations.NONE,
    classes: Sequence[int] | None = None,
) -> Data:
    """Loads a data set: its inputs and targets are described in the module of its name.

    Those of "tfds:NAME" are images in [0, 1] and `one_hot(label) - 1 / num_classes`, as in
    `tfds_images.load`.

    Args:
        name: As for `get`.
        batch_size: Examples a batch; see `pipeline.split` for its part in `data_limit`.
        data_dir: For "image_folder" and "imagenet" the directory of train/ and val/. For those of
            TensorFlow Datasets the existing directory that holds a directory for each data set;
            None for its default.
        validation_size: The first so many training examples are the validation set; None for 5,000
            of "cifar10" and "kmnist", 300 of "digits", none of "add", "image_folder", "imagenet"
            and "teacher", a tenth and at most 5,000 of "tfds:NAME" without a validation set. With 0
            it is the official one, for data sets that have it (as val/), and there is none for the
            others.
        data_limit: Train on the first so many of the other training examples; None for all.
        seed: Seed of the order of the training examples and of their augmentation, and of the
            examples themselves where they are generated (add, teacher).
        image_size: Height and width of the images of "image_folder" (None for those of the first
            image), "imagenet" (None for 224) and TensorFlow Datasets (None for their own).
        skip_corrupt: Whether "image_folder" and "imagenet" leave out the files that cannot be
            decoded, for which every file is decoded at once; they are refused otherwise.
        targets: Form of targets that are classes: "centred" (one-hot less 1 / num_classes, for
            squared errors), "one_hot" (0 and 1, for cross-entropies), "labels" (integers [batch],
            for sparse ones), or None for the data set's own, the first ("imagenet": the second).
        augment: What is done to the training images, one of `augmentations.names()`.
        classes: The classes to take, at least two, of which the first becomes class 0; None for
            all. Set aside for validation are then those that would be with all classes, unless
            `validation_size` says how many. To find them every example is read once.

    Returns:
        The batches: `train, validation, test = load(...)`, or by name, see `Data`.

    Raises:
        ValueError: If an argument is wrong, or the files of the data set cannot be read.
        FileNotFoundError: If `data_dir` is not a directory, or the data set is neither in it nor
            to be downloaded.
    """
    options = Options(
        data_dir=data_dir,
        seed=seed,
        image_size=image_size,
        skip_corrupt=skip_corrupt,
    )
    examples, set_aside = _load(get(name), options, classes)
    validation_size = set_aside if validation_size is None else validation_size
    data = pipeline.split(examples, batch_size, validation_size, data_limit, seed)
    data = data if targets is None else encode(data, targets)
    return augmentations.apply(data, augment)
