"""The learner of a run: the one of the run before, set anew, where they differ in values alone."""

import contextlib
import dataclasses
import random
from collections.abc import Hashable, Iterator

import numpy as np

from wna_tf.datasets import Data
from wna_tf.experiments import build, optimizers, strategies
from wna_tf.experiments.config import RECORDED, Config
from wna_tf.learner import Learner

# Fields that graphs do not depend on, or by the shapes of batches alone.
_VALUES = (
    "seed",
    "learning_rate",
    "epochs",
    "ridge_epochs",
    "diagnostics",
    "augment",
    "data_limit",
    "initial_model",
    "validation_size",
    *RECORDED,
)

_kept: dict[Hashable, Learner] = {}
"""The last learner that was given back, by what it can be used for."""


@contextlib.contextmanager
def lent(config: Config, strategy: str = "single") -> Iterator[tuple[Data, Learner]]:
    """Gives the data and the learner of a run, as `build.prepare` makes them, to the bit.

    To build a network and to write the graphs of its steps takes longer than a small run. So the
    last learner is kept, and set anew for a run that differs from its run in values alone. It is
    not kept if the run fails.

    Args:
        config: The run.
        strategy: Its devices, see `strategies.get`.

    Raises:
        ValueError: If the configuration does not fit the data, or the network the memory.
        FileNotFoundError: If the data set is not there.
    """
    build.check(config)
    build.begin(config)
    data = build.load_data(config)
    key = _key(config, strategy, data)
    learner = _kept.get(key)
    _kept.clear()  # Memory for the next one.
    if learner is None:
        data, learner = build.prepare(config, strategy)
    else:
        _seed(config.seed)
        with strategies.get(strategy).scope():
            _set_anew(learner, config, data)
    _seed(config.seed)  # What draws from here on does so as in a run alone.
    yield data, learner
    _kept[key] = learner


def forget() -> None:
    """Leaves the memory of the last learner to others."""
    _kept.clear()


def _seed(seed: int) -> None:
    """Seeds what networks draw from.

    Not TensorFlow, which would throw away all that it has compiled: Keras draws by seeds of its
    own, which come from Python's.
    """
    random.seed(seed)
    np.random.seed(seed)


def kind(config: Config) -> Hashable:
    """Returns what runs have in common that differ in values alone, with batches of one shape.

    Raises:
        FileNotFoundError: If images are to be counted that are not there.
    """
    default = Config()
    examples, batch_size = build.batches(config)
    values = {name: getattr(default, name) for name in _VALUES} | {"batch_size": batch_size}
    return dataclasses.replace(config, **values), examples % batch_size == 0


def _key(config: Config, strategy: str, data: Data) -> Hashable:
    # Those of other batches are open.
    shapes = (data.training.known_size, data.test.element_spec)
    return kind(config), strategies.get(strategy), shapes


def _set_anew(learner: Learner, config: Config, data: Data) -> None:
    """Sets all of a learner to what it would be if it was made for a run."""
    learner.begin_anew(build.network(config, data.input_shape, data.num_outputs), config.seed)
    learner.reset_metrics()
    optimizer = optimizers.make(config, learner)
    optimizer.build(learner.optimized_variables)
    for variable, other in zip(learner.optimizer.variables, optimizer.variables, strict=True):
        variable.assign(other)
    if learner.optimizer.weight_decay != optimizer.weight_decay:  # See `RidgeUntil`.
        learner.optimizer.weight_decay = optimizer.weight_decay
        learner.make_train_function(force=True)
