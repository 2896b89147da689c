"""Evaluation of finished runs and of SavedModels, on any data set."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from wna_tf import datasets, files, losses, progress, saved_model
from wna_tf.datasets import Data
from wna_tf.experiments import build, classification, environment, export, run_directory, training
from wna_tf.experiments.config import Config
from wna_tf.experiments.reporting import measures, summaries, tables
from wna_tf.saved_model import Served

SPLITS = ("test", "validation")
# Of a configuration, what concerns the evaluation of a network that is there.
FIELDS = (
    "dataset",
    "data_dir",
    "image_size",
    "skip_corrupt",
    "classes",
    "validation_size",
    "data_limit",  # It sets the size of a batch too.
    "batch_size",
    "seed",
    "loss",
)
RESULT = "evaluation.json"
_OF_ONE_DATASET = (
    "data_dir",
    "image_size",
    "skip_corrupt",
    "classes",
    "validation_size",
    "data_limit",
    "augment",
)
_RESULTS = ("accuracy", "loss")
_MANY = 100  # With more outputs than that, predictions are written in binary.


class Evaluation(NamedTuple):
    """An evaluation that has been written.

    Attributes:
        directory: Where it is.
        numbers: What its `evaluation.json` says.
    """

    directory: pathlib.Path
    numbers: dict[str, Any]


def evaluate(
    directory: pathlib.Path, split: str = "test", given: Mapping[str, Any] | None = None
) -> list[Evaluation]:
    """Evaluates finished runs or a SavedModel, and writes what comes of it.

    A run's evaluation is at `evaluation/<dataset>_<split>/` in its directory, that of a SavedModel
    beside it, in a directory named after it with `_evaluation`. Both have `evaluation.json`: the
    numbers, and what they depend on. Classes have the scores of each (`classes.md`), the confusion
    matrix (`confusion.csv`, `.png` and `.svg`) and `predictions.csv` (`.npz` for many classes),
    sequences the error of each time step (`errors.csv`, `.png` and `.svg`), these and other numbers
    `predictions.npz`.
    Where outputs are not finite, there are neither scores nor predictions.

    Args:
        directory: A finished run, a directory of them, or a SavedModel.
        split: "test" or "validation".
        given: Fields of a configuration, of `FIELDS`, in place of the run's. With another data
            set, those that are about one have their defaults, and so has a SavedModel.

    Returns:
        The evaluations, by the name of the run.

    Raises:
        FileNotFoundError: If there is no such directory, nothing finished in it, or no data.
        ValueError: If a model cannot be read, or does not fit the data, or if something else is
            where an evaluation would be: nothing is evaluated then.
        OSError: If the evaluation cannot be written.
    """
    given = dict(given or {})
    if split not in SPLITS:
        raise ValueError(f"Expected split to be one of {', '.join(SPLITS)}. Received: {split!r}")
    if unknown := sorted(set(given) - set(FIELDS)):
        raise ValueError(f"Expected some of {', '.join(FIELDS)}. Received: {', '.join(unknown)}")
    directory = directory.resolve()
    if saved_model.is_saved_model(directory):
        if "dataset" not in given:
            raise ValueError(
                "Expected a data set by its name, since a SavedModel has none of its own. "
                f"Received: {directory} alone"
            )
        config = dataclasses.replace(Config(), **given)
        training.check(config)
        place = _place(directory.with_name(f"{directory.name}_evaluation"), config, split)
        return [_evaluate(directory, saved_model.read(directory), config, split, place)]
    planned = []
    for run in run_directory.finished_runs(directory):
        own = training.read_config(run)
        config = _override(own, given)
        training.check(config)
        planned.append((run, own, config, _place(run / "evaluation", config, split)))
    evaluations = []
    for run, own, config, place in progress.track(planned, "Evaluation", "runs"):
        keras.backend.clear_session()  # The run before leaves its graphs.
        model = run / run_directory.MODEL
        evaluations.append(_evaluate(model, _serve(run), config, split, place, own))
    return evaluations


def choose(grid: Mapping[str, list[Any]]) -> dict[str, Any]:
    """Returns what concerns an evaluation, of lists of values by the field of a configuration.

    Raises:
        ValueError: If such a field has several values.
    """
    for name in FIELDS:
        if len(grid.get(name, ())) > 1:
            raise ValueError(f"Expected one {name} to evaluate. Received: {name}={grid[name]}")
    return {name: grid[name][0] for name in FIELDS if name in grid}


def describe(evaluations: list[Evaluation]) -> str:
    """Returns evaluations in Markdown: a row and a place each, and what they are over seeds.

    Of one alone, the scores of a few classes too.
    """
    lines = [["model", "data", "examples", "accuracy (%)", "loss"]]
    for _, numbers in evaluations:
        accuracy = numbers.get("accuracy")
        lines.append(
            [
                _name(pathlib.Path(numbers["model"])),
                f"{numbers['dataset']} {numbers['split']}",
                str(numbers["examples"]),
                "-" if accuracy is None else f"{100 * accuracy:.1f}",
                "-" if numbers["loss"] is None else f"{numbers['loss']:.4g}",
            ]
        )
    parts = [tables.markdown(lines)]
    if table := _over_seeds(evaluations):
        parts.append(f"Means over seeds and their standard errors:\n\n{table}")
    for directory, numbers in evaluations:
        if numbers["not_finite"]:
            parts.append(
                f"Diverged: the outputs of {numbers['not_finite']} of {numbers['examples']} "
                f"examples are not finite. {numbers['model']}"
            )
        elif len(evaluations) == 1 and len(numbers.get("classes", ())) in range(
            1, classification.NUMBERED + 1
        ):
            parts.append((directory / "classes.md").read_text().rstrip())
    parts.append("\n".join(f"Evaluation: {place}" for place, _ in evaluations))
    return "\n\n".join(parts)


def _over_seeds(evaluations: list[Evaluation]) -> str:
    """Returns a table with a row for all seeds of a configuration; "" if there are not several."""
    runs = []
    for directory, numbers in evaluations:
        # The accuracy of a network whose outputs are not numbers is a number all the same.
        result = {} if numbers["not_finite"] else numbers
        kept: dict[str, Any] = {name: result[name] for name in _RESULTS if name in result}
        if "run" in numbers:
            runs.append(run_directory.Run(directory, numbers["run"], kept, []))
    names = [name for name in _RESULTS if any(name in run.result for run in runs)]
    if not names:
        return ""
    table = summaries.over_seeds(runs, {name: measures.measure(name) for name in names})
    return "" if table is None else tables.markdown(table.texts())


def _name(model: pathlib.Path) -> str:
    return model.parent.name if model.name == run_directory.MODEL else model.name


def _override(config: Config, given: dict[str, Any]) -> Config:
    """Returns a run's configuration with other data."""
    if given.get("dataset", config.dataset) != config.dataset:
        fields = dataclasses.fields(Config)
        defaults: dict[str, Any] = {
            field.name: field.default for field in fields if field.name in _OF_ONE_DATASET
        }
        config = dataclasses.replace(config, **defaults)
    return dataclasses.replace(config, **given)


