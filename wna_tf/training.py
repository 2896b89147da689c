"""Training one run from its configuration."""

import contextlib
import dataclasses
import functools
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from wna_tf import (
    callbacks,
    credit,
    datasets,
    environment,
    files,
    frozen,
    locks,
    losses,
    models,
    results,
    resume,
    rules,
    strategies,
)
from wna_tf import config as configs
from wna_tf.config import Config
from wna_tf.datasets import Data, pipeline
from wna_tf.learner import Learner


@dataclasses.dataclass(frozen=True)
class Setup:
    """How a run is trained: what does not belong to its configuration.

    Attributes:
        strategy: Devices, see `strategies.get`. The number of replicas does not change the
            result, unless each normalizes its own part of a batch (see `Config.synchronized`).
        checkpoint_every: Steps from one checkpoint to the next.
        tensorboard: Whether the history is also written for TensorBoard, to `tensorboard/`.
        cache_frozen: Whether what the frozen network contributes is kept in memory, see
            `frozen.cache`. It changes the result by rounding at most.
        cache_gigabytes: Memory for it in each process that trains, in units of 1e9 bytes.

    Raises:
        ValueError: If a value is wrong, or TensorBoard is not installed.
    """

    strategy: str = "auto"
    checkpoint_every: int = resume.EVERY
    tensorboard: bool = False
    cache_frozen: bool = False
    cache_gigabytes: float = frozen.GIGABYTES

    def __post_init__(self):
        strategies.check(self.strategy)
        resume.check(self.checkpoint_every)
        frozen.check(self.cache_gigabytes)
        if self.tensorboard:
            callbacks.check_tensorboard()


_SETUP = Setup()


def check(config: Config, setup: Setup = _SETUP) -> None:
    """Checks a configuration, before anything is loaded or written.

    Raises:
        ValueError: If the rule, the data set, the model, the activation, the loss or a diagnostic
            is unknown, the loss does not fit the data set, the rule is not one for forward credit,
            or its frozen network, which is to be cached, has batch statistics.
    """
    rule = rules.get(config.rule)
    _credit(config).check(rule)
    models.get(config.model)
    if setup.cache_frozen and rule.runs_frozen and models.normalizes(config):
        raise ValueError(
            "Expected normalize=False with cache_frozen: with statistics of the batch an example "
            "is another in every batch. Received: normalize=True"
        )
    datasets.check(config.dataset)
    _targets(config)
    callbacks.check_diagnostics(config.diagnostics)
    try:
        keras.activations.get(config.activation)
    except ValueError:
        raise ValueError(
            "Expected activation to be the name of one in keras.activations. "
            f"Received: activation={config.activation!r}"
        ) from None


def read_config(directory: pathlib.Path) -> Config:
    """Reads the configuration of a run.

    Raises:
        ValueError: If its file is damaged, or no configuration; the message names it.
    """
    path = directory / results.CONFIG
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
    if results.state(directory) == "finished":
        results.read_run(directory)
    if (directory / results.CONFIG).is_file():
        ours, theirs = config.to_dict(), read_config(directory).to_dict()
        others = [f"{name}={theirs[name]!r}" for name in ours if ours[name] != theirs[name]]
        if others:
            raise ValueError(
                "Expected the run directory of this configuration. "
                f"Received: {directory / results.CONFIG}, with {', '.join(others)}"
            )


def count_steps(config: Config) -> int:
    """Returns the number of steps of a run, from the official size of its data set.

    Raises:
        FileNotFoundError: If images are to be counted that are not there.
    """
    size = datasets.training_size(config.dataset, config.data_dir, config.validation_size)
    limit = None if config.data_limit is None else min(config.data_limit, size)
    trained, batch_size = pipeline.limit(size, config.batch_size, limit)
    return config.epochs * math.ceil(trained / batch_size)


def _credit(config: Config) -> credit.Credit:
    return {"reverse": credit.Reverse, "forward": lambda: credit.Forward(config.num_tangents)}[
        config.credit
    ]()


def load_data(config: Config) -> Data:
    """Loads the data set of a run; the last one is kept, since the next run often has the same."""
    return _load(
        config.dataset,
        batch_size=config.batch_size,
        data_dir=config.data_dir,
        validation_size=config.validation_size,
        data_limit=config.data_limit,
        seed=config.seed,
        image_size=config.image_size,
        skip_corrupt=config.skip_corrupt,
        targets=_targets(config),
    )


def _targets(config: Config) -> str | None:
    return losses.targets(config.loss, datasets.has_classes(config.dataset))


_load = functools.lru_cache(maxsize=1)(datasets.load)


def build(config: Config, data: Data) -> Learner:
    """Builds the compiled learner of a run."""
    network = models.build(config, data.input_shape, data.num_outputs)
    learner = Learner(network, rule=config.rule, seed=config.seed, credit=_credit(config))
    learner.compile(
        optimizer=_optimizer(config, network),
        loss=losses.get(config.loss),
        metrics=["accuracy"] if data.num_classes else [],
        jit_compile=config.jit_compile,
    )
    return learner


