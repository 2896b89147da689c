"""Optimizers by name: those of Keras, with the ridge term as their weight decay."""

import inspect

import keras

from wna_tf import serialization
from wna_tf.experiments.config import Config
from wna_tf.learner import Learner

# Their step sets weights anew from what they keep beside them, which a decay does not reach.
_KEEP_WEIGHTS = {"ftrl", "schedulefreeadamw"}
_OPTIONS = {"adam": {"epsilon": 1e-8}}  # The epsilon is the papers' public code's.


def _parameters(made: type) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(made).parameters)


# Base classes, and those that are made of other optimizers, have no learning rate of their own.
_TABLE: serialization.Table[type[keras.optimizers.Optimizer]] = serialization.Table(
    "an optimizer",
    "optimizer",
    {
        name.lower(): value
        for name, value in sorted(vars(keras.optimizers).items())
        if inspect.isclass(value) and "learning_rate" in _parameters(value)
    },
    is_open=False,
)


def names() -> tuple[str, ...]:
    """Returns the name of every optimizer."""
    return _TABLE.names()


def _with_momentum() -> list[str]:
    return [name for name in names() if "momentum" in _parameters(_TABLE.get(name))]


def _with_ridge() -> list[str]:
    """The optimizers whose weight decay can be a ridge term, since it is not theirs already."""
    return [
        name
        for name in names()
        if name not in _KEEP_WEIGHTS
        and _parameters(_TABLE.get(name))["weight_decay"].default is None
    ]


def check(config: Config) -> None:
    """Checks the optimizer of a configuration.

    Raises:
        ValueError: If it is unknown, or has no momentum or ridge term where one is asked for.
    """
    _TABLE.get(config.optimizer)
    if config.momentum and config.optimizer not in _with_momentum():
        raise ValueError(
            f"Expected optimizer to be one of {', '.join(_with_momentum())}, with momentum. "
            f"Received: optimizer={config.optimizer!r}, momentum={config.momentum!r}"
        )
    if (config.ridge or config.ridge_epochs) and config.optimizer not in _with_ridge():
        raise ValueError(
            f"Expected optimizer to be one of {', '.join(_with_ridge())}, with a ridge term. "
            f"Received: optimizer={config.optimizer!r}, ridge={config.ridge!r}, "
            f"ridge_epochs={config.ridge_epochs!r}"
        )


def make(config: Config, learner: Learner) -> keras.optimizers.Optimizer:
    """Returns the optimizer of a run; the ridge term is its weight decay, on the last kernels."""
    options = dict(_OPTIONS.get(config.optimizer, {}))
    if config.momentum:
        options["momentum"] = config.momentum
    if config.ridge:
        options["weight_decay"] = config.ridge
    optimizer = _TABLE.get(config.optimizer)(config.learning_rate, **options)
    if config.ridge:
        last = {id(step.kernel) for step in learner.program.last_affine_maps}
        others = [some for some in learner.trainable_variables if id(some) not in last]
        optimizer.exclude_from_weight_decay(var_list=others)
    return optimizer
