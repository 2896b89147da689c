"""From a configuration to data and a compiled learner."""

import dataclasses
import functools
import inspect
import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from wna_tf import callbacks, credit, datasets, losses, models, rules
from wna_tf.datasets import Data, pipeline
from wna_tf.experiments import optimizers, strategies
from wna_tf.experiments.config import Config
from wna_tf.learner import Learner


def choices() -> dict[str, Sequence[str]]:
    """Returns what may be chosen for fields of which `Config` does not know it, by field."""
    return {
        "rule": rules.names(),
        "dataset": datasets.names(),
        "model": models.names(),
        "optimizer": optimizers.names(),
        "loss": losses.names(),
        "diagnostics": tuple(callbacks.DIAGNOSTICS),
    }


def check(config: Config) -> None:
    """Checks a configuration, before anything is loaded or written.

    Raises:
        ValueError: If the rule, the data set, the model, the activation, the loss, the optimizer
            or a diagnostic is unknown, the loss does not fit the data set, the optimizer has no
            momentum or ridge term where one is asked for, or the rule is not one for forward
            credit.
    """
    _credit(config).check(rules.get(config.rule))
    models.get(config.model)
    datasets.check(config.dataset)
    _targets(config)
    optimizers.check(config)
    callbacks.check_diagnostics(config.diagnostics)
    try:
        keras.activations.get(config.activation)
    except ValueError:
        raise ValueError(
            "Expected activation to be the name of one in keras.activations. "
            f"Received: activation={config.activation!r}"
        ) from None


def count_steps(config: Config) -> int:
    """Returns the number of steps of a run, from the official size of its data set.

    Raises:
        FileNotFoundError: If images are to be counted that are not there.
    """
    size = datasets.training_size(config.dataset, config.data_dir, config.validation_size)
    limit = None if config.data_limit is None else min(config.data_limit, size)
    trained, batch_size = pipeline.limit(size, config.batch_size, limit)
    return config.epochs * math.ceil(trained / batch_size)


def load_data(config: Config) -> Data:
    """Loads the data set of a run; the last one is kept, since the next run often has the same."""
    data = _load(
        config.dataset,
        batch_size=config.batch_size,
        data_dir=config.data_dir,
        validation_size=config.validation_size,
        data_limit=config.data_limit,
        seed=config.seed if datasets.is_generated(config.dataset) else 0,
        image_size=config.image_size,
        skip_corrupt=config.skip_corrupt,
        targets=_targets(config),
    )
    return data.shuffled_by(config.seed)


def _targets(config: Config) -> str | None:
    return losses.targets(config.loss, datasets.has_classes(config.dataset))


_load = functools.lru_cache(maxsize=1)(datasets.load)


def network(config: Config, input_shape: Sequence[int], num_outputs: int) -> keras.Model:
    """Builds the network of a configuration, from the fields that its model takes.

    Args:
        config: The configuration.
        input_shape: Shape of one example.
        num_outputs: Number of outputs; of classes, in a classifier.

    Raises:
        ValueError: If the configuration does not make such a network.
    """
    model = models.get(config.model)
    given = {"input_shape": input_shape, "num_outputs": num_outputs, "num_classes": num_outputs}
    given |= {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    return model(**{name: given[name] for name in inspect.signature(model).parameters})


def normalizes(config: Config) -> bool:
    """Returns whether the network of a configuration normalizes by batch statistics."""
    model = models.get(config.model)
    return config.normalize and "normalize" in inspect.signature(model).parameters


def learner(config: Config, data: Data) -> Learner:
    """Builds the compiled learner of a run."""
    made = Learner(
        network(config, data.input_shape, data.num_outputs),
        rule=config.rule,
        seed=config.seed,
        credit=_credit(config),
    )
    made.compile(
        optimizer=optimizers.make(config, made),
        loss=losses.get(config.loss),
        metrics=["accuracy"] if data.num_classes else [],
        jit_compile=config.jit_compile,
    )
    return made


def _credit(config: Config) -> credit.Credit:
    if config.credit == "forward":
        return credit.Forward(config.num_tangents)
    return credit.Reverse()


def begin(config: Config) -> None:
    """Sets what is one for the process as a run needs it: precision and determinism."""
    keras.config.set_floatx("float64" if config.precision == "float64" else "float32")
    keras.config.set_dtype_policy(config.precision)
    if not config.jit_compile:  # Keras does without XLA where operations must be deterministic.
        tf.config.experimental.enable_op_determinism()


def prepare(config: Config, strategy: str = "single") -> tuple[Data, Learner]:
    """Makes the data and the learner of a run, seeded; see `reuse.lend` for one that is kept.

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
    begin(config)
    devices = strategies.get(strategy)
    data = load_data(config)
    with devices.scope():
        try:
            return data, learner(config, data)
        except tf.errors.ResourceExhaustedError as error:
            raise ValueError(
                "Expected a network that fits into memory. "
                f"Received: {config.model} with width={config.width}"
            ) from error
