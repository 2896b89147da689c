"""Killed trainings: the same bits as ones that nobody interrupted."""

import contextlib
import dataclasses
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

import wna_tf
from tests.conftest import ROOT
from tests.run_files import bits
from tests.samples import rule_families
from wna_tf import files
from wna_tf.datasets import pipeline
from wna_tf.datasets.batches import Source
from wna_tf.experiments import config, environment, resume, run_directory, training
from wna_tf.experiments.config import Setup


def data(n=26, batch_size=6):
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=[n, size]).astype(np.float32) for size in (4, 3))
    source = Source(n, lambda some, _: (tf.gather(x, some), tf.gather(y, some)))
    return pipeline.split(pipeline.Examples(source, source), batch_size, 0, seed=3)


class Gathering(keras.callbacks.Callback):
    """Gathers something of every batch in a variable, and which batches it saw."""

    def __init__(self):
        super().__init__()
        self.begun = 0
        self.seen = []

    def on_train_begin(self, logs=None):
        self.variables = [keras.Variable(0.0)]
        self.begun += 1

    def on_train_batch_end(self, batch, logs=None):
        self.variables[0].assign(0.9 * self.variables[0] + logs["loss"])
        self.seen.append(batch)


def fit(rule, directory, epochs=2, every=4, scope=contextlib.nullcontext, **averages):
    """Trains a network with dropout as in a new process; returns all that must be the same."""
    keras.utils.set_random_seed(7)
    layers = keras.layers
    with scope():
        network = keras.Sequential(
            [
                keras.Input([4]),
                layers.Dense(6, activation="relu"),
                layers.Dropout(0.5, seed=1),
                layers.Dense(3),
            ]
        )
        learner = wna_tf.Learner(network, rule=rule, seed=5)
        learner.compile(keras.optimizers.Adam(0.01, **averages), loss="mse", metrics=["mae"])
    history = wna_tf.callbacks.HistoryFile(directory.with_suffix(".csv"))
    gathering = Gathering()
    resume.fit(learner, data(), epochs, [history, gathering], directory, {"rule": rule}, every)
    variables = learner.variables + learner.optimizer.variables + gathering.variables
    rows = [row | {"seconds": None} for row in history.rows]
    return [np.asarray(some).tobytes() for some in variables], rows, gathering


def keep(directory, step):
    """Leaves only the checkpoint of a step."""
    for path in directory.iterdir():
        if path.name != f"step-{step:012}":
            path.unlink()
    assert len(list(directory.iterdir())) == 1


@pytest.mark.parametrize("rule", rule_families())
def test_every_rule_goes_on_in_the_midst_of_an_epoch(rule, tmp_path):
    variables, rows, uninterrupted = fit(rule, tmp_path / "run")  # 2 epochs of 5 batches.
    keep(tmp_path / "run", 4)
    again, rows_again, resumed = fit(rule, tmp_path / "run")
    assert again == variables
    assert rows_again == rows
    assert uninterrupted.seen == [0, 1, 2, 3, 4] * 2 and resumed.seen == [4, 0, 1, 2, 3, 4]
    assert resumed.begun == uninterrupted.begun == 1


def test_it_goes_on_between_epochs_and_at_the_end(tmp_path, monkeypatch):
    variables, rows, _ = fit("kolen_pollack", tmp_path / "run", every=5)
    for step, seen in ((10, []), (5, [0, 1, 2, 3, 4])):
        shutil.copytree(tmp_path / "run", tmp_path / str(step))
        keep(tmp_path / str(step), step)
        again, rows_again, resumed = fit("kolen_pollack", tmp_path / str(step), every=5)
        assert (again, rows_again, resumed.seen) == (variables, rows, seen)
    monkeypatch.setitem(globals(), "Gathering", type("Other", (Gathering,), {}))
    with pytest.raises(ValueError, match=r"Expected the callbacks .* Received: .*'Other'"):
        fit("kolen_pollack", tmp_path / "run", every=5)


@pytest.mark.parametrize("frequency", [None, 3])
@pytest.mark.parametrize("step", [4, 5, 10])
def test_averages_of_weights_take_their_place_at_the_end_alone(step, frequency, tmp_path):
    averages = {"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": frequency}
    every = 5 if step % 5 == 0 else 4
    variables, rows, _ = fit("backprop", tmp_path / "run", every=every, **averages)
    keep(tmp_path / "run", step)
    again, rows_again, _ = fit("backprop", tmp_path / "run", every=every, **averages)
    assert again == variables
    assert rows_again == rows


def test_averages_of_weights_are_those_of_keras(tmp_path, monkeypatch):
    averages = {"use_ema": True, "ema_momentum": 0.9}
    variables, _, _ = fit("backprop", tmp_path / "run", **averages)
    monkeypatch.setattr(resume, "fit", lambda learner, data, epochs, callbacks, *_: learner.fit(
        data.train, epochs=epochs, verbose=0, callbacks=callbacks, validation_data=data.validation
    ))  # fmt: skip
    assert fit("backprop", tmp_path / "other", **averages)[0] == variables


def test_averages_of_weights_take_their_place_where_a_training_stopped(tmp_path, monkeypatch):
    def stop(self, batch, logs=None):
        self.model.stop_training = self.model.optimizer.iterations == 5

    monkeypatch.setattr(Gathering, "on_train_batch_end", stop)
    variables, _, _ = fit("backprop", tmp_path / "run", use_ema=True)
    keep(tmp_path / "run", 4)
    assert fit("backprop", tmp_path / "run", use_ema=True)[0] == variables


