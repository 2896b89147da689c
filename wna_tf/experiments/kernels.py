"""The tangent kernels of finished runs: their spectra, and the training that they predict."""

import dataclasses
import functools
import hashlib
import math
import pathlib
import shutil
import time
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from wna_tf import datasets, files, locks, losses, measures, ntk, progress
from wna_tf.datasets import Data
from wna_tf.experiments import build, environment, export, kernel_files, run_directory, training
from wna_tf.experiments.config import NONE, Config
from wna_tf.experiments.reporting import tables
from wna_tf.experiments.run_directory import Run
from wna_tf.learner import Learner
from wna_tf.ntk import empirical

EXAMPLES, GIGABYTES = 300, 2.0
# A part of the mean eigenvalue: the smallest are below what float32 resolves beside the largest.
_RIDGE = 1e-4


class Planned(NamedTuple):
    """A run whose kernel is to be computed.

    Attributes:
        run: The run.
        config: Its configuration, with the data where they are now.
        train: Number of training examples.
        test: Number of test examples.
    """

    run: Run
    config: Config
    train: int
    test: int

    @property
    def folder(self) -> pathlib.Path:
        """The directory of the kernel."""
        return self.run.directory / kernel_files.FOLDER

    @property
    def settings(self) -> dict[str, int]:
        """What a kernel that was begun must have been begun with."""
        return {"train": self.train, "test": self.test}


class Computed(NamedTuple):
    """A kernel that has been computed.

    Attributes:
        directory: Where it is, with all that was found out.
        record: What its `kernel.json` says.
    """

    directory: pathlib.Path
    record: dict[str, Any]


def plan(
    directory: pathlib.Path, examples: int = EXAMPLES, data_dir: str | None = None
) -> list[Planned]:
    """Returns the runs whose kernels are to be computed; nothing is begun.

    Args:
        directory: As in `compute_kernels`, and so are `examples` and `data_dir`.
        examples: Number of examples.
        data_dir: Directory of the data sets.

    Raises:
        FileNotFoundError: As in `compute_kernels`.
        ValueError: As in `compute_kernels`.
    """
    if examples < 1:
        raise ValueError(f"Expected examples to be at least 1. Received: examples={examples}")
    planned = []
    for place in run_directory.finished_runs(directory.resolve()):
        run, config = run_directory.read_run(place), training.read_config(place)
        if data_dir is not None:
            config = dataclasses.replace(config, data_dir=data_dir)
        training.check(config)
        sizes = build.load_data(config).sizes
        one = Planned(run, config, min(examples, sizes["train"]), min(examples, sizes["test"]))
        kernel_files.check(place, one.settings)
        planned.append(one)
    return planned


def compute_kernels(
    directory: pathlib.Path,
    examples: int = EXAMPLES,
    max_gigabytes: float = GIGABYTES,
    data_dir: str | None = None,
) -> list[Computed]:
    """Computes the traced tangent kernels of finished runs, and writes what follows from them.

    A run's directory gets `kernel/` with `train.npy`, the kernel of the first training examples
    with themselves at the run's initial weights, and `test.npy`, that of the first test examples
    with these; `spectrum.csv`; `prediction.csv`, the curves of gradient flow beside the run's own,
    if it was trained with the mean squared error and plain SGD; and at last `kernel.json`. A
    kernel that is there is not computed anew, one that was interrupted is continued.

    Args:
        directory: A finished run, or a directory of them.
        examples: Number of examples of either kind; all where there are fewer.
        max_gigabytes: Memory of a kernel's computation, see `ntk.empirical_ntk`.
        data_dir: Directory of the data sets, in place of that of the runs.

    Returns:
        The kernels, by the name of the run.

    Raises:
        FileNotFoundError: If there is no finished run, or no data.
        ValueError: If a model cannot be read, or has several outputs, or if a kernel of other
            examples is there.
        OSError: If a kernel cannot be written, or another process computes it.
    """
    computed: list[Computed] = []
    made: dict[str, pathlib.Path] = {}  # Files of kernels, by what these depend on.
    for planned in progress.track(plan(directory, examples, data_dir), "Kernels", "runs"):
        keras.backend.clear_session()  # The run before leaves its graphs.
        learner = _load(planned.run.directory)
        with locks.claimed(planned.folder):
            record = _compute(planned, learner, examples, max_gigabytes, made)
        computed.append(Computed(planned.folder, record))
    return computed


