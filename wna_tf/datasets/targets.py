"""Targets that are classes, in the form that a loss takes."""

import dataclasses
from typing import Any

import tensorflow as tf

from wna_tf.datasets.batches import Source
from wna_tf.datasets.memory import centred_one_hot
from wna_tf.datasets.pipeline import Data

# From labels int32 [batch] and the number of classes.
FORMS = {
    "centred": centred_one_hot,
    "one_hot": tf.one_hot,
    "labels": lambda labels, _: labels,
}


def encode(data: Data, form: str) -> Data:
    """Returns the same batches with targets of another form.

    Args:
        data: Batches with targets that are classes, the largest entry of each.
        form: One of `FORMS`.

    Raises:
        ValueError: If the targets are not classes, or there is no such form.
    """
    if not data.num_classes or form not in FORMS:
        forms = ", ".join(FORMS) if data.num_classes else "None where they are not classes"
        raise ValueError(f"Expected targets to be {forms}. Received: targets={form!r}")

    def encoded(x: Any, y: tf.Tensor) -> tuple[Any, tf.Tensor]:
        return x, FORMS[form](tf.argmax(y, -1, tf.int32), data.num_classes)

    source = data.training.source
    trained = data.fetched_from(Source(source.size, lambda *some: encoded(*source.fetch(*some))))
    validation = data.validation and data.validation.map(encoded)
    return dataclasses.replace(trained, validation=validation, test=data.test.map(encoded))
