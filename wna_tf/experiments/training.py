"""Training one run from its configuration."""

import contextlib
import math
import pathlib
from collections.abc import Sequence
from typing import Any

from wna_tf import caching, callbacks, datasets, files, locks, rules, steps
from wna_tf.datasets import Data
from wna_tf.experiments import build, environment, resume, reuse, run_directory, strategies
from wna_tf.experiments import config as configs
from wna_tf.experiments.config import Config, Setup
from wna_tf.learner import Learner

_SETUP = Setup()


def check(config: Config, setup: Setup = _SETUP) -> None:
    """Checks a run, before anything is loaded or written.

    Raises:
        ValueError: As `build.check`, or if a frozen network that is to be cached has batch
            statistics, or TensorBoard is not installed.
    """
    build.check(config)
    if setup.tensorboard:
        callbacks.check_tensorboard()
    if setup.cache_frozen and rules.get(config.rule).runs_frozen and build.normalizes(config):
        raise ValueError(
            "Expected normalize=False with cache_frozen: with statistics of the batch an example "
            "is another in every batch. Received: normalize=True"
        )


def read_config(directory: pathlib.Path) -> Config:
    """Reads the configuration of a run.

    Raises:
        ValueError: If its file is damaged, or no configuration; the message names it.
    """
    path = directory / run_directory.CONFIG
    values = files.read_json(path)
    try:
        return configs.from_dict(values)
    except ValueError as error:
        raise ValueError(f"{error} in {path}") from error


def check_directory(config: Config, directory: pathlib.Path) -> None:
    """Checks that a directory is that of a run, if there is one, and whole if it is finished.

    Raises:
        FileNotFoundError: If a file of a finished run is missing.
        ValueError: If its `config.json` is another run's, or a file of it is damaged.
    """
    if run_directory.state(directory) == "finished":
        run_directory.read_run(directory)
    if (directory / run_directory.CONFIG).is_file():
        recorded = read_config(directory)
        build.check_digests(recorded, config)
        ours, theirs = config.to_dict(), recorded.to_dict()
        others = [
            f"{name}={theirs[name]!r}"
            for name in ours
            if ours[name] != theirs[name] and name not in build.DIGESTS
        ]
        if others:
            raise ValueError(
                "Expected the run directory of this configuration. "
                f"Received: {directory / run_directory.CONFIG}, with {', '.join(others)}"
            )


def _diagnostics(config: Config, data: Data) -> list[callbacks.Diagnostic]:
    """Returns the diagnostics of a run, which leave its training as it is."""
    made = []
    for name in config.diagnostics:
        diagnostic = callbacks.get(name)
        batch: Sequence[Any] = ()
        if issubclass(diagnostic, callbacks.BatchDiagnostic):
            # One of the training batches would move the order of the others.
            batch = (
                data.training.draw(diagnostic.training_examples)
                if diagnostic.training_examples
                else next(iter(data.test if data.validation is None else data.validation))
            )
        made.append(diagnostic(*batch))
    return made


def train(config: Config, directory: pathlib.Path, setup: Setup = _SETUP) -> run_directory.Run:
    """Trains one run, unless it is finished, and writes its directory.

    The directory gets `config.json`, `history.csv` (rewritten after every epoch), `model.keras`
    (the learner) and at last `result.json`. Nothing is written before data and network are there.
    Until then it has `checkpoints/`, from which a run that was killed continues,
    with the same result to the bit.

    Args:
        config: The run.
        directory: Its directory, made if it is not there.
        setup: How it is trained.

    Returns:
        The run, as `run_directory.read_run` reads it.

    Raises:
        ValueError: If the configuration does not fit the data, the frozen network cannot be
            cached, or the directory is another run's or damaged, or the saved model that it begins
            with is another one than at its beginning.
        FileNotFoundError: If the data set, or that model, is not there.
        locks.Busy: If another process trains the run.
    """
    config = build.pin(config)
    check(config, setup)
    devices = strategies.get(setup.strategy)
    with contextlib.ExitStack() as claims:

        def claim() -> str | None:
            try:
                claims.enter_context(locks.claimed(directory))
            except locks.Busy:
                return None
            check_directory(config, directory)
            run_directory.clean(directory)
            return run_directory.state(directory)

        state = strategies.from_chief(devices, claim)
        if state is None:
            raise locks.Busy(directory)
        if state == "finished":
            return run_directory.read_run(directory)
        with strategies.writable(devices, directory) as own:
            _train(config, own, setup, directory / run_directory.CHECKPOINTS)
            run_directory.clean(own)
            return run_directory.read_run(own)