def _place(parent: pathlib.Path, config: Config, split: str) -> pathlib.Path:
    """Returns the directory of an evaluation, where nothing else may be."""
    place = parent / f"{files.name(config.dataset)}_{split}"
    files.check_own(place, _is_evaluation, "directory for the evaluation")
    return place


def _is_evaluation(directory: pathlib.Path) -> bool:
    """Returns whether a directory is an evaluation, and has no file of somebody else."""
    written = {RESULT, "classes.md"} | {
        f"{name}.{form}"
        for name in ("confusion", "errors", "predictions")
        for form in ("csv", "npz", "png", "svg")
    }
    names = {path.name for path in directory.glob("*")}
    return RESULT in names and names <= written


def _serve(run: pathlib.Path) -> Served:
    """Returns what a run has learned, as a function."""
    learner = export.load(run)
    network = learner.network
    inputs, outputs = (
        tf.TensorSpec(x.shape, x.dtype) for x in (network.inputs[0], network.outputs[0])
    )

    @tf.function(input_signature=[inputs], autograph=False)
    def serve(x: tf.Tensor) -> tf.Tensor:
        return learner(x, training=False)

    # Written now: TensorFlow warns where the calls of many runs write one each.
    serve.get_concrete_function()
    return Served(lambda x: serve(tf.cast(x, inputs.dtype)), inputs, outputs)


