"""What is measured: networks, their data, and rules on them; and how."""

import json
import math
import pathlib
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import wna_tf
from examples import language_model
from wna_tf import datasets
from wna_tf.experiments import costs
from wna_tf.experiments.config import Config

PLAIN = "keras.Model.fit"
UNFUSED = "keras.Model.fit, moments"
"""Plain Keras, with normalizations as chains of small operations."""

TRANSFORMERS = ("vit", "gpt")
"""KerasHub's vision transformer, and the small GPT of the example."""

NETWORKS = ("cifar10", "kmnist", "digits", "add", *TRANSFORMERS)
_STRIDES = {"cifar10": (1, 1, 1, 2, 1, 2, 1), "kmnist": (1, 2, 2)}


def make_network(
    name: str, width: int, unfused: bool = False, normalize: bool = True
) -> keras.Model:
    """Returns a network: convolutional, an mlp for digits, recurrent for Add, or a transformer."""
    keras.utils.set_random_seed(0)
    if name == "gpt":
        return language_model.make_network(width)
    if name == "vit":
        return _make_vision_transformer(width)
    if name == "add":
        return wna_tf.models.rnn(width)
    (shape, _), options = datasets.shapes(name), {"synchronized": unfused, "normalize": normalize}
    if name == "digits":
        return wna_tf.models.mlp(shape, 10, width, **options)
    return wna_tf.models.cnn(shape, 10, width, _STRIDES[name], **options)


def make_model(rule: str, name: str, width: int, jit_compile: bool = False) -> keras.Model:
    """Returns a compiled learner, or the plain network."""
    model = make_network(name, width, rule == UNFUSED)
    if rule not in (PLAIN, UNFUSED):
        model = wna_tf.Learner(model, rule)
    loss = keras.losses.SparseCategoricalCrossentropy(True) if name == "gpt" else "mse"
    model.compile(keras.optimizers.SGD(1e-3), loss, metrics=["accuracy"], jit_compile=jit_compile)
    return model


def _make_vision_transformer(width: int) -> keras.Model:
    import keras_hub  # Only here: it takes long to load.

    backbone = keras_hub.models.ViTBackbone(
        image_shape=(32, 32, 3),
        patch_size=4,
        num_layers=4,
        num_heads=4,
        hidden_dim=width,
        mlp_dim=4 * width,
    )
    outputs = keras.layers.Dense(10)(backbone.output[:, 0])
    return keras.Model(backbone.input, outputs)


def blocks(name: str, width: int) -> list[costs.Block]:
    """Returns the blocks of a network, for what its steps cost."""
    config = Config(
        model={"add": "rnn", "digits": "mlp"}.get(name, "cnn"),
        width=width,
        strides=_STRIDES.get(name, (1,)),
    )
    shape, targets = datasets.shapes(name)
    return costs.blocks(config, shape, targets[-1])


def make_batch(name: str, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns made-up inputs and targets; a step takes as long for any."""
    rng = np.random.default_rng(0)
    if name == "gpt":
        return next(language_model.draw(language_model.load_text()[0], 1, 0, batch_size))
    shapes = [(32, 32, 3), (10,)] if name == "vit" else datasets.shapes(name)
    return tuple(rng.random((batch_size, *shape), dtype="float32") for shape in shapes)


def repeat(batch: Sequence[Any], steps: int) -> tf.data.Dataset:
    """Returns one batch so many times, without end if `steps` is -1."""
    return tf.data.Dataset.from_tensors(tuple(batch)).repeat(steps).prefetch(2)


def stepper(model: keras.Model, batches: tf.data.Dataset, steps: int) -> Callable[[], Any]:
    """Returns a function that takes so many steps as `fit` does, on the batches that follow."""
    model.make_train_function()
    iterator = iter(batches)

    def run():
        for _ in range(steps):
            logs = model.train_function(iterator)
        return float(logs["loss"])  # Waits for the last.

    return run


def interleave(
    functions: dict[str, Callable[[], Any]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Calls each function in turn, round after round, so that drifts of the machine hit all.

    Returns:
        Seconds, and seconds of processor time, of each call but those of the first round, in which
        graphs are traced.
    """
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    processor: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(rounds + 1):
        for name, function in functions.items():
            start, start_processor = time.perf_counter(), time.process_time()
            function()
            if number:
                seconds[name].append(time.perf_counter() - start)
                processor[name].append(time.process_time() - start_processor)
    return seconds, processor


def ratios(values: Sequence[float], to: Sequence[float]) -> list[float]:
    """Returns the quartiles of the ratio of two times, taken round by round."""
    return quartiles([a / b for a, b in zip(values, to, strict=True)])


def quartiles(values: Sequence[float]) -> list[float]:
    """Returns the quartiles of a sample."""
    return statistics.quantiles(values, n=4, method="inclusive")


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Returns the slope of a least-squares line through the logarithms of both."""
    return float(np.polyfit([math.log(v) for v in x], [math.log(v) for v in y], 1)[0])


def write(rows: list[dict[str, Any]], path: pathlib.Path | None) -> None:
    """Prints rows as a Markdown table, and writes them as JSON if there is a path."""
    if rows:
        print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(map(str, row.values())) + " |")
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(rows, indent=2) + "\n")