def describe(computed: list[Computed]) -> str:
    """Returns kernels in Markdown: a row and a place each, and why there is no prediction."""
    head = ["run", "train", "test", "alignment", "effective rank"]
    lines = [[*head, "kernel regression (%)", "trained (%)"]]
    for directory, record in computed:
        scores = [record.get(f"{of}_test_accuracy") for of in ("regression", "trained")]
        lines.append(
            [
                directory.parent.name,
                str(record["train_examples"]),
                str(record["test_examples"]),
                f"{record['alignment']:.3f}",
                f"{record['effective_rank']:.1f}",
                *("-" if score is None else f"{100 * score:.1f}" for score in scores),
            ]
        )
    reasons = [
        f"No prediction of {directory.parent.name}: {record['no_prediction']}."
        for directory, record in computed
        if record["no_prediction"]
    ]
    places = [f"Kernel: {directory}" for directory, _ in computed]
    return "\n\n".join([tables.markdown(lines), "\n".join([*reasons, *places])])


def _load(directory: pathlib.Path) -> Learner:
    learner = export.load(directory)
    outputs = len(learner.network.outputs)
    if outputs != 1:
        raise ValueError(
            "Expected a network with one output. "
            f"Received: {directory / run_directory.MODEL}, with {outputs}"
        )
    return learner


class _Examples(NamedTuple):
    """Examples of one kind.

    Attributes:
        x: Inputs, [size, ...].
        y: Targets as the loss takes them.
        initial: The initial network's outputs, [size, outputs]; sequences' axes are one.
    """

    x: tf.Tensor
    y: np.ndarray
    initial: np.ndarray


def _compute(
    planned: Planned,
    learner: Learner,
    asked: int,
    max_gigabytes: float,
    made: dict[str, pathlib.Path],
) -> dict[str, Any]:
    """Computes the kernels of a run as far as they are not there, and writes all else anew."""
    run, config, folder = planned.run, planned.config, planned.folder
    start = time.monotonic()
    data = build.load_data(config)
    with datasets.named_errors():
        train = _read(learner, data.training.in_turn(), planned.train)
        test = _read(learner, data.test, planned.test)
    measured = empirical.measure(learner, train.x)
    # It raises an error before anything is written.
    empirical.fit(measured, max(planned.train, planned.test), "trace", max_gigabytes)
    files.write_json(folder / kernel_files.SETTINGS, planned.settings)
    kernels = [
        _kernel(folder / name, learner, x1, x2, max_gigabytes, made)
        for name, x1, x2 in (
            (kernel_files.TRAIN, train.x, None),
            (kernel_files.TEST, test.x, train.x),
        )
    ]
    targets = [_centred(examples.y, data) for examples in (train, test)]
    reason = _no_prediction(config)
    goals = targets if reason else [_flat(examples.y) for examples in (train, test)]
    predictor = ntk.Predictor(kernels[0], train.initial, goals[0])
    eigenvalues = predictor.eigenvalues[::-1]
    trace = float(np.trace(kernels[0], dtype="float64"))
    ridge = _RIDGE * trace / planned.train
    score = functools.partial(_score, has_classes=bool(data.num_classes))
    regressed = predictor.regress(ridge, kernels[1], test.initial)
    trained = _outputs(learner, test.x, config.batch_size)
    record = {
        "kernel_examples": asked,
        "train_examples": planned.train,
        "test_examples": planned.test,
        "trained_on": len(data.training.positions),
        "outputs": train.initial.shape[1],
        "of_one_batch": measured.is_coupled,
        "alignment": float(measures.label_alignment(kernels[0], targets[0])),
        "effective_rank": float(measures.effective_rank(eigenvalues)),
        "trace": trace,
        "ridge": ridge,
        **_named("regression_train", score(predictor.regress(ridge), goals[0])),
        **_named("regression_test", score(regressed, goals[1])),
        **_named("trained_test", score(trained, goals[1])),
        "no_prediction": reason,
        "seconds": time.monotonic() - start,
        "versions": environment.versions(),
    }
    files.write_rows(
        folder / kernel_files.SPECTRUM,
        [
            {"index": index, "eigenvalue": value, "share": value / trace}
            for index, value in enumerate(eigenvalues, 1)
        ],
    )
    if reason is None:
        rows = _predict(run, config, data.steps, predictor, kernels[1], test, goals, score)
        files.write_rows(folder / kernel_files.PREDICTION, rows)
    files.write_json(folder / kernel_files.RECORD, record)
    return record


def _kernel(
    path: pathlib.Path,
    learner: Learner,
    x1: tf.Tensor,
    x2: tf.Tensor | None,
    max_gigabytes: float,
    made: dict[str, pathlib.Path],
) -> np.ndarray:
    """Returns a kernel, computed unless it is there, or is that of a run before."""
    identity = _digest(learner, x1, x2)
    if not path.exists() and identity in made:
        with files.replacing(path) as beside:
            shutil.copyfile(made[identity], beside)
    elif not path.exists():
        ntk.empirical_ntk(
            learner, x1, x2, output="trace", max_gigabytes=max_gigabytes, filepath=path
        )
    made[identity] = path
    return kernel_files.load(path, (len(x1), len(x1 if x2 is None else x2)))


