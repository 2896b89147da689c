"""Run directories: round trips, atomic writes and damage."""

import pytest

from wna_tf import results


def make_run(directory, config=None, result=None):
    directory.mkdir(parents=True)
    results.write_json(directory / results.CONFIG, config or {"width": 8})
    results.write_history(directory / results.HISTORY, [{"epoch": 1, "loss": 0.5}])
    results.write_json(directory / results.RESULT, result or {"validation_accuracy": 0.25})


def test_a_run_is_read_as_it_was_written(tmp_path):
    make_run(tmp_path / "run")
    run = results.read_run(tmp_path / "run")
    assert run.config == {"width": 8}
    assert run.result == {"validation_accuracy": 0.25}
    assert run.history == [{"epoch": 1.0, "loss": 0.5}]


def test_metrics_that_begin_later_leave_gaps(tmp_path):
    rows = [{"epoch": 1.0}, {"epoch": 2.0, "score": 0.5}]
    results.write_history(tmp_path / "history.csv", rows)
    assert results.read_history(tmp_path / "history.csv") == rows


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "result.json"
    results.write_json(path, {"old": 1})
    with pytest.raises(TypeError):
        results.write_json(path, {"new": object()})
    with pytest.raises(RuntimeError), results.replacing(path) as beside:
        beside.write_text("half")
        raise RuntimeError
    assert results.read_json(path) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_directories_are_replaced_too(tmp_path):
    for content in ("old", "new"):
        with results.replacing(tmp_path / "model") as beside:
            beside.mkdir()
            (beside / content).write_text("")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["new"]


@pytest.mark.parametrize("finished", [True, False])
def test_remains_of_a_killed_process_are_removed(finished, tmp_path):
    make_run(tmp_path / "run")
    kept = {results.CONFIG, results.HISTORY}
    if finished:
        kept.add(results.RESULT)
    else:
        (tmp_path / "run" / results.RESULT).unlink()
        kept.add(results.CHECKPOINTS)
    (tmp_path / "run" / results.CHECKPOINTS).mkdir()
    (tmp_path / "run" / ".12-history.csv").touch()
    (tmp_path / "run" / ".12-model").mkdir()
    results.clean(tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} == kept


@pytest.mark.parametrize("content", ['{"width": ', "[1]", "\x00\x00"])
def test_damaged_files_are_named(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=r"Expected a JSON .*config\.json"):
        results.read_json(tmp_path / "config.json")


def test_unfinished_runs_are_not_read(tmp_path):
    make_run(tmp_path / "b")
    make_run(tmp_path / "a")
    (tmp_path / "c").mkdir()
    assert [run.directory.name for run in results.read_runs(tmp_path)] == ["a", "b"]
    results.write_failure(tmp_path / "d", {}, "ValueError: no", "line 1\nline 2")
    states = [results.state(tmp_path / name) for name in "abcd"]
    assert states == ["finished", "finished", "new", "failed"]
    assert results.read_json(tmp_path / "d" / results.FAILURE)["details"] == ["line 1", "line 2"]


def test_a_directory_without_runs_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="directory of finished runs"):
        results.read_runs(tmp_path / "nothing")
