"""Weights of saved models, for networks to begin with."""

import functools
import hashlib
import os
import pathlib
import zipfile
from typing import NamedTuple

import keras
import numpy as np
from absl import logging

from wna_tf import files
from wna_tf.learner import Learner
from wna_tf.saved_model import first_line
from wna_tf.serialization import Unknown


class _Weights(NamedTuple):
    """The weights of one layer, in its order."""

    layer: str
    values: list[np.ndarray]


def read(path: str | os.PathLike, noun: str = "model") -> keras.Model:
    """Loads a model from a file of Keras; nothing in the file is executed.

    Args:
        path: A `.keras` file.
        noun: What it is to be, for messages.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, holds code, or names what is not registered.
    """
    place = _find(path)
    try:
        with zipfile.ZipFile(place):  # Keras would say of a damaged file that it is not there.
            pass
        return keras.models.load_model(place, safe_mode=True)
    except Unknown:  # What it names is to be registered before.
        raise
    except Exception as error:  # Of every kind: ZIP's, HDF5's, JSON's, Keras's own.
        raise ValueError(
            f"Expected a {noun} in Keras's format, whole and without code of its own. "
            f"Received: {place}: {first_line(error)}"
        ) from error


def digest(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a file.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    place = _find(path)
    state = place.stat()
    return _digest(place, state.st_mtime_ns, state.st_size)


def load_weights(network: keras.Model, path: str | os.PathLike) -> None:
    """Sets the weights of a network to those of a saved model, layer by layer.

    ```python
    network = wna_tf.models.cnn(input_shape=(32, 32, 3), num_classes=5, width=64)
    wna_tf.pretrained.load_weights(network, "checkpoints/runs/.../model.keras")
    learner = wna_tf.Learner(network, rule="align_ada")  # They are its initial weights too.
    ```

    The last layer, the head, stays as it is where its weights have another shape, as with another
    number of classes; a line of the log says so.

    Args:
        network: A built network.
        path: The `.keras` file of a `Learner`, of which its network counts, or of another model.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or the layers before the head have other shapes: the
            network is as it was then.
    """
    place = _find(path)
    state = place.stat()
    saved = _read_weights(place, state.st_mtime_ns, state.st_size)
    layers = _layers(network)
    if len(saved) != len(layers):
        raise ValueError(
            f"Expected a model of {len(layers)} layers that have weights. "
            f"Received: {place}, with {len(saved)}"
        )
    others = [
        (layer, weights)
        for layer, weights in zip(layers, saved, strict=True)
        if _shapes(layer.weights) != _shapes(weights.values)
    ]
    heads = [layer for layer, _ in others if layer is layers[-1] and len(layers) > 1]
    if wrong := [pair for pair in others if pair[0] not in heads]:
        wanted, received = (
            ", ".join(f"{name} {' '.join(map(str, shapes))}" for name, shapes in some)
            for some in (
                [(layer.name, _shapes(layer.weights)) for layer, _ in wrong],
                [(weights.layer, _shapes(weights.values)) for _, weights in wrong],
            )
        )
        raise ValueError(
            f"Expected a model with weights of the network's shapes: {wanted}. "
            f"Received: {place}, with {received}"
        )
    for layer, weights in zip(layers, saved, strict=True):
        if layer in heads:
            logging.warning(
                "The layer %s stays as it is: %s has another shape in %s",
                *(layer.name, weights.layer, place),
            )
            continue
        for variable, value in zip(layer.weights, weights.values, strict=True):
            variable.assign(value)


def _find(path: str | os.PathLike) -> pathlib.Path:
    place = files.expand(path)
    if not place.is_file():
        raise FileNotFoundError(f"Expected the file of a saved model. Received: {place}")
    return place


def _layers(network: keras.Model) -> list[keras.Layer]:
    """Returns the layers that have weights, in the network's order."""
    return [layer for layer in network.layers if layer.weights]


def _shapes(weights: list) -> list[tuple[int, ...]]:
    return [tuple(some.shape) for some in weights]


@functools.lru_cache(maxsize=1)
def _read_weights(path: pathlib.Path, *_: int) -> list[_Weights]:
    """Reads a file, again only when its time or its size is another."""
    model = read(path)
    network = model.network if isinstance(model, Learner) else model
    return [
        _Weights(layer.name, [np.array(some) for some in layer.weights])
        for layer in _layers(network)
    ]


@functools.lru_cache(maxsize=16)
def _digest(path: pathlib.Path, *_: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
