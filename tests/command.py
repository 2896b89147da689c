"""The command line in tests: small runs, their flags, how a command ended."""

import dataclasses

from wna_tf.experiments.config import Config

TINY = Config(rule="backprop", width=4, depth=1, epochs=3, data_limit=40, batch_size=10)
FAST = dataclasses.replace(TINY, learning_rate=1e5, normalize=False)  # Diverges in its 6th step.


def flags_of(config, directory, **more):
    names = ("rule", "width", "depth", "epochs", "data_limit", "batch_size", "learning_rate")
    values = {name: getattr(config, name) for name in names}
    values |= {"normalize": config.normalize, "run_dir": directory} | more
    return [f"--{name}={value}" for name, value in values.items()]


class Ended(str):
    """How a command ended: what it wrote to standard error, with its status and its output."""

    def __new__(cls, status, out, err):
        ended = super().__new__(cls, err)
        ended.status, ended.out = status, out
        return ended


def contents(directory):
    return {path.name for path in directory.iterdir()}