def _optimizer(config: Config, network: keras.Model) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a run; the ridge term is its weight decay, on the last kernel."""
    optimizers = {
        "sgd": keras.optimizers.SGD,
        # The epsilon of the public code.
        "adam": functools.partial(keras.optimizers.Adam, epsilon=1e-8),
    }
    optimizer = optimizers[config.optimizer](
        config.learning_rate, weight_decay=config.ridge or None
    )
    last = network.get_layer("head").kernel
    others = [variable for variable in network.trainable_variables if variable is not last]
    optimizer.exclude_from_weight_decay(var_list=others)
    return optimizer


def prepare(config: Config, strategy: str = "single") -> tuple[Data, Learner]:
    """Makes the data and the learner of a run, seeded.

    Args:
        config: The run.
        strategy: Its devices, see `strategies.get`.

    Raises:
        ValueError: If the configuration does not fit the data, or the network the memory.
        FileNotFoundError: If the data set is not there.
    """
    check(config)
    keras.backend.clear_session()  # The run before leaves its graphs, and takes layers' names.
    keras.utils.set_random_seed(config.seed)
    keras.config.set_floatx("float64" if config.precision == "float64" else "float32")
    keras.config.set_dtype_policy(config.precision)
    if not config.jit_compile:  # Keras does without XLA where operations must be deterministic.
        tf.config.experimental.enable_op_determinism()
    devices = strategies.get(strategy)
    data = load_data(config)
    with devices.scope():
        try:
            return data, build(config, data)
        except tf.errors.ResourceExhaustedError as error:
            raise ValueError(
                "Expected a network that fits into memory. "
                f"Received: {config.model} with width={config.width}"
            ) from error


def _diagnostics(config: Config, data: Data) -> list[callbacks.Diagnostic]:
    """Returns the diagnostics of a run, which leave its training as it is."""
    made = []
    for name in config.diagnostics:
        diagnostic = callbacks.DIAGNOSTICS[name]
        batch = ()
        if issubclass(diagnostic, callbacks.BatchDiagnostic):
            # One of the training batches would move the order of the others.
            batch = next(iter(data.test if data.validation is None else data.validation))
        made.append(diagnostic(*batch))
    return made


def train(config: Config, directory: pathlib.Path, setup: Setup = _SETUP) -> results.Run:
    """Trains one run, unless it is finished, and writes its directory.

    The directory gets `config.json`, `history.csv` (rewritten after every epoch), `model.keras`
    (the learner) and at last `result.json`. Nothing is written before data and network are there.
    Until then it has `checkpoints/`, from which a run that was killed goes on to the same bits.

    Args:
        config: The run.
        directory: Its directory, made if it is not there.
        setup: How it is trained.

    Returns:
        The run, as `results.read_run` reads it.

    Raises:
        ValueError: If the configuration does not fit the data, the frozen network cannot be
            cached, or the directory is another run's or damaged.
        FileNotFoundError: If the data set is not there.
        locks.Busy: If another process trains the run.
    """
    check(config, setup)
    devices = strategies.get(setup.strategy)
    with contextlib.ExitStack() as claims:

        def claim() -> str | None:
            try:
                claims.enter_context(locks.claimed(directory))
            except locks.Busy:
                return None
            check_directory(config, directory)
            results.clean(directory)
            return results.state(directory)

        state = strategies.from_chief(devices, claim)
        if state is None:
            raise locks.Busy(directory)
        if state == "finished":
            return results.read_run(directory)
        with strategies.writable(devices, directory) as own:
            _train(config, own, setup, directory / results.CHECKPOINTS)
            results.clean(own)
            return results.read_run(own)


def _train(
    config: Config, directory: pathlib.Path, setup: Setup, checkpoints: pathlib.Path
) -> None:
    boards = [callbacks.TensorBoard(directory / "tensorboard")] if setup.tensorboard else []
    data, learner = prepare(config, setup.strategy)
    if setup.cache_frozen:
        data = _cache(learner, data, setup.cache_gigabytes)
    (directory / results.FAILURE).unlink(missing_ok=True)
    files.write_json(directory / results.CONFIG, config.to_dict())
    history = callbacks.HistoryFile(directory / results.HISTORY)
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
        test = learner.evaluate(data.test, verbose=0, return_dict=True)
    seconds = history.seconds
    with files.replacing(directory / results.MODEL) as beside:
        learner.save(beside)
    files.write_json(
        directory / results.RESULT,
        _summarize(history.rows, test)
        | {"diverged": divergence.found}
        | _describe(learner, data)
        | {"seconds": seconds},
    )


def _cache(learner: Learner, data: Data, gigabytes: float) -> Data:
    """Returns the data with what the frozen network makes of them, and says what is kept."""
    kept = frozen.choose(learner, data, gigabytes)
    if kept:
        print(f"Keeping {', '.join(kept)} of the frozen network: {sum(kept.values()):.2g} GB.")
    return frozen.keep(learner, data, kept)


def _summarize(rows: Sequence[dict[str, float]], test: dict[str, float]) -> dict[str, Any]:
    """Returns the metrics of the last epoch, the best of each, and the one evaluation on test.

    Diagnostics keep their names: they have no best.
    """
    values = {}
    columns = {column for kind in callbacks.DIAGNOSTICS.values() for column in kind.columns}
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
    values = {key: value if math.isfinite(value) else None for key, value in values.items()}
    return values | {"epochs": len(rows)}


def _describe(learner: Learner, data: Data) -> dict[str, Any]:
    """Returns what else there is to know of a run."""
    return {
        "chance": data.chance,
        "parameters": learner.network.count_params(),
        "examples": data.sizes,
        "batch_size": data.batch_size,
        "versions": environment.versions(),
    }
