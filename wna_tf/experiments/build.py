"""From a configuration to data and a compiled learner."""

import dataclasses
import functools
import inspect
import math
import pathlib
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from wna_tf import (
    callbacks,
    credit,
    datasets,
    files,
    losses,
    models,
    pretrained,
    rules,
    serialization,
)
from wna_tf.datasets import Data, pipeline
from wna_tf.experiments import config as config_module
from wna_tf.experiments import optimizers, settings, strategies
from wna_tf.experiments.config import Config
from wna_tf.learner import Learner

DIGESTS = {
    "initial_digest": ("file that the run began with", "initial_model"),
    "data_digest": ("data that the run was trained on", "dataset"),
}
"""What a run records of the contents that names stand for: what it is, and the name's field."""


def choices() -> dict[str, Sequence[str]]:
    """Returns what may be chosen for fields of which `Config` does not know it, by field."""
    return {
        "rule": rules.names(),
        "credit": credit.names(),
        "augment": datasets.augmentations.names(),
        "dataset": (*datasets.names(), f"{datasets.prepared.PREFIX}NAME"),
        "model": models.names(),
        "optimizer": optimizers.names(),
        "loss": losses.names(),
        "diagnostics": callbacks.names(),
    }


def check(config: Config) -> None:
    """Checks a configuration, before anything is loaded or written.

    Raises:
        ValueError: If the rule, the credit, the data set, the augmentation, the model, the
            activation, the loss, the optimizer or a diagnostic is unknown, the loss or the
            augmentation does not fit the data set, the optimizer has no momentum or ridge term
            where one is asked for, the rule is not one for forward credit, or its feedback source
            has no such hyper-parameters.
    """
    _credit(config).check(rule(config))
    models.get(config.model)
    datasets.augmentations.get(config.augment)
    if shapes := datasets.get(config.dataset).shapes:  # Or else it is seen once it is loaded.
        datasets.augmentations.check(config.augment, shapes[0])
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


def expand(grid: Mapping[str, list[Any]]) -> list[Config]:
    """Returns a configuration for every combination of values.

    A rule whose feedback source does not have a hyper-parameter is there once, not once for each
    value of it.

    Args:
        grid: Values by field; the last field varies fastest.

    Raises:
        ValueError: If a value is wrong, a rule unknown, or a hyper-parameter that of none of them.
    """
    configs = config_module.expand(grid)
    known = {name: _parameters(rules.get(name)) for name in dict.fromkeys(c.rule for c in configs)}
    names = {name for config in configs for name in settings.split(config.feedback)}
    if names.difference(*known.values()):
        raise _unknown(known, configs[0])
    return list(
        dict.fromkeys(
            dataclasses.replace(
                config,
                feedback=tuple(
                    f"{name}={value}"
                    for name, value in settings.split(config.feedback).items()
                    if name in known[config.rule]
                ),
            )
            for config in configs
        )
    )


def pin(config: Config) -> Config:
    """Returns a configuration that records what its names stand for.

    That is the contents of the file that it begins with, and of arrays that are registered.

    Raises:
        FileNotFoundError: If that file is not there.
        ValueError: If they are others than are recorded, or as `initial_file`.
    """
    file = initial_file(config)
    pinned = dataclasses.replace(
        config,
        initial_digest=None if file is None else pretrained.digest(file),
        data_digest=datasets.get(config.dataset).digest or None,
    )
    check_digests(config, pinned)
    return pinned


def check_digests(recorded: Config, pinned: Config) -> None:
    """Checks that the names of a run stand for what they stood for.

    Args:
        recorded: What the run has recorded; None for what it has not.
        pinned: What it would record now.

    Raises:
        ValueError: If a name stands for something else.
    """
    for field, (noun, name) in DIGESTS.items():
        before, now = getattr(recorded, field), getattr(pinned, field)
        if getattr(recorded, name) == getattr(pinned, name) and before not in (None, now):
            raise ValueError(
                f"Expected the {noun}, of SHA-256 {before}. "
                f"Received: {name}={getattr(pinned, name)!r}, of {now}"
            )


def initial_file(config: Config) -> pathlib.Path | None:
    """Returns the file of the saved model that a run begins with, or None.

    In its name the fields of the run may stand in braces, `{width}`, and `*` for what else there
    is: a grid begins with the runs of another one.

    Raises:
        ValueError: If what is in braces is no field, or several files have such a name.
    """
    if config.initial_model == config_module.NONE:
        return None
    try:
        path = files.expand(config.initial_model.format_map(config.to_dict()))
    except (KeyError, ValueError, IndexError) as error:
        raise ValueError(
            "Expected initial_model to have fields of a run in braces, as {width}. "
            f"Received: initial_model={config.initial_model!r}"
        ) from error
    pattern = str(path.relative_to(path.anchor))
    found = [path] if path.exists() else sorted(pathlib.Path(path.anchor).glob(pattern))
    if len(found) > 1:
        raise ValueError(
            f"Expected one saved model. Received: initial_model={config.initial_model!r}, which is "
            f"{len(found)} of them, {found[0]} and others"
        )
    return found[0] if found else path


