"""What long work tells of its progress, and a run of its own."""

import re
import sys

import keras
import numpy as np
import pytest

import wna_tf
from tests.clock import Clock
from tests.command import TINY
from wna_tf import callbacks, progress
from wna_tf.experiments import training

X, Y = np.zeros((8, 3), "float32"), np.zeros((8, 2), "float32")


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
    assert told(capsys) == [  # After 20 seconds, then every 40: every other step.
        "epoch 1/3, step 1/4: 0.05 steps/s, 0:03:40 left",
        "epoch 1/3, step 3/4: 0.05 steps/s, 0:03:00 left",
        "epoch 2/3, step 1/4: 0.05 steps/s, 0:02:20 left",
        "epoch 2/3, step 3/4: 0.05 steps/s, 0:01:40 left",
        "epoch 3/3, step 1/4: 0.05 steps/s, 0:01:00 left",
        "epoch 3/3, step 3/4: 0.05 steps/s, 0:00:20 left",
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


def test_a_terminal_has_one_line_and_the_metrics_at_the_end(learner, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "70")
    monkeypatch.setattr(progress, "time", Clock(6.0))
    learner.fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=[callbacks.Progress()])
    lines, end = capsys.readouterr().out.split("\r\x1b[K")
    _, *shown = lines.split("\r")
    assert shown[0] == "epoch 1/2, step 1/2: 0.167 steps/s, 0:00:18 left\x1b[K"
    assert re.fullmatch(r"(epoch 2/2, step 1/2: .* 0:00:06 left - loss: \S+)\x1b\[K", shown[2])
    assert len(shown) == 4
    assert re.fullmatch(r"2/2 - \ds - .*/epoch - loss: \S+\n", end)


def test_a_short_run_tells_its_metrics_alone(learner, capsys):
    learner.fit(X, Y, epochs=2, verbose=0, callbacks=[callbacks.Progress()])
    assert re.fullmatch(r"2/2 - \ds - .*/epoch - loss: \S+\n", capsys.readouterr().out)


def test_a_run_that_ends_early_tells_its_last_metrics(learner, capsys):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    learner.fit(X, Y, epochs=9, verbose=0, callbacks=[callbacks.Progress(), Stop()])
    assert capsys.readouterr().out.startswith("1/9 - ")


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
    told_of, rate, minutes, seconds = re.fullmatch(
        r"(.*): (\S+) steps/s, 0:(\d\d):(\d\d) left", first
    ).groups()
    assert told_of == "epoch 2/3, step 3/4"
    assert float(rate) * (60 * int(minutes) + int(seconds)) == 5  # Steps, at that rate.
    assert last.startswith("epoch 3/3, step 4/4: ") and last.endswith(" steps/s, 0:00:00 left")


def pass_through(clock, count, monkeypatch, total=None, what="Alignment", unit="batches"):
    monkeypatch.setattr(progress, "time", clock)
    numbers = range(count) if total is None else (number for number in range(count))
    assert list(progress.track(numbers, what, unit, total)) == list(range(count))


def test_a_file_has_a_line_after_5_seconds_then_one_every_30_and_an_end(capsys, monkeypatch):
    pass_through(Clock(4.0), 20, monkeypatch)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "Alignment: 2/20 batches, 0.25 batches/s, 0:01:12 left",
        "Alignment: 10/20 batches, 0.25 batches/s, 0:00:40 left",
        "Alignment: 18/20 batches, 0.25 batches/s, 0:00:08 left",
        "Alignment: 20 batches in 0:01:24",
    ]


def test_what_takes_under_5_seconds_tells_nothing(capsys, monkeypatch):
    pass_through(Clock(0.24), 20, monkeypatch)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    pass_through(Clock(0.24), 20, monkeypatch)
    assert capsys.readouterr() == ("", "")


def test_a_terminal_has_a_line_four_times_a_second_and_nothing_at_the_end(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    pass_through(Clock(0.0625), 100, monkeypatch)
    shown = capsys.readouterr().err.split("\r")
    assert [line.split(",")[0] for line in shown[1:-1]] == [
        f"Alignment: {done}/100 batches" for done in range(80, 101, 4)
    ]
    assert shown[1] == "Alignment: 80/100 batches, 16 batches/s, 0:00:01 left\x1b[K"
    assert shown[-1] == "\x1b[K"


def test_a_line_is_no_wider_than_the_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "20")
    pass_through(Clock(6.0), 1, monkeypatch)
    assert capsys.readouterr().err == "\rAlignment: 1/1 batc\x1b[K\r\x1b[K"


def test_a_number_of_parts_may_be_told_or_unknown(capsys, monkeypatch):
    pass_through(Clock(10.0), 2, monkeypatch, total=2)
    assert capsys.readouterr().err.splitlines() == [
        "Alignment: 1/2 batches, 0.1 batches/s, 0:00:10 left",
        "Alignment: 2 batches in 0:00:30",
    ]
    monkeypatch.setattr(progress, "time", Clock(10.0))
    list(progress.track((number for number in range(2)), "Alignment", "batches"))
    assert capsys.readouterr().err.splitlines() == [
        "Alignment: 1 batches, 0.1 batches/s",
        "Alignment: 2 batches in 0:00:30",
    ]


def test_a_stage_counts_several_parts_at_a_time(capsys, monkeypatch):
    monkeypatch.setattr(progress, "time", Clock(10.0))
    with progress.Stage("Decoding", "images", 40) as stage:
        stage.advance(10)
        stage.advance(30)
    assert capsys.readouterr().err.splitlines() == [
        "Decoding: 10/40 images, 1 images/s, 0:00:30 left",
        "Decoding: 40 images in 0:00:30",
    ]


@pytest.mark.parametrize("is_terminal", [False, True])
def test_what_is_broken_off_is_not_told_to_be_done(is_terminal, capsys, monkeypatch):
    monkeypatch.setattr(progress, "time", Clock(10.0))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    with pytest.raises(KeyboardInterrupt), progress.Stage("Decoding", "images", 40) as stage:
        stage.advance()
        raise KeyboardInterrupt
    err = capsys.readouterr().err
    assert " in " not in err and err.endswith("\r\x1b[K" if is_terminal else " left\n")


def test_nothing_is_told_where_it_is_silenced(capsys, monkeypatch):
    with progress.silenced(), progress.silenced(False):
        pass_through(Clock(10.0), 3, monkeypatch)
    assert capsys.readouterr().err == ""
    with progress.silenced(False):
        pass_through(Clock(10.0), 3, monkeypatch)
    assert capsys.readouterr().err
