"""What happens to runs while they are trained: full disks, removed files, signals."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.command import TINY, contents, flags_of
from tests.conftest import ROOT
from wna_tf import files
from wna_tf.experiments import run_directory
from wna_tf_command import cli


@pytest.mark.parametrize("file", ["step-000000000006", run_directory.MODEL])
def test_on_a_full_disk_a_run_fails_and_goes_on_later(file, finished, tmp_path, command, full_disk):
    flags = flags_of(TINY, tmp_path, checkpoint_every=2)
    full_disk(file)
    ended = command(*flags)
    assert (ended.status, len(ended.splitlines())) == (1, 1)
    assert ended.startswith("1 runs failed (see their failure.json): ")
    run = tmp_path / TINY.name
    assert "No space left" in files.read_json(run / run_directory.FAILURE)["error"]
    assert not list(run.glob(".*"))
    full_disk(None)
    assert command(*flags).status == 0
    same = run_directory.read_run(finished / TINY.name).result
    assert run_directory.read_run(run).result | {"seconds": 0} == same | {"seconds": 0}


def test_a_failure_that_cannot_be_recorded_is_told(tmp_path, command, full_disk):
    full_disk(run_directory.CONFIG)
    ended = command(*flags_of(TINY, tmp_path))
    assert ended.status == 1
    assert ended.out.count("No space left") == 2 and "(not recorded: " in ended.out


def test_a_report_on_a_full_disk_says_that_the_runs_are_finished(runs, command, monkeypatch):
    def full(*_):
        with files.replacing(runs / "report.html") as beside:
            beside.symlink_to("/dev/full")
            beside.write_text("page")

    monkeypatch.setattr(cli.commands, "_report", full)
    ended = command(*flags_of(TINY, runs))
    assert ended.status == 2 and len(ended.splitlines()) == 1
    assert ended.startswith(f"Expected to write {runs}/report.html. Received: ")
    assert ended.endswith(
        "No space left on device (1 runs are finished; --mode=report reports them)\n"
    )
    assert contents(runs) == {TINY.name}


def test_a_run_whose_directory_is_removed_fails(tmp_path, command, at_step):
    run = tmp_path / TINY.name
    at_step(5, lambda: shutil.rmtree(run))
    ended = command(*flags_of(TINY, tmp_path, checkpoint_every=2))
    assert (ended.status, len(ended.splitlines())) == (1, 1)
    assert contents(run) == {run_directory.CONFIG, run_directory.FAILURE}
    assert "No such file or directory" in files.read_json(run / run_directory.FAILURE)["error"]


def test_checkpoints_and_history_that_are_removed_are_written_again(
    finished, tmp_path, command, at_step
):
    run = tmp_path / TINY.name

    def remove():
        shutil.rmtree(run / run_directory.CHECKPOINTS)
        (run / run_directory.HISTORY).unlink()

    at_step(5, remove)
    assert command(*flags_of(TINY, tmp_path, checkpoint_every=2)).status == 0
    same = run_directory.read_run(finished / TINY.name)
    assert len(run_directory.read_run(run).history) == len(same.history)


def test_interrupted_runs_go_on_to_the_same_result(finished, tmp_path, command, at_step):
    run, flags = tmp_path / TINY.name, flags_of(TINY, tmp_path, checkpoint_every=2)
    for step, number in ((5, signal.SIGINT), (11, signal.SIGTERM)):
        at_step(step, lambda number=number: os.kill(os.getpid(), number))
        ended = command(*flags)
        assert ended.status == 128 + number
        assert ended == (
            f"Interrupted by {number.name}: the same command goes on with what is not finished.\n"
        )
        assert run_directory.state(run) == "started"
        assert contents(run) == {
            run_directory.CONFIG,
            run_directory.HISTORY,
            run_directory.CHECKPOINTS,
        }
    at_step(None, None)
    assert "Going on from step 10 of 12." in command(*flags).out
    same = run_directory.read_run(finished / TINY.name).result
    assert run_directory.read_run(run).result | {"seconds": 0} == same | {"seconds": 0}
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("mode", ["report", "evaluate", "export"])
def test_an_interruption_of_other_modes_says_that_nothing_is_half_written(
    mode, tmp_path, command, monkeypatch
):
    monkeypatch.setattr(cli, "execute", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    ended = command(f"--mode={mode}", f"--run_dir={tmp_path}")
    assert ended.status == 143
    assert ended == (
        "Interrupted by SIGTERM: nothing is left half-written, the same command begins anew.\n"
    )


def test_a_process_that_is_terminated(tmp_path):
    command = [sys.executable, "main.py", *flags_of(TINY, tmp_path), "--epochs=1000000"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        while not list(tmp_path.glob(f"*/{run_directory.HISTORY}")) and process.poll() is None:
            time.sleep(0.05)
        process.terminate()
        (line,) = process.stderr.read().splitlines()
    assert process.returncode == 143
    assert line.startswith("Interrupted by SIGTERM: the same command goes on")
    (run,) = tmp_path.iterdir()
    assert contents(run) <= {run_directory.CONFIG, run_directory.HISTORY, run_directory.CHECKPOINTS}