def _evaluate(
    model: pathlib.Path,
    served: Served,
    config: Config,
    split: str,
    place: pathlib.Path,
    run: Config | None = None,
) -> Evaluation:
    data = build.load_data(config)
    batches = getattr(data, split)
    if batches is None:
        raise ValueError(
            f"Expected a data set with {split} examples (validation_size takes some from those "
            f"for training). Received: {config.dataset}"
        )
    _check_fit(model, served, config.dataset, data)
    files.make_directory(place.parent)  # Before the work: it may take long.
    with datasets.named_errors():
        told = progress.track(batches, f"Evaluation of {_name(model)}", "batches")
        pairs = [(y.numpy(), np.asarray(served.call(x))) for x, y in told]
    targets, outputs = (np.concatenate(part) for part in zip(*pairs, strict=True))

    numbers = {
        "model": str(model),
        "dataset": config.dataset,
        "split": split,
        "examples": len(targets),
        "options": {name: value for name, value in config.to_dict().items() if name in FIELDS},
        **({} if run is None else {"run": run.to_dict()}),
        "versions": environment.versions(),
        "not_finite": _count_not_finite(outputs),
        "loss": _finite(np.mean(losses.get(config.loss)(targets, outputs))),
    }
    with files.replacing(place) as beside:
        beside.mkdir()
        if not numbers["not_finite"]:
            write = _write_classes if data.num_classes else _write_numbers
            title = f"{_name(model)}\n{config.dataset}, {split}"
            numbers |= write(beside, targets, outputs, data, title)
        files.write_json(beside / RESULT, numbers)
    return Evaluation(place, numbers)


def _check_fit(model: pathlib.Path, served: Served, dataset: str, data: Data) -> None:
    """Raises a ValueError unless a function takes the inputs, and returns what fits targets."""
    for noun, own, wanted in (
        ("inputs", served.inputs, data.input_shape),
        ("outputs", served.outputs, data.output_shape),
    ):
        if not own.shape.is_compatible_with((None, *wanted)):
            raise ValueError(
                f"Expected a data set for {noun} of shape {own.shape}, those of {model}. "
                f"Received: {dataset}, with {(None, *wanted)}"
            )


def _write_classes(
    directory: pathlib.Path, targets: np.ndarray, outputs: np.ndarray, data: Data, title: str
) -> dict[str, Any]:
    """Writes the files about classes, and returns numbers."""
    names = data.class_names or [str(label) for label in range(outputs.shape[-1])]
    labels = targets if targets.ndim == 1 else targets.argmax(-1)
    predictions = outputs.argmax(-1)
    confusion = classification.confusion_matrix(labels, predictions, len(names))
    classes = classification.by_class(confusion)
    (directory / "classes.md").write_text(classification.class_table(classes, names) + "\n")
    files.write_csv(
        directory / "confusion.csv",
        ["class", *names],
        ([name, *row] for name, row in zip(names, confusion, strict=True)),
    )
    paths = [directory / f"confusion.{form}" for form in ("png", "svg")]
    classification.confusion_figure(confusion, names, title, paths)
    if len(names) > _MANY:
        np.savez_compressed(
            directory / "predictions.npz", label=labels, prediction=predictions, score=outputs
        )
    else:
        files.write_csv(
            directory / "predictions.csv",
            ["index", "label", "prediction", *(f"score {name}" for name in names)],
            (
                [index, names[label], names[prediction], *row]
                for index, (label, prediction, row) in enumerate(
                    zip(labels, predictions, outputs, strict=True)
                )
            ),
        )
    return {
        "accuracy": float(np.mean(labels == predictions)),
        "classes": [
            {"name": name}
            | {key: _finite(value) for key, value in zip(classes._fields[:-1], row, strict=True)}
            | {"support": int(support)}
            for name, *row, support in zip(names, *classes, strict=True)
        ],
    }


def _write_numbers(
    directory: pathlib.Path, targets: np.ndarray, outputs: np.ndarray, data: Data, title: str
) -> dict[str, Any]:
    """Writes the files about numbers [batch, ..., outputs], and returns numbers."""
    squares = (outputs - targets) ** 2
    if squares.ndim == 3:  # Sequences [batch, time, outputs].
        errors = np.mean(squares, (0, 2))
        guess = np.mean((targets - targets.mean()) ** 2, (0, 2))
        files.write_csv(
            directory / "errors.csv",
            ["step", "mean squared error", "of guessing the mean"],
            zip(range(len(errors)), errors, guess, strict=True),
        )
        paths = [directory / f"errors.{form}" for form in ("png", "svg")]
        classification.error_figure(errors, guess, title, paths)
    np.savez_compressed(directory / "predictions.npz", target=targets, prediction=outputs)
    return {
        "mean_squared_error": float(np.mean(squares)),
        "chance": data.chance,
    }


def _count_not_finite(outputs: np.ndarray) -> int:
    """Returns the number of examples with an output that is not finite."""
    return int(np.sum(~np.isfinite(outputs).all(tuple(range(1, outputs.ndim)))))


def _finite(value: Any) -> float | None:
    """Returns a number for JSON, which has none for what is not finite."""
    return float(value) if math.isfinite(value) else None