def test_replicas_go_on_with_metrics_of_their_own(tmp_path, mirrored):
    variables, rows, _ = fit("kolen_pollack", tmp_path / "run", scope=mirrored.scope)
    keep(tmp_path / "run", 4)
    again, rows_again, resumed = fit("kolen_pollack", tmp_path / "run", scope=mirrored.scope)
    assert (again, rows_again, resumed.seen) == (variables, rows, [4, 0, 1, 2, 3, 4])


def test_a_training_that_stopped_stops_again(tmp_path, monkeypatch):
    def stop(self, batch, logs=None):
        self.model.stop_training = self.model.optimizer.iterations == 6

    monkeypatch.setattr(Gathering, "on_train_batch_end", stop)
    variables, rows, _ = fit("backprop", tmp_path / "run", epochs=5)
    assert len(rows) == 2
    keep(tmp_path / "run", 4)  # There is none of step 6.
    assert fit("backprop", tmp_path / "run", epochs=5)[:2] == (variables, rows)


def test_another_network_begins_at_the_beginning(tmp_path, caplog):
    fit("align_ada", tmp_path / "run")
    *_, gathering = fit("feedback_alignment", tmp_path / "run")
    assert len(gathering.seen) == 10
    assert "of other learner, rule" in caplog.text


def test_another_environment_is_told_in_one_line(tmp_path, caplog, monkeypatch):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    variables, *_ = fit("backprop", tmp_path / "run")
    keep(tmp_path / "run", 4)
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    assert fit("backprop", tmp_path / "run")[0] == variables
    assert "Going on" not in caplog.text
    threads = environment.describe()["intra_op_threads"]
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", str(threads + 1))
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "SSE41")
    fit("backprop", tmp_path / "other")
    assert [line for line in caplog.messages if "Continuing" in line] == [
        f"Continuing, perhaps not with the same bits: intra_op_threads={threads + 1} "
        f"(then {threads}), ONEDNN_MAX_CPU_ISA='SSE41' (then None)"
    ]


@pytest.mark.parametrize("every", [0, -1, 2.0, True])
def test_checkpoints_are_every_so_many_steps(every, tmp_path):
    with pytest.raises(ValueError, match=r"Expected every to be .* Received: every="):
        fit("backprop", tmp_path, every=every)


# What follows kills processes.

CONFIG = config.Config(
    rule="kolen_pollack",
    optimizer="adam",
    learning_rate=0.01,
    width=8,
    data_limit=200,
    batch_size=20,
    epochs=3,
    diagnostics=("alignment_score",),
)


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def train(rule, directory, moment=None):
    """Trains a run; kills the process in a batch, or before it has replaced a file."""
    replacing = files.replacing

    @contextlib.contextmanager
    def deadly(path):
        with replacing(path) as beside:
            yield beside
            if path.name == moment:
                os.truncate(beside, beside.stat().st_size // 2)
                kill()

    class Deadly(wna_tf.callbacks.Progress):
        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.optimizer.iterations) == moment:
                kill()

    if moment is not None:
        files.replacing = deadly
        wna_tf.callbacks.Progress = Deadly
        Deadly.__name__ = "Progress"  # A checkpoint tells by the names whether callbacks are its.
    training.train(dataclasses.replace(CONFIG, rule=rule), directory, Setup(checkpoint_every=2))


@pytest.mark.parametrize(
    "rule",
    [
        "kolen_pollack",
        # Their feedback weights have momentum of their own, and are found by noise.
        pytest.param("regularized_weight_mirror", marks=pytest.mark.slow),
        pytest.param("forward_direct_feedback_alignment", marks=pytest.mark.slow),
    ],
)
def test_killed_in_a_batch_in_a_write_and_at_the_end(rule, tmp_path):
    # Processes that are forked after the import of TensorFlow and before its first operation.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["wna_tf.experiments.training"])

    def run(*args):
        process = context.Process(target=train, args=(rule, *args))
        process.start()
        process.join()
        return process.exitcode

    killed = tmp_path / "killed"
    for moment in (7, "step-000000000012", "model.keras"):
        assert run(killed, moment) == -signal.SIGKILL
        assert run_directory.state(killed) == "started"
    assert run(killed) == run(tmp_path / "whole") == 0
    assert bits(killed) == bits(tmp_path / "whole")


@pytest.mark.slow  # 20 trainings, each a process of its own and killed once.
def test_killed_at_random_moments(tmp_path):
    command = [sys.executable, "main.py", "--checkpoint_every=2"]
    command += [f"--{name}={getattr(CONFIG, name)}" for name in ("rule", "optimizer", "width")]
    command += ["--learning_rate=.01", "--data_limit=200", "--batch_size=20", "--epochs=12"]

    def start(directory):
        return subprocess.Popen(
            [*command, f"--run_dir={directory}"], cwd=ROOT, stdout=subprocess.DEVNULL
        )

    def place(directory):
        (found,) = directory.glob("*_seed*")
        return found

    began = time.monotonic()
    assert start(tmp_path / "whole").wait() == 0
    whole = bits(place(tmp_path / "whole"))
    longest = time.monotonic() - began - time_of_imports()
    rng = random.Random(0)
    survived, at = 0, []
    for number in range(20):
        directory = tmp_path / str(number)
        process = start(directory)
        while not list(directory.glob(f"*/{run_directory.CONFIG}")) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, longest))
        process.kill()
        process.wait()
        saved = sorted(path.name for path in directory.glob("*/checkpoints/*"))
        at.append(
            saved[-1] if saved else "finished" if list(directory.glob("*/result.json")) else 0
        )
        assert start(directory).wait() == 0
        survived += bits(place(directory)) == whole
    print(f"{survived} of 20 to the same bits; newest checkpoints when killed: {at}")
    assert survived == 20


def time_of_imports():
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-c", "import wna_tf.experiments.training"], cwd=ROOT, check=True
    )
    return time.monotonic() - began
