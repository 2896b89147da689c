"""Image classification sets of TensorFlow Datasets (TFDS), by name; nothing is read here."""

import re
from collections.abc import Mapping
from typing import Any

from wna_tf.datasets.dataset import Dataset
from wna_tf.datasets.pipeline import Examples, Options

PREFIX = "tfds:"
_NAME = re.compile(r"\w+(/[\w.-]+)?(:\d+\.\d+\.\d+)?", re.ASCII)


def _dataset(name: str, **facts: Any) -> Dataset:
    """Returns a data set of which some facts are known, or else its files tell them all."""

    def load(options: Options) -> Examples:
        from wna_tf.datasets import tfds_images  # Imports TensorFlow Datasets: only when needed.

        return tfds_images.load(name, options)

    def describe(options: Options) -> Mapping[str, Any]:
        from wna_tf.datasets import tfds_images

        return tfds_images.describe(name, options)

    def resize(options: Options) -> Mapping[str, Any]:
        (height, width, channels), targets = facts["shapes"]
        size = options.image_size
        return {"shapes": ((size or height, size or width, channels), targets)}

    tells = resize if facts else describe
    return Dataset(load, is_generated=False, describe=tells, **facts)


# Those whose official numbers are known before their files are there.
KNOWN = {
    name: _dataset(
        name,
        training_size=training_size,
        validation_size=5000,
        test_size=10000,
        shapes=(shape, (10,)),
    )
    for name, training_size, shape in (
        ("cifar10", 50000, (32, 32, 3)),
        ("kmnist", 60000, (28, 28, 1)),
    )
}


def get(name: str) -> Dataset:
    """Returns a data set of TFDS.

    Args:
        name: `PREFIX`, and what TFDS calls it: a name, with "/" and a configuration or ":" and a
            version where it has some.

    Raises:
        ValueError: If that is no such name. Whether there is one is seen when it is described.
    """
    own = name.removeprefix(PREFIX)
    if not _NAME.fullmatch(own):
        raise ValueError(
            f"Expected {PREFIX}NAME, {PREFIX}NAME/CONFIGURATION or either with :VERSION, as "
            f"{PREFIX}emnist/letters. Received: dataset={name!r}"
        )
    return KNOWN.get(own) or _dataset(own)