def _train(
    config: Config, directory: pathlib.Path, setup: Setup, checkpoints: pathlib.Path
) -> None:
    with reuse.lent(config, setup.strategy) as (data, learner):
        if setup.cache_frozen:
            data = _cache(learner, data, setup.cache_gigabytes)
        _fit(config, directory, setup, checkpoints, data, learner)


def _fit(
    config: Config,
    directory: pathlib.Path,
    setup: Setup,
    checkpoints: pathlib.Path,
    data: Data,
    learner: Learner,
) -> None:
    boards = [callbacks.TensorBoard(directory / "tensorboard")] if setup.tensorboard else []
    (directory / run_directory.FAILURE).unlink(missing_ok=True)
    files.write_json(directory / run_directory.CONFIG, config.to_dict())
    history = callbacks.HistoryFile(directory / run_directory.HISTORY)
    divergence = callbacks.Divergence()
    with datasets.named_errors():
        resume.fit(
            learner,
            data,
            config.epochs,
            [
                callbacks.RidgeUntil(config.ridge_epochs or config.epochs),
                *_diagnostics(config, data),
                history,
                *boards,
                callbacks.Progress(),
                divergence,
            ],
            checkpoints,
            {"config": config.to_dict()},
            setup.checkpoint_every,
        )
        test = steps.Evaluation(learner, data.test).evaluate()
    seconds = history.seconds
    with files.replacing(directory / run_directory.MODEL) as beside:
        learner.save(beside)
    files.write_json(
        directory / run_directory.RESULT,
        _summarize(history.rows, test)
        | {"diverged": divergence.found}
        | _describe(learner, data)
        | {"seconds": seconds},
    )


def _cache(learner: Learner, data: Data, gigabytes: float) -> Data:
    """Returns the data with what the frozen network makes of them, and says what is kept."""
    kept = caching.choose(learner, data, gigabytes)
    if kept:
        print(f"Keeping {', '.join(kept)} of the frozen network: {sum(kept.values()):.2g} GB.")
    return caching.keep(learner, data, kept)


def _summarize(rows: Sequence[dict[str, float]], test: dict[str, float]) -> dict[str, Any]:
    """Returns the metrics of the last epoch, the best of each, and the one evaluation on test.

    Diagnostics keep their names: they have no best.
    """
    values = {}
    columns = {column for name in callbacks.names() for column in callbacks.get(name).columns}
    for key in dict.fromkeys(key for row in rows for key in row if key not in ("epoch", "seconds")):
        numbers = [row[key] for row in rows if key in row]
        if key.split("/")[0] in columns:
            values[key] = numbers[-1]
            continue
        split, metric = ("validation", key[4:]) if key.startswith("val_") else ("train", key)
        best = min if metric == "loss" else max
        values[f"{split}_{metric}"] = numbers[-1]
        values[f"best_{split}_{metric}"] = best(filter(math.isfinite, numbers), default=math.nan)
    values |= {f"test_{metric}": value for metric, value in test.items()}
    # JSON has no numbers for what a diverged run gives.
    finite = {key: value if math.isfinite(value) else None for key, value in values.items()}
    return finite | {"epochs": len(rows)}


def _describe(learner: Learner, data: Data) -> dict[str, Any]:
    """Returns what else there is to know of a run."""
    return {
        "chance": data.chance,
        "parameters": learner.network.count_params(),
        "examples": data.sizes,
        "batch_size": data.batch_size,
        "versions": environment.versions(),
    }