def rule(config: Config) -> rules.Rule:
    """Returns the rule of a configuration, with the hyper-parameters that it sets.

    Raises:
        ValueError: If the rule is unknown, or its feedback source does not have them so.
    """
    made = rules.get(config.rule)
    known, given = _parameters(made), settings.split(config.feedback)
    if set(given) - set(known):
        raise _unknown({config.rule: known}, config)
    values = {name: settings.convert(name, value, known[name]) for name, value in given.items()}
    return dataclasses.replace(made, feedback=dataclasses.replace(made.feedback, **values))


def _parameters(rule: rules.Rule) -> dict[str, type]:
    """Returns the types of the hyper-parameters of a rule's feedback source, by name."""
    hints = typing.get_type_hints(type(rule.feedback))
    names = serialization.field_names(rule.feedback)
    return {name: hints[name] for name in names if hints[name] in settings.KINDS}


def _unknown(known: Mapping[str, Mapping[str, type]], config: Config) -> ValueError:
    told = "; ".join(f"{rule}: {', '.join(names) or 'none'}" for rule, names in known.items())
    return ValueError(
        "Expected hyper-parameters that the feedback source of a rule has "
        f"({told}). Received: feedback={','.join(config.feedback)!r}"
    )


def count_steps(config: Config) -> int:
    """Returns the number of steps of a run, from the official size of its data set.

    Raises:
        FileNotFoundError: If images are to be counted that are not there.
    """
    return config.epochs * batches(config).steps


class Batches(NamedTuple):
    """The batches of an epoch.

    Attributes:
        examples: How many examples are trained on.
        size: How many of them make a batch; the last has the remainder.
    """

    examples: int
    size: int

    @property
    def steps(self) -> int:
        """Their number."""
        return math.ceil(self.examples / self.size)


def batches(config: Config) -> Batches:
    """Returns the batches of an epoch, from the official size of a run's data set.

    Raises:
        FileNotFoundError: If images are to be counted that are not there.
    """
    size = datasets.training_size(
        config.dataset, config.data_dir, config.validation_size, config.image_size, config.classes
    )
    limit = None if config.data_limit is None else min(config.data_limit, size)
    return Batches(*pipeline.limit(size, config.batch_size, limit))


def dataset(config: Config) -> datasets.Dataset:
    """Returns the data set of a run with what is known of it, of which nothing is loaded.

    Raises:
        ValueError: If it is to be one of TensorFlow Datasets and is none, or none of images.
        FileNotFoundError: If `data_dir` is not a directory.
    """
    options = pipeline.Options(data_dir=config.data_dir, image_size=config.image_size)
    described = datasets.get(config.dataset).described(options)
    if not config.classes or described.shapes is None:
        return described
    return dataclasses.replace(
        described,
        training_size=None,
        test_size=None,
        shapes=(described.shapes[0], (len(config.classes),)),
    )


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
        classes=config.classes,
    )
    return datasets.augmentations.apply(data.shuffled_by(config.seed), config.augment)


def _targets(config: Config) -> str | None:
    return losses.targets(config.loss, datasets.has_classes(config.dataset))


_load = functools.lru_cache(maxsize=1)(datasets.load)


def network(config: Config, input_shape: Sequence[int], num_outputs: int) -> keras.Model:
    """Builds the network of a configuration, from the fields that its model takes.

    It has the weights of a saved model if there is to be one, see `pretrained.load_weights`.

    Args:
        config: The configuration.
        input_shape: Shape of one example.
        num_outputs: Number of outputs; of classes, in a classifier.

    Raises:
        ValueError: If the configuration does not make such a network, or the saved model
            has another one.
        FileNotFoundError: If the saved model is not there.
    """
    model = models.get(config.model)
    given = {"input_shape": input_shape, "num_outputs": num_outputs, "num_classes": num_outputs}
    given |= {name: getattr(config, name) for name in serialization.field_names(config)}
    taken = inspect.signature(model).parameters
    missing = [
        name
        for name, parameter in taken.items()
        if name not in given and parameter.default is parameter.empty
    ]
    if missing:
        raise ValueError(
            "Expected a model whose arguments are input_shape, num_outputs, num_classes and fields "
            f"of a configuration, or have defaults. Received: {config.model} with the arguments "
            f"{', '.join(missing)}"
        )
    made = model(**{name: given[name] for name in taken if name in given})
    if file := initial_file(config):
        pretrained.load_weights(made, file)
    return made


def normalizes(config: Config) -> bool:
    """Returns whether the network of a configuration normalizes by batch statistics."""
    model = models.get(config.model)
    return config.normalize and "normalize" in inspect.signature(model).parameters


def learner(config: Config, data: Data) -> Learner:
    """Builds the compiled learner of a run."""
    made = Learner(
        network(config, data.input_shape, data.num_outputs),
        rule=rule(config),
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
    made = credit.get(config.credit)
    taken = {*serialization.field_names(made)} & {*serialization.field_names(config)}
    return dataclasses.replace(made, **{name: getattr(config, name) for name in taken})


def begin(config: Config) -> None:
    """Sets what is one for the process as a run needs it: precision and determinism."""
    keras.config.set_floatx("float64" if config.precision == "float64" else "float32")
    keras.config.set_dtype_policy(config.precision)
    if not config.jit_compile:  # Keras does without XLA where operations must be deterministic.
        tf.config.experimental.enable_op_determinism()


def prepare(config: Config, strategy: str = "single") -> tuple[Data, Learner]:
    """Makes the data and the learner of a run, seeded; see `reuse.lent` for one that is kept.

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
