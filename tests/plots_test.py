"""Tables and figures."""

import pathlib
import statistics

import pytest

from wna_tf import plots, results


def make_run(rule, width, seed, accuracy):
    config = {"rule": rule, "width": width, "seed": seed, "learning_rate": 1.0, "data_limit": None}
    result = {"validation_accuracy": accuracy, "chance": {"accuracy": 0.1}}
    return results.Run(pathlib.Path(), config, result, [])


RUNS = [
    make_run("readout", 64, 0, 0.5),
    make_run("readout", 8, 0, 0.25),
    make_run("backprop", 8, 0, 0.6),
    make_run("backprop", 8, 1, 0.8),
    make_run("backprop", 8, 2, None),
]


def test_the_table_has_means_and_deviations_over_seeds(tmp_path):
    text, figure = plots.report(RUNS, tmp_path)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[2:]]
    deviation = 100 * statistics.stdev([0.6, 0.8])
    assert rows[0] == ["rule", "width 8", "width 64"]
    assert rows[2:] == [["readout", "25.0", "50.0"], ["backprop", f"70.0 ± {deviation:.1f}", "-"]]
    assert (tmp_path / "validation_accuracy.md").read_text() == text + "\n"
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 2


def test_what_varies_makes_the_columns(tmp_path):
    runs = [
        results.Run(run.directory, run.config | {"width": 8, "learning_rate": rate}, run.result, [])
        for run, rate in zip(RUNS[:2], (0.5, 2.0), strict=True)
    ]
    text, _ = plots.report(runs, tmp_path)
    assert "learning rate 0.5 | learning rate 2" in text


def test_runs_that_all_diverged_are_refused(tmp_path):
    with pytest.raises(ValueError, match="Expected a run that did not diverge"):
        plots.report(RUNS[-1:], tmp_path)
    assert not list(tmp_path.iterdir())
