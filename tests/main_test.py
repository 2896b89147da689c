"""The command line: a sweep on real images, and one line for every mistake."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
from absl.testing import flagsaver

from tests.conftest import ROOT
from wna_tf.experiments import run_directory
from wna_tf_command import cli


def run(*flags):
    with flagsaver.flagsaver():
        cli.run(["main.py", *flags])


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sweep")
    arguments = [
        f"--flagfile={ROOT}/flags/digits_width.flags",
        "--epochs=2",
        "--rule=backprop,align_ada",
        "--width=4,8",
        "--data_limit=200",
        "--seed=99",
        f"--run_dir={directory}",
    ]
    run(*arguments)
    return directory, arguments


def test_a_sweep_writes_runs_a_table_and_a_figure(sweep):
    directory, _ = sweep
    runs = run_directory.read_runs(directory)
    assert [(r.config["rule"], r.config["width"]) for r in runs] == [
        ("align_ada", 4),
        ("align_ada", 8),
        ("backprop", 4),
        ("backprop", 8),
    ]
    for finished in runs:
        assert {path.name for path in finished.directory.iterdir()} == {
            run_directory.CONFIG,
            run_directory.HISTORY,
            run_directory.MODEL,
            run_directory.RESULT,
        }
        assert [row["epoch"] for row in finished.history] == [1, 2]
        assert finished.result["validation_accuracy"] == finished.history[-1]["val_accuracy"]
        assert finished.result["examples"] == {"train": 200, "validation": 300, "test": 297}
        assert finished.result["chance"] == {"accuracy": 0.1}
    assert (directory / "report" / "validation_accuracy_by_width.png").stat().st_size > 10_000
    assert (directory / "report.html").is_file()


def test_what_is_finished_is_not_trained_again_and_is_reported(sweep, capsys):
    directory, arguments = sweep
    before = {path: path.stat().st_mtime_ns for path in directory.glob("*_seed*/*")}
    run(*arguments)
    first = capsys.readouterr().out
    run("--mode=report", f"--run_dir={directory}")
    assert {path: path.stat().st_mtime_ns for path in directory.glob("*_seed*/*")} == before
    assert "| Backpropagation" in first
    table = "\n".join(sorted(line for line in first.splitlines() if line.startswith("|")))
    again = capsys.readouterr().out.splitlines()
    assert "\n".join(sorted(line for line in again if line.startswith("|"))) == table


def shown(directory, text):
    """The rules in a printed table, and the runs that the page says it is of."""
    cells = {cell.strip() for line in text.splitlines() for cell in line.split("|")[1:-1]}
    number = re.search("<h1>Report of (.*) runs</h1>", (directory / "report.html").read_text())[1]
    return cells & {"Backpropagation", "Align-ada", "Readout"}, number


def test_a_report_is_of_all_runs_in_the_directory_or_of_those_asked_for(sweep, tmp_path, capsys):
    directory, arguments = shutil.copytree(sweep[0], tmp_path / "runs"), sweep[1]
    failed = run_directory.read_runs(directory)[0].config | {"rule": "readout", "width": 4}
    run_directory.write_failure(directory / "failed", failed, "no", "")
    run(*arguments, f"--run_dir={directory}", "--rule=readout", "--width=8")
    everything = {"Backpropagation", "Align-ada", "Readout"}
    assert shown(directory, capsys.readouterr().out) == (everything, "6")
    asked = {
        "--rule=backprop --optimizer=SGD": ({"Backpropagation"}, "2"),
        "--rule=readout": ({"Readout"}, "2"),  # One of them failed.
        "--rule=readout,backprop --width=8": ({"Backpropagation", "Readout"}, "2"),
        "--strides=1,2,2 --normalize --epochs=2 --data_limit=200": (everything, "6"),
        "": (everything, "6"),
    }
    for flags, expected in asked.items():
        run("--mode=report", f"--run_dir={directory}", *flags.split())
        assert shown(directory, capsys.readouterr().out) == expected, flags


def test_a_sweep_that_fails_is_in_the_report_of_what_was_finished_before(
    sweep, tmp_path, monkeypatch, capsys
):
    directory, arguments = shutil.copytree(sweep[0], tmp_path / "runs"), sweep[1]
    monkeypatch.setattr(cli.commands.choosing.sweeps.training, "train", lambda *_: 1 / 0)
    with pytest.raises(SystemExit) as exit_info:
        run(*arguments, f"--run_dir={directory}", "--rule=readout", "--width=8")
    assert exit_info.value.code == 1
    assert shown(directory, capsys.readouterr().out) == ({"Backpropagation", "Align-ada"}, "5")


@pytest.mark.parametrize("mode", ["report", "evaluate", "export"])
def test_what_has_no_plan_is_not_done_instead(mode, sweep, capsys):
    directory, _ = sweep
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    with pytest.raises(SystemExit) as exit_info:
        run(f"--mode={mode}", f"--run_dir={directory}", "--dry_run")
    assert exit_info.value.code == 2
    expected = f"Expected --dry_run with --mode=train or kernel. Received: --mode={mode}\n"
    assert capsys.readouterr().err == expected
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*")} == before


def test_a_filter_that_leaves_nothing_ends_with_one_line(sweep, capsys):
    directory, _ = sweep
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    with pytest.raises(SystemExit) as exit_info:
        run("--mode=report", f"--run_dir={directory}", "--rule=hebb,readout", "--width=4")
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == (
        f"Expected a finished run to report. Received: {directory}, "
        "with rule=hebb or readout, width=4\n"
    )
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*")} == before


def test_the_same_command_gives_the_same_numbers(sweep, tmp_path):
    directory, arguments = sweep
    run(*arguments, "--rule=align_ada", "--width=8", f"--run_dir={tmp_path}")
    (again,) = run_directory.read_runs(tmp_path)
    first = run_directory.read_run(directory / again.directory.name)
    drop = {"seconds": None}
    assert again.result | drop == first.result | drop
    assert [row | drop for row in again.history] == [row | drop for row in first.history]


MISTAKES = {
    "rule": ("--rule=backprop,hebb", "one of backprop, align_zero, .*Received: rule='hebb'"),
    "dataset": (
        "--dataset=mnist",
        "one of add, cifar10, .*, kmnist, teacher, or tfds:NAME .* Received: dataset='mnist'",
    ),
    "model": ("--model=resnet", "one of cnn, mlp, rnn, two_layer. Received: model='resnet'"),
    "activation": ("--activation=relux", "Received: activation='relux'"),
    "loss": ("--loss=mze", "Received: loss='mze'"),
    "diagnostics": (
        "--diagnostics=angle",
        "alignment_score, conservation, .* Received: diagnostics='angle'",
    ),
    "diagnostics_twice": (
        "--diagnostics=conservation,conservation",
        "Received: diagnostics='conservation,conservation'",
    ),
    "width": ("--width=16,0", "integer from 1 to 2147483647. Received: width=0"),
    "width_text": ("--width=wide", "Expected width to be an integer.* Received: width='wide'"),
    "rate": ("--learning_rate=-1", "number above 0. Received: learning_rate=-1.0"),
    "limit": ("--data_limit=5000", "integer from 1 to 1200. Received: data_limit=5000"),
    "batch": ("--batch_size=3000", "integer from 1 to 1200. Received: batch_size=3000"),
    "checkpoint": (
        "--checkpoint_every=0",
        "integer from 1 to .* Received: checkpoint_every=0",
    ),
    "validation": ("--validation_size=9999", "Received: validation_size=9999"),
    "data_dir": ("--data_dir=/no/such/place", "existing directory. Received: .*/no/such/place"),
    "planned_data_dir": (
        "--dry_run --data_dir=/no/such/place",
        "existing directory. Received: .*/no/such/place",
    ),
    "home": ("--run_dir=~nobody_at_all/runs", "directory of a user. Received: ~nobody_at_all/runs"),
    "leftover": ("rule=backprop", "Expected flags alone.* Received: rule=backprop"),
    "flag": ("--widht=3", "Unknown command line flag 'widht'"),
    "mode": ("--mode=dance", "dance"),
    "flagfile": ("--flagfile=/no/such/file.flags", "/no/such/file.flags"),
    "report": ("--mode=report", "Expected a directory of finished runs"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_ends_with_one_line_and_nothing_left_behind(name, tmp_path, capsys):
    argument, message = MISTAKES[name]
    with pytest.raises(SystemExit) as exit_info:
        run(f"--run_dir={tmp_path}/runs", "--epochs=1", *argument.split())
    assert exit_info.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line)
    assert not list(tmp_path.iterdir())


def test_a_home_directory_is_meant_by_its_sign(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    flags = ["--data_dir=~/data", "--run_dir=~/runs", "--rule=backprop", "--width=4", "--epochs=1"]
    run(*flags, "--dry_run")
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "_width4_" in line)
    run(*flags)
    (finished,) = run_directory.read_runs(tmp_path / "runs")
    assert finished.directory.name in line
    assert finished.config["data_dir"] == "~/data"  # As it was given, on whichever machine.
    assert {path.name for path in tmp_path.iterdir()} == {"data", "runs"}


def test_an_interruption_ends_with_one_line(tmp_path, capsys, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.commands.choosing, "sweep", interrupt)
    with pytest.raises(SystemExit) as exit_info:
        run(f"--run_dir={tmp_path}")
    assert exit_info.value.code == 130
    assert capsys.readouterr().err == (
        "Interrupted by SIGINT: the same command goes on with what is not finished.\n"
    )


def test_a_mistake_in_a_process_of_its_own(tmp_path):
    command = [sys.executable, "main.py", "--rule=hebb", f"--run_dir={tmp_path}/runs"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("Expected a rule, one of backprop")
    assert not list(tmp_path.iterdir())


BROKEN = {
    "raises": ("raise ImportError('no such symbol')", 1, "ImportError: no such symbol"),
    "aborts": ("os.abort()", -signal.SIGABRT, "fatal: why"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_an_import_that_fails_has_said_is_shown(name, tmp_path):
    end, status, last = BROKEN[name]
    (tmp_path / "tensorflow.py").write_text(f"import os\nos.write(2, b'fatal: why\\n')\n{end}\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "main.py", "--dry_run"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status
    assert "fatal: why\n" in done.stderr and done.stderr.rstrip().endswith(last)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("tmp")]


def test_config_of_a_run_is_plain_json(sweep):
    directory, _ = sweep
    config = json.loads(next(directory.glob(f"*/{run_directory.CONFIG}")).read_text())
    assert config["batch_size"] == 50
    assert config["strides"] == [1, 2, 2]
