"""What a run tells of its progress."""

import re
import sys

import keras
import numpy as np
import pytest

import wna_tf
from tests.command import TINY
from wna_tf import callbacks
from wna_tf.callbacks import progress
from wna_tf.experiments import training

X, Y = np.zeros((8, 3), "float32"), np.zeros((8, 2), "float32")


class Clock:
    """Time that passes by a step at every look."""

    def __init__(self, step):
        self.now, self.step = 0.0, step

    def monotonic(self):
        self.now += self.step
        return self.now


@pytest.fixture
def learner():
    network = wna_tf.models.mlp((3,), 2, 4, depth=1, normalize=False)
    made = wna_tf.Learner(network, "backprop")
    made.compile(keras.optimizers.SGD(0.1), "mse")
    return made


def told(capsys):
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]


def test_into_a_file_lines_tell_epoch_step_rate_and_time_left(learner, capsys, monkeypatch):
    monkeypatch.setattr(progress, "time", Clock(20.0))
    learner.fit(X, Y, batch_size=2, epochs=3, verbose=0, callbacks=[callbacks.Progress()])
    assert told(capsys) == [  # Two looks are 40 seconds: every other step.
        "epoch 1/3, step 2/4: 0.05 steps/s, 0:03:20 left",
        "epoch 1/3, step 4/4: 0.05 steps/s, 0:02:40 left",
        "epoch 2/3, step 2/4: 0.05 steps/s, 0:02:00 left",
        "epoch 2/3, step 4/4: 0.05 steps/s, 0:01:20 left",
        "epoch 3/3, step 2/4: 0.05 steps/s, 0:00:40 left",
        "epoch 3/3, step 4/4: 0.05 steps/s, 0:00:00 left",
    ]


def test_validation_is_told_of_too(learner, capsys):
    learner.fit(
        X, Y, batch_size=4, validation_data=(X, Y), verbose=0, callbacks=[callbacks.Progress(0)]
    )
    assert [line.split(":")[0] for line in told(capsys)] == [
        "epoch 1/1, step 1/2",
        *3 * ["epoch 1/1, step 2/2"],
    ]


def test_data_of_unknown_size_have_no_time_left(learner, capsys):
    def batches():
        for _ in range(2):
            yield X, Y

    learner.fit(batches(), verbose=0, shuffle=False, callbacks=[callbacks.Progress(0)])
    first, second = told(capsys)
    assert re.fullmatch(r"epoch 1/1, step 1: \S+ steps/s", first)
    assert re.fullmatch(r"epoch 1/1, step 2: \S+ steps/s", second)


def test_a_terminal_has_the_bar_alone(learner, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    learner.fit(X, Y, epochs=2, verbose=0, callbacks=[callbacks.Progress(0)])
    out = capsys.readouterr().out
    assert "steps/s" not in out and "2/2" in out


def test_a_run_that_goes_on_counts_what_is_behind_it(tmp_path, capsys, monkeypatch, at_step):
    def interrupt():
        raise KeyboardInterrupt

    setup = wna_tf.experiments.Setup(checkpoint_every=2)
    at_step(7, interrupt)
    with pytest.raises(KeyboardInterrupt):
        training.train(TINY, tmp_path / "run", setup)
    monkeypatch.undo()
    monkeypatch.setattr(progress, "time", Clock(40.0))
    training.train(TINY, tmp_path / "run", setup)
    first, *_, last = told(capsys)  # The checkpoint has 6 of 12 steps.
    assert first == "epoch 2/3, step 3/4: 0.025 steps/s, 0:03:20 left"
    assert last.startswith("epoch 3/3, step 4/4: ") and last.endswith(" steps/s, 0:00:00 left")
