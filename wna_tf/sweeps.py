"""Sweeps: the runs of a grid, one after the other."""

import pathlib
from collections.abc import Sequence

from wna_tf import results, training
from wna_tf.config import Config


def sweep(configs: Sequence[Config], directory: pathlib.Path) -> list[results.Run]:
    """Trains what is not finished yet.

    Args:
        configs: The runs.
        directory: Their parent directory; each run is at `directory / config.name`.

    Returns:
        The runs, in the order of `configs`.

    Raises:
        ValueError: If a configuration is wrong; all are checked before the first is trained.
        FileNotFoundError: If data is missing.
    """
    for config in configs:
        training.check(config)
    runs = []
    for number, config in enumerate(configs, 1):
        place = directory / config.name
        print(f"[{number}/{len(configs)}] {place}", flush=True)
        finished = results.is_finished(place)
        runs.append(results.read_run(place) if finished else training.train(config, place))
    return runs
