"""Runs on several devices: the same as on one."""

import dataclasses

import keras
import numpy as np
import pytest

from tests.run_files import bits
from wna_tf import callbacks
from wna_tf.experiments import config, run_directory, training
from wna_tf.experiments.config import Setup

# The last of the 4 batches has 15 examples, of which the replicas get 8 and 7; the last of the
# validation and the test examples are uneven too.
CONFIG = config.Config(
    rule="kolen_pollack",
    width=8,
    batch_size=35,
    validation_size=1380,
    epochs=2,
    normalize=False,
    optimizer="adam",
    learning_rate=0.01,
)
ONE, MIRRORED = (Setup(name, checkpoint_every=2) for name in ("single", "mirrored"))


def same(run, expected):
    """Asserts that runs have the same numbers, but for their time."""
    numbers = [{**run.result, "seconds": 0}, *run.history]
    for row, wanted in zip(numbers, [expected.result, *expected.history], strict=True):
        assert row.keys() == wanted.keys()
        for name in wanted.keys() - {"seconds", "chance", "diverged", "examples", "versions"}:
            np.testing.assert_allclose(row[name], wanted[name], rtol=1e-5, err_msg=name)


def test_a_normalized_run_is_that_of_one_device_if_replicas_are_synchronized(mirrored, tmp_path):
    # Not by Adam: it would scale up the rounding errors of biases, which do nothing here.
    run = dataclasses.replace(
        CONFIG, normalize=True, synchronized=True, optimizer="sgd", learning_rate=1.0
    )
    one = training.train(run, tmp_path / "one", ONE)
    same(training.train(run, tmp_path / "two", MIRRORED), one)


@pytest.mark.slow
def test_a_run_with_diagnostics_is_that_of_one_device_and_goes_on_to_the_same_bits(
    mirrored, tmp_path, monkeypatch
):
    run = dataclasses.replace(CONFIG, diagnostics=callbacks.names())
    one = training.train(run, tmp_path / "one", ONE)
    two = training.train(run, tmp_path / "two", MIRRORED)
    same(two, one)
    assert {name.split("/")[0] for name in two.history[-1]} >= {
        column for name in callbacks.names() for column in callbacks.get(name).columns
    }

    class StoppedError(Exception):
        pass

    def stop(self, batch, logs=None):
        if keras.ops.convert_to_numpy(self.model.optimizer.iterations) == 7:
            raise StoppedError

    with monkeypatch.context() as patch, pytest.raises(StoppedError):
        patch.setattr(callbacks.Progress, "on_train_batch_end", stop)
        training.train(run, tmp_path / "stopped", MIRRORED)
    assert (tmp_path / "stopped" / run_directory.CHECKPOINTS / f"step-{6:012}").is_file()
    training.train(run, tmp_path / "stopped", MIRRORED)
    assert bits(tmp_path / "stopped") == bits(tmp_path / "two")