def _digest(learner: Learner, *inputs: tf.Tensor | None) -> str:
    """Returns what runs have in common that have the same kernel: all but what they learned."""
    digest = hashlib.sha256(learner.network.to_json().encode())
    _, initial = learner.weight_values()
    for tensor in (*initial.values(), *inputs):
        digest.update(b"" if tensor is None else np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()


def _read(learner: Learner, batches: tf.data.Dataset, size: int) -> _Examples:
    """Reads the first examples of some batches."""
    pairs, left = [], size
    for x, y in batches:
        pairs.append((x[:left], y[:left].numpy()))
        left -= len(pairs[-1][1])
        if left == 0:
            break
    xs, ys = zip(*pairs, strict=True)
    x = tf.concat(xs, 0)

    @tf.function(autograph=False)
    def evaluate(x: tf.Tensor) -> tf.Tensor:
        return learner.evaluate_networks(x, training=False)["initial"].outputs[0]

    # The kernel's batch is all of them, where a batch has statistics.
    parts = [x] if empirical.measure(learner, x).is_coupled else xs
    # Concrete: TensorFlow warns where the calls of many runs write a graph each.
    concrete = [evaluate.get_concrete_function(part) for part in parts]
    initial = np.concatenate(
        [_flat(graph(part).numpy()) for graph, part in zip(concrete, parts, strict=True)]
    )
    return _Examples(x, np.concatenate(ys), initial)


def _outputs(learner: Learner, x: tf.Tensor, batch_size: int) -> np.ndarray:
    """Returns what a run has learned to say of inputs, [size, outputs]."""
    begins = range(0, len(x), batch_size)
    parts = [learner(x[i : i + batch_size], training=False).numpy() for i in begins]
    return _flat(np.concatenate(parts))


def _flat(values: np.ndarray) -> np.ndarray:
    """Returns numbers, [size, outputs]."""
    return np.asarray(values, "float64").reshape(len(values), -1)


def _centred(y: np.ndarray, data: Data) -> np.ndarray:
    """Returns targets, [size, outputs]: `one_hot(label) - 1 / C`, or numbers less their means."""
    if not data.num_classes:
        return _flat(y) - _flat(y).mean(0)
    labels = y if y.ndim == 1 else y.argmax(-1)
    return np.eye(data.num_classes)[labels] - 1 / data.num_classes


def _no_prediction(config: Config) -> str | None:
    """Returns why gradient flow on the mean squared error does not predict a run."""
    reasons = {
        f"its loss is {config.loss}, not mse": losses.get(config.loss) is not losses.get("mse"),
        f"its optimizer is {config.optimizer}, not sgd": config.optimizer != "sgd",
        f"its momentum is {config.momentum:g}": config.momentum > 0,
        f"its ridge term is {config.ridge:g}": config.ridge > 0,
        f"its images are augmented by {config.augment}": config.augment != NONE,
    }
    return next((reason for reason, is_true in reasons.items() if is_true), None)


def _score(outputs: np.ndarray, targets: np.ndarray, has_classes: bool) -> dict[str, float | None]:
    """Returns loss and accuracy of outputs; those of outputs that are not finite are None."""
    is_finite = bool(np.isfinite(outputs).all())
    loss = float(np.mean((outputs - targets) ** 2)) if is_finite else None
    if not has_classes:
        return {"loss": loss}
    right = np.mean(outputs.argmax(-1) == targets.argmax(-1))
    return {"loss": loss, "accuracy": float(right) if is_finite else None}


def _named(name: str, scores: dict[str, float | None]) -> dict[str, float | None]:
    return {f"{name}_{key}": value for key, value in scores.items()}


def _predict(
    run: Run,
    config: Config,
    steps: int,
    predictor: ntk.Predictor,
    kernel: np.ndarray,
    test: _Examples,
    targets: list[np.ndarray],
    score: Any,
) -> list[dict[str, float]]:
    """Returns a row for each epoch of a run's history, and one of the beginning."""
    epochs = range(len(run.history) + 1)
    times = [config.learning_rate * steps * epoch for epoch in epochs]
    on_train, on_test = predictor.flow(times), predictor.flow(times, kernel, test.initial)
    rows = []
    for epoch in epochs:
        scores = _named("predicted_train", score(on_train[epoch], targets[0]))
        scores |= _named("predicted_test", score(on_test[epoch], targets[1]))
        own = run.history[epoch - 1] if epoch else {}
        for column, name in (("", "trained_train"), ("val_", "trained_validation")):
            scores |= _named(
                name, {key: own.get(f"{column}{key}", math.nan) for key in ("loss", "accuracy")}
            )
        rows.append(
            {"epoch": epoch, "step": steps * epoch, "time": times[epoch]}
            | {
                name: value
                for name, value in scores.items()
                if value is not None and math.isfinite(value)
            }
        )
    return rows
