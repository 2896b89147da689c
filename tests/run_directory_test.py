"""Run directories: round trips, atomic writes and damage."""

import pytest

from wna_tf import files, locks
from wna_tf.experiments import run_directory

RESULT = {"validation_accuracy": 0.25, "epochs": 1}


def make_run(directory, config=None, result=None):
    directory.mkdir(parents=True)
    files.write_json(directory / run_directory.CONFIG, config or {"width": 8})
    files.write_rows(directory / run_directory.HISTORY, [{"epoch": 1, "seconds": 2, "loss": 0.5}])
    files.write_json(directory / run_directory.RESULT, result or RESULT)


def test_a_run_is_read_as_it_was_written(tmp_path):
    make_run(tmp_path / "run")
    run = run_directory.read_run(tmp_path / "run")
    assert run.config == {"width": 8}
    assert run.result == RESULT
    assert run.history == [{"epoch": 1.0, "seconds": 2.0, "loss": 0.5}]


def test_metrics_that_begin_later_leave_gaps(tmp_path):
    rows = [{"epoch": 1.0}, {"epoch": 2.0, "score": 0.5}]
    files.write_rows(tmp_path / "history.csv", rows)
    assert run_directory.read_history(tmp_path / "history.csv") == rows


@pytest.mark.parametrize("finished", [True, False])
def test_remains_of_a_killed_process_are_removed(finished, tmp_path):
    make_run(tmp_path / "run")
    kept = {run_directory.CONFIG, run_directory.HISTORY}
    if finished:
        kept.add(run_directory.RESULT)
    else:
        (tmp_path / "run" / run_directory.RESULT).unlink()
        kept.add(run_directory.CHECKPOINTS)
    (tmp_path / "run" / run_directory.CHECKPOINTS).mkdir()
    half = tmp_path / "run" / ".wna_tf-12-ab"
    half.mkdir()
    (half / "history.csv").touch()
    (half / locks.NAME).touch()
    run_directory.clean(tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == kept


def test_unfinished_runs_are_not_read(tmp_path):
    make_run(tmp_path / "b")
    make_run(tmp_path / "a")
    (tmp_path / "c").mkdir()
    assert [run.directory.name for run in run_directory.read_runs(tmp_path)] == ["a", "b"]
    run_directory.write_failure(tmp_path / "d", {}, "ValueError: no", "line 1\nline 2")
    states = [run_directory.state(tmp_path / name) for name in "abcd"]
    assert states == ["finished", "finished", "new", "failed"]
    assert files.read_json(tmp_path / "d" / run_directory.FAILURE)["details"] == [
        "line 1",
        "line 2",
    ]


def test_a_directory_without_runs_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="directory of finished runs"):
        run_directory.read_runs(tmp_path / "nothing")
