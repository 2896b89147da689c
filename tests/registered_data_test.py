"""Runs on arrays that are registered under a name."""

import dataclasses

import numpy as np
import pytest

from tests.command import TINY
from wna_tf import datasets
from wna_tf.experiments import run_directory, training


def register(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(60, 5)).astype("float32"), np.arange(60) % 3
    datasets.register("mine", datasets.from_arrays((x[:40], y[:40]), (x[40:], y[40:])))


def test_a_run_goes_on_with_the_same_arrays_alone(tmp_path, forget, at_step):
    config = dataclasses.replace(TINY, dataset="mine", data_limit=None)
    setup = dataclasses.replace(training.Setup(), checkpoint_every=2)
    register(0)

    def stop():
        raise KeyboardInterrupt

    at_step(3, stop)
    with pytest.raises(KeyboardInterrupt):
        training.train(config, tmp_path, setup)
    at_step(None, None)
    forget()
    register(1)
    with pytest.raises(
        ValueError,
        match=r"Expected the data that the run was trained on, of SHA-256 \w{64}\. "
        r"Received: dataset='mine', of \w{64}",
    ):
        training.train(config, tmp_path, setup)
    forget()
    register(0)
    run = training.train(config, tmp_path, setup)
    assert run.result["epochs"] == 3
    assert config.name == training.read_config(tmp_path).name
    # A directory of before, which has no digest, can be used still.
    path = tmp_path / run_directory.CONFIG
    path.write_text(path.read_text().replace(run.config["data_digest"], "").replace('""', "null"))
    assert training.train(config, tmp_path, setup).result == run.result
