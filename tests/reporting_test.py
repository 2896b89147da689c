"""Reports: their files, the page, and which runs are shown."""

import csv
import pathlib
import statistics

import pytest

from tests.reported import RUNS, Page, cells_of, make_history, make_run
from wna_tf.experiments import reporting, run_directory
from wna_tf.experiments.reporting import fields


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs")
    for name, config in (("failed", {"rule": "readout", "width": 16}), ("again", {"width": 8})):
        run_directory.write_failure(directory / name, config, "Out of <memory> & more", "")
    return directory, reporting.report(RUNS, directory)


def test_the_table_has_means_and_standard_errors_over_seeds(report):
    _, (main, *_) = report
    error = 100 * statistics.stdev([0.6, 0.8]) / 2**0.5
    head, _, *rows = cells_of(main.table)
    assert head == ["rule", "width 8", "width 64"]
    assert rows == [
        ["Backpropagation", f"70 ± {error:.0f} (1 diverged)", "-"],
        ["Align-zero", "diverged", "-"],
        ["Readout", "25.0", "50.0"],
    ]
    text = main.figure.with_suffix(".md").read_text()
    assert text == f"{main.title}\n\n{main.table}\n\n{main.note}\n"
    assert main.title == "Validation accuracy (%) against width (digits, mlp)"


def test_the_numbers_are_plain(report):
    _, (main, *_) = report
    with main.figure.with_suffix(".csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0].keys() == {"rule", "width", "mean", "standard_error", "count", "diverged"}
    assert float(rows[0]["mean"]) == pytest.approx(0.7)
    error = statistics.stdev([0.6, 0.8]) / 2**0.5
    assert float(rows[0]["standard_error"]) == pytest.approx(error)
    assert [row["count"] for row in rows] == ["2", "0", "1", "1"]
    assert [row["diverged"] for row in rows] == ["1", "1", "0", "0"]
    assert rows[1]["mean"] == ""


def test_the_same_runs_give_the_same_bytes(report, tmp_path):
    directory, _ = report
    reporting.report(RUNS[::-1], tmp_path)
    files = sorted((directory / "report").iterdir())
    assert {path.suffix for path in files} == {".csv", ".md", ".pdf", ".png", ".svg", ".tex"}
    for path in files:
        assert path.read_bytes() == (tmp_path / "report" / path.name).read_bytes(), path.name
    first = (tmp_path / "report.html").read_bytes()
    for form in ("csv", "md", "png", "svg"):  # A chart of an earlier report, before .pdf and .tex.
        (tmp_path / "report" / f"stale.{form}").touch()
    reporting.report(RUNS, tmp_path)
    assert (tmp_path / "report.html").read_bytes() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report", "report.html"]
    assert len(list((tmp_path / "report").iterdir())) == len(files)


def test_a_report_replaces_a_report_but_no_file_of_others(tmp_path):
    (tmp_path / "report").mkdir()
    for _ in range(2):
        reporting.report(RUNS, tmp_path)
    # As pages began before.
    before = ["<!doctype html>", '<html lang="en">', "<head>", '<meta charset="utf-8">']
    before += ['<meta name="viewport" content="width=device-width, initial-scale=1">']
    (tmp_path / "report.html").write_text("\n".join([*before, "<title>Report of 3 runs</title>"]))
    reporting.report(RUNS, tmp_path)
    (tmp_path / "report" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=f"Received: {tmp_path}/report, which is something else"):
        reporting.report(RUNS, tmp_path)
    assert (tmp_path / "report" / "notes.txt").read_text() == "mine"


def test_the_page_needs_nothing_else_and_lists_every_run(report):
    directory, made = report
    page = Page((directory / "report.html").read_text())
    assert not page.open
    assert len(page.sources) == len(made)
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.sources)
    assert "4 finished, 2 diverged, 2 failed" in page.text
    assert page.text.count("failed: Out of <memory> & more") == 2
    for run in RUNS:
        assert run.directory.name in page.text


def test_runs_of_two_kinds_have_files_of_their_own(tmp_path):
    history = make_history(2, loss=lambda t: 1 / t)
    run = make_run("readout", 8, 0, 0.5, history=history)
    config = run.config | {"dataset": "add"}
    other = run_directory.Run(pathlib.Path("b"), config, {"best_validation_loss": 0.5}, history)
    made = reporting.report([run, other], tmp_path)
    assert [exhibit.figure.stem for exhibit in made] == [
        "validation_accuracy_by_rule",
        "validation_accuracy_curves_loss",
        "best_validation_loss_by_rule",
        "best_validation_loss_curves_loss",
    ]


def test_runs_are_chosen_by_their_fields_and_the_page_says_so(tmp_path):
    runs = [make_run("readout", 8, 0, 0.5, strides=[1, 2]), *RUNS]
    assert fields.select(runs, {}) == runs
    assert fields.select(runs, {"rule": ["readout", "<b>"], "width": [8]}) == [runs[0], runs[2]]
    assert fields.select(runs, {"strides": [(1, 2)]}) == runs[:1]
    assert fields.select(runs, {"strides": [(1, 2, 2)]}) == RUNS  # Their default.
    reporting.report(runs, tmp_path, {"rule": ["readout", "<b>"], "strides": [(1, 2), (1, 2, 2)]})
    page = Page((tmp_path / "report.html").read_text())
    told = "3 finished; only runs with rule=readout or <b>, strides=1,2 or 1,2,2"
    assert told in "".join(page.text)


def test_no_runs_are_refused(tmp_path):
    with pytest.raises(ValueError, match=f"Expected a finished run .* Received: {tmp_path}$"):
        reporting.report([], tmp_path)
    with pytest.raises(ValueError, match=f"Received: {tmp_path}, with data_limit=none"):
        reporting.report([], tmp_path, {"data_limit": [None]})
    with pytest.raises(ValueError, match=r"of a configuration\. Received: widht"):
        reporting.report(RUNS, tmp_path, {"widht": [8]})
    assert not list(tmp_path.iterdir())


def test_runs_that_all_diverged_are_reported(tmp_path):
    main, *_ = reporting.report(RUNS[-1:], tmp_path)
    assert cells_of(main.table)[2] == ["Align-zero", "diverged"]


def test_missing_fields_have_their_defaults():
    old, new = make_run("readout", 8, 0, 0.5), make_run("readout", 8, 0, 0.5, depth=3)
    runs = fields.complete([old, new])
    assert runs[0].config == runs[1].config
    assert fields.varying([run.config for run in runs]).names == ["rule"]


def test_all_examples_are_a_number_beside_limits():
    runs = [make_run("readout", 8, 0, 0.5, data_limit=limit) for limit in (50, None, None)]
    runs[1].result["examples"] = {"train": 1200}
    assert [run.config["data_limit"] for run in fields.complete(runs)] == [50, 1200, 1200]
    assert [run.config["data_limit"] for run in fields.complete(runs[1:])] == [None, None]
