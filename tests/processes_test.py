"""Sweeps on worker processes: the numbers of one process, failures, interruptions."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tests.command import TINY, contents, flags_of
from tests.conftest import ROOT
from tests.run_files import bits
from wna_tf import callbacks, files, locks, rules
from wna_tf.experiments import environment, extensions, processes, run_directory, sweeps
from wna_tf.experiments.config import Config, Setup

# A rule of one's own, what a worker is, and a worker that is killed.
OWN = """
import os, signal
import tensorflow as tf
import wna_tf
from wna_tf import callbacks
from wna_tf.experiments import environment

wna_tf.rules.register("own", wna_tf.Rule("random", "initial", "current"))

class Threads(callbacks.Diagnostic):
    columns = ("threads",)
    def measure(self):
        return {"threads": tf.constant(environment.describe()["intra_op_threads"])}

class Deadly(callbacks.Diagnostic):
    columns = ("deadly",)
    def measure(self):
        os.write(2, b"first\\nout of memory\\n")
        os.kill(os.getpid(), signal.SIGKILL)

callbacks.register("threads", Threads)
callbacks.register("deadly", Deadly)
"""
PATIENCE = 120  # Seconds that anything may take, on a busy machine.


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A file to import, which leaves this process as it was."""
    for table in (rules._TABLE, callbacks._TABLE):
        monkeypatch.setattr(table, "_choices", dict(table._choices))
    path = tmp_path / "own_for_workers.py"
    path.write_text(OWN)
    yield Setup(imports=(str(path),))
    sys.modules.pop("own_for_workers")


def test_processes_train_what_this_process_trains(own, tmp_path, monkeypatch, capfd):
    extensions.load(own.imports)
    monkeypatch.setattr(environment, "cores", lambda: 4)
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    threads = environment.describe()["intra_op_threads"]
    assert processes.share(2) == (2, 2) and processes.share(9) == (4, 1)
    monkeypatch.setattr(processes, "share", lambda runs: (2, threads))
    tiny = {"width": 4, "depth": 1, "epochs": 2, "data_limit": 20, "batch_size": 20}
    grid = [
        Config(**tiny, diagnostics=("deadly",)),
        Config(**tiny, rule="own", diagnostics=("threads",)),
        Config(**tiny, rule="backprop"),
    ]
    there, failures = sweeps.sweep(grid, tmp_path / "there", "processes", own)
    out, err = capfd.readouterr()
    assert [line.split()[0] for line in out.splitlines() if line.startswith("[")] == [
        "[1/3]",
        "[2/3]",
        "[3/3]",
    ]
    assert "Epoch" not in out + err and not err
    died = tmp_path / "there" / grid[0].name
    assert failures == {died: "Died: its process ended with SIGKILL: out of memory"}
    assert files.read_json(died / run_directory.FAILURE)["error"] == failures[died]

    sweeps.sweep(grid[1:], tmp_path / "here", setup=own)
    assert [run.config["rule"] for run in there] == ["own", "backprop"]
    assert there[0].result["threads"] == threads
    for config in grid[1:]:
        assert bits(tmp_path / "there" / config.name) == bits(tmp_path / "here" / config.name)


@pytest.mark.parametrize(
    ("kinds", "own", "others", "expected"),
    [
        ("abab", "b", "a", 1),
        ("aabc", None, "ab", 3),
        ("aab", "c", "ab", 0),
        ("cbcb", "a", "", 0),
    ],
)
def test_a_worker_goes_on_with_runs_of_its_kind(kinds, own, others, expected):
    assert processes.choose(kinds, own, others) == expected


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)]
)
def test_workers_end_with_the_sweep_and_runs_go_on_later(number, tmp_path):
    flags = flags_of(TINY, tmp_path, executor="processes", epochs=1000000, checkpoint_every=2)
    with subprocess.Popen(
        [sys.executable, "main.py", *flags],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not list(tmp_path.glob(f"*/{run_directory.HISTORY}")) and process.poll() is None:
            time.sleep(0.05)
        (run,) = tmp_path.iterdir()
        os.kill(process.pid, number)
        said = process.stderr.read()
    if number == signal.SIGTERM:
        assert process.returncode == 143
        assert said.startswith("Interrupted by SIGTERM: the same command goes on")
        assert len(said.splitlines()) == 1
    wait_for(run)
    assert run_directory.state(run) == "started"
    assert contents(run) <= {run_directory.CONFIG, run_directory.HISTORY, run_directory.CHECKPOINTS}


def wait_for(run: pathlib.Path) -> None:
    """Waits until no process works in a directory."""
    for _ in range(PATIENCE * 10):
        try:
            with locks.claimed(run):
                return
        except locks.Busy:
            time.sleep(0.1)
    raise AssertionError(f"a worker is still in {run}")
