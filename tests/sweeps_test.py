"""Sweeps: failures, plans, other processes and other executors."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import ROOT
from wna_tf import files, locks, rules
from wna_tf.experiments import build, executors, extensions, run_directory, sweeps, training
from wna_tf.experiments import plan as plans
from wna_tf.experiments.config import Config, Setup

TINY = {"width": 4, "depth": 1, "epochs": 1, "data_limit": 20, "batch_size": 20}


def make_grid(**fields):
    return [Config(**TINY | fields | {"rule": rule}) for rule in ("backprop", "readout")]


def test_a_failure_is_recorded_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    real = build.learner

    def learner(config, data):
        if config.width == 5:
            raise MemoryError("no room\nfor this")
        return real(config, data)

    monkeypatch.setattr(build, "learner", learner)
    grid = [Config(**TINY | {"width": width}) for width in (4, 5, 6)]
    place = tmp_path / grid[1].name
    runs, failures = sweeps.sweep(grid, tmp_path)
    assert [run.config["width"] for run in runs] == [4, 6]
    assert failures == {place: "MemoryError: no room for this"}
    assert files.read_json(place / run_directory.FAILURE)["error"] == failures[place]
    assert {path.name for path in place.iterdir()} == {run_directory.CONFIG, run_directory.FAILURE}
    assert "Failed:" in capsys.readouterr().out

    monkeypatch.setattr(build, "learner", real)
    runs, failures = sweeps.sweep(grid, tmp_path)  # What failed is tried again.
    assert [run.config["width"] for run in runs] == [4, 5, 6]
    assert not failures
    assert not (place / run_directory.FAILURE).exists()
    assert re.findall(r"\[\d/\d\]", capsys.readouterr().out) == ["[3/3]"]


def test_a_mistake_in_the_first_run_leaves_nothing_behind(tmp_path):
    with pytest.raises(ValueError, match="data_limit=9999"):
        sweeps.sweep(make_grid(data_limit=9999), tmp_path / "runs")
    assert not list(tmp_path.iterdir())


def test_several_workers_go_through_the_grid_by_themselves(tmp_path, monkeypatch):
    monkeypatch.setattr(sweeps.strategies, "has_workers", lambda strategy: True)
    with pytest.raises(ValueError, match=r"Expected executor='local' .* executor='ray'"):
        sweeps.sweep(make_grid(), tmp_path, "ray")
    assert not list(tmp_path.iterdir())


def test_a_plan_tells_states_and_steps(tmp_path):
    grid = [
        Config(epochs=3, batch_size=100),
        Config(dataset="cifar10", epochs=150),
        Config(dataset="kmnist", data_limit=150, batch_size=100, epochs=1),
        Config(dataset="imagenet", epochs=1),
    ]
    (tmp_path / grid[1].name).mkdir()
    files.write_json(tmp_path / grid[1].name / run_directory.RESULT, {})
    run_directory.write_failure(tmp_path / grid[2].name, {}, "error", "")
    plan = plans.describe(grid, tmp_path)
    rows = [line.split(" | ")[1:3] for line in plan.splitlines()[2:6]]
    assert rows == [["new", "36"], ["finished", "67500"], ["failed", "3"], ["new", "12812"]]
    assert "\n4 runs, 12851 steps to do, about " in plan


def test_the_plan_counts_the_steps_that_are_taken(tmp_path):
    config = Config(**TINY | {"data_limit": 50, "epochs": 2})
    training.train(config, tmp_path / "run")
    data = build.load_data(config)
    assert build.count_steps(config) == 2 * data.train.cardinality()


def test_a_limit_that_leaves_nothing_out_still_makes_equal_batches():
    # 1,200 digits are left beside validation: batches of gcd(1200, 500), as `split` makes them.
    config = Config(data_limit=1200, batch_size=500, epochs=1)
    assert build.count_steps(config) == build.load_data(config).steps == 12


def test_a_plan_of_images_without_a_directory_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"Expected data_dir .* Received: data_dir=None"):
        plans.describe([Config(dataset="image_folder")], tmp_path)


# Run beside locks.py, which needs nothing of the package: importing that takes seconds.
HOLD = """
import locks, pathlib, sys, time
with locks.claimed(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""
RACE = """
import locks, pathlib, sys
marker = pathlib.Path(sys.argv[1]) / "marker"
for _ in range(1000):
    try:
        with locks.claimed(marker.with_name("run")):
            marker.touch(exist_ok=False)
            marker.unlink()
    except locks.Busy:
        pass
"""


def start(code, directory):
    command = [sys.executable, "-c", code, str(directory)]
    return subprocess.Popen(command, cwd=ROOT / "wna_tf", stdout=subprocess.PIPE, text=True)


def test_a_directory_is_one_processs_until_that_ends(tmp_path):
    place = tmp_path / "deep" / "run"
    with start(HOLD, place) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(locks.Busy, match=f"no other process .* Received: {place}"):
            training.train(Config(**TINY), place)
        assert sweeps.attempt(Config(**TINY), place.parent) == ""  # Another run of the sweep.
        other.send_signal(signal.SIGKILL)
        other.wait()
    with locks.claimed(place):
        pass
    assert place.is_dir() is False
    assert [path.name for path in place.parent.iterdir()] == [Config(**TINY).name]


def test_claims_exclude_each_other_in_a_race(tmp_path):
    racers = [start(RACE, tmp_path) for _ in range(2)]
    assert [racer.wait() for racer in racers] == [0, 0]
    assert not list(tmp_path.iterdir())


def test_a_file_in_the_way_is_told(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(FileExistsError, match="run"), locks.claimed(tmp_path / "run"):
        pass
    assert (tmp_path / "run").is_file()


def test_busy_runs_are_waited_for(tmp_path, monkeypatch):
    (config,) = make_grid()[:1]
    calls = []

    def attempt(config, directory, setup):
        calls.append(config)
        if len(calls) == 1:
            return sweeps.BUSY
        place = directory / config.name
        place.mkdir()
        files.write_json(place / run_directory.CONFIG, {})
        files.write_json(place / run_directory.RESULT, {"epochs": 1})
        files.write_rows(place / run_directory.HISTORY, [{"epoch": 1, "seconds": 2}])
        return ""

    monkeypatch.setattr(sweeps, "attempt", attempt)
    monkeypatch.setattr(sweeps, "_PATIENCE", 0)
    runs, _ = sweeps.sweep([config], tmp_path)
    assert len(runs) == 1
    assert calls == [config, config]


@pytest.mark.slow
def test_a_killed_sweep_ends_as_if_it_had_not_been(tmp_path):
    def command(directory):
        flags = ["--width=4,6", "--rule=backprop,align_ada", "--epochs=40", "--checkpoint_every=7"]
        return [sys.executable, "main.py", *flags, f"--run_dir={directory}"]

    subprocess.run(command(tmp_path / "whole"), cwd=ROOT, check=True, capture_output=True)
    broken = tmp_path / "broken"
    with subprocess.Popen(command(broken), cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        announced = 0
        while announced < 3:  # The third run has begun.
            announced += process.stdout.readline().startswith("[")
        time.sleep(1.5)
        process.send_signal(signal.SIGKILL)
    finished = {path: path.stat().st_mtime_ns for path in broken.glob(f"*/{run_directory.RESULT}")}
    assert len(finished) == 2
    again = subprocess.run(command(broken), cwd=ROOT, check=True, capture_output=True, text=True)
    assert re.findall(r"^\[\d/\d\]", again.stdout, re.MULTILINE) == ["[3/4]", "[4/4]"]
    for path, time_ns in finished.items():
        assert path.stat().st_mtime_ns == time_ns
    runs, others = run_directory.read_runs(tmp_path / "whole"), run_directory.read_runs(broken)
    assert len(runs) == 4
    drop = {"seconds": None}
    for run, other in zip(runs, others, strict=True):
        assert other.result | drop == run.result | drop
        assert [row | drop for row in other.history] == [row | drop for row in run.history]


@pytest.fixture(scope="module")
def cluster():
    """Ray on this machine, which takes SIGTERM for itself and keeps it when it has ended."""
    ray = pytest.importorskip("ray")
    handler = signal.getsignal(signal.SIGTERM)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    yield
    ray.shutdown()
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.usefixtures("cluster")
def test_ray_trains_what_this_process_trains(tmp_path, monkeypatch):
    monkeypatch.setattr(rules._TABLE, "_choices", dict(rules._TABLE._choices))
    rule = 'wna_tf.Rule("random", "initial", "current")'
    (tmp_path / "own_rule.py").write_text(f"import wna_tf\nwna_tf.rules.register('own', {rule})\n")
    setup = Setup(imports=(str(tmp_path / "own_rule.py"),))
    extensions.load(setup.imports)
    monkeypatch.delitem(sys.modules, "own_rule")
    grid = [*make_grid(), Config(**TINY, rule="own")]
    monkeypatch.chdir(tmp_path)  # Where the cluster was not started.
    there, failures = sweeps.sweep(grid, pathlib.Path("ray"), executor="ray", setup=setup)
    here, _ = sweeps.sweep(grid, tmp_path / "local")
    assert not failures
    for ours, theirs in zip(here, there, strict=True):
        assert ours.config == theirs.config
        assert ours.result | {"seconds": 0} == theirs.result | {"seconds": 0}


@pytest.mark.usefixtures("cluster")
def test_a_worker_of_ray_that_is_killed_is_a_failed_run(tmp_path, monkeypatch):
    attempt = sweeps.attempt

    def deadly(config, directory, setup):
        if config.rule == "backprop":
            os.kill(os.getpid(), signal.SIGKILL)
        return attempt(config, directory, setup)

    monkeypatch.setattr(sweeps, "attempt", deadly)
    grid = make_grid()
    runs, failures = sweeps.sweep(grid, tmp_path, executor="ray")
    assert [run.config["rule"] for run in runs] == ["readout"]
    place = tmp_path / grid[0].name
    assert list(failures) == [place] and failures[place].startswith("Died: ")
    assert files.read_json(place / run_directory.FAILURE)["error"] == failures[place]
    assert run_directory.state(place) == "failed"


def test_an_executor_without_its_package_is_refused(monkeypatch):
    monkeypatch.setattr(executors.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install ray\. Received"):
        executors.get("ray")
    with pytest.raises(ValueError, match=r"processes, ray\. Received: executor='slurm'"):
        executors.get("slurm")


def test_results_of_a_sweep_are_plain_json(tmp_path):
    sweeps.sweep(make_grid()[:1], tmp_path)
    (path,) = tmp_path.glob(f"*/{run_directory.RESULT}")
    assert json.loads(path.read_text())["examples"]["train"] == 20


@pytest.mark.parametrize(("seconds", "text"), [(5, "5 s"), (150, "2 min"), (3e5, "3 days")])
def test_durations_are_in_their_largest_unit(seconds, text):
    assert plans.format_seconds(seconds) == text
