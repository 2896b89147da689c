"""Which charts there are of runs: what varies, summaries over seeds, panels and lines."""

import math
import pathlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reported import make_history, make_run, study
from wna_tf.experiments import run_directory
from wna_tf.experiments.reporting import charts, fields, measures, tables


def test_the_time_of_an_epoch_leaves_the_first_one_out():
    history = [{"epoch": n, "seconds": s} for n, s in enumerate((9.0, 10.0, 12.0, 20.0), 1)]
    runs = [make_run("backprop", width, 0, 0.5, history=history) for width in (8, 64)]
    cells = study(runs)["seconds_per_epoch_by_width"].cells
    assert [cell.mean for cell in cells.values()] == [2.0, 2.0]


def test_settings_of_a_feedback_source_are_fields():
    runs = [
        make_run("kolen_pollack", 8, 0, 0.5, feedback=["decay=0.01", "shape=round"]),
        make_run("kolen_pollack", 8, 0, 0.4, feedback=["decay=1e-05", "shape=round"]),
        make_run("backprop", 8, 0, 0.3, feedback=[]),
        make_run("readout", 8, 0, 0.2),  # Older than the field.
    ]
    assert fields.select(runs, {"feedback": [("decay=0.01",), ("decay=3",)]}) == runs[:1]
    assert fields.select(runs, {"feedback": [()]}) == runs
    configs = [run.config for run in fields.complete(runs)]
    assert not any("feedback" in config for config in configs)
    assert {config["feedback_decay"] for config in configs} == {None, 0.01, 1e-05}
    names = ["rule", "feedback_decay"]
    # The shape is there as the rule is.
    assert fields.varying(configs) == fields.Varying(names, [], {"feedback_shape": "rule"})
    (own, other) = [config for config in configs if config["rule"] == "kolen_pollack"]
    assert fields.varying([own, other]) == fields.Varying(names, ["feedback_decay"], {})
    assert "validation_accuracy_by_feedback_decay" in study(runs[:2])


def test_a_field_that_follows_another_makes_no_panels():
    rates = {"readout": 5.0, "backprop": 1.0}
    runs = [
        make_run(rule, width, 0, 0.5, learning_rate=rate)
        for rule, rate in rates.items()
        for width in (8, 16)
    ]
    varying = fields.varying([run.config for run in fields.complete(runs)])
    assert varying == (["rule", "width"], ["width"], {"learning_rate": "rule"})
    (chart,) = study(runs).values()
    assert (chart.panel, chart.line, chart.x) == ((), ("rule",), "width")


def test_names_join_lines_and_numbers_make_panels():
    runs = [
        make_run(rule, width, 0, 0.5, optimizer=optimizer, ridge=ridge)
        for rule in ("backprop", "readout")
        for width in (8, 16)
        for optimizer in ("sgd", "adam")
        for ridge in (0.0, 0.5)
    ]
    made = study(runs)
    assert list(made) == ["validation_accuracy_by_width", "validation_accuracy_by_ridge"]
    chart = made["validation_accuracy_by_ridge"]
    assert (chart.panel, chart.line) == (("width",), ("rule", "optimizer"))
    assert len(chart.cells) == len(runs)


def test_seeds_alone_make_a_point_a_rule():
    runs = [make_run(rule, 8, seed, 0.5) for rule in ("a", "b") for seed in (1, 2, 3)]
    (chart,) = study(runs).values()
    assert (chart.panel, chart.line, chart.x) == ((), (), "rule")
    assert [cell.count for cell in chart.cells.values()] == [3, 3]
    assert tables.table(chart).texts()[0] == ["rule", "validation accuracy (%)"]


def test_the_best_learning_rate_diverges_least():
    scores = {
        (8, 1.0): (0.5, 0.6),
        (8, 2.0): (0.9, None),
        (16, 1.0): (0.2, 0.2),
        (16, 2.0): (0.3, 0.3),
    }
    runs = [
        make_run("readout", width, seed, score, learning_rate=rate)
        for (width, rate), values in scores.items()
        for seed, score in enumerate(values)
    ]
    made = study(runs)
    best = made["validation_accuracy_best_by_width"]
    assert {key: cell.mean for key, cell in best.cells.items()} == pytest.approx(
        {("readout", 8): 0.55, ("readout", 16): 0.3}
    )
    rates = made["best_learning_rate_by_width"].cells
    assert {key: cell.mean for key, cell in rates.items()} == {
        ("readout", 8): 1.0,
        ("readout", 16): 2.0,
    }


def test_the_lowest_loss_is_the_best():
    runs = [
        run_directory.Run(
            pathlib.Path(),
            {"rule": "readout", "width": width, "learning_rate": rate, "seed": 0},
            {"train_loss": rate},
            [],
        )
        for width in (8, 16)
        for rate in (1.0, 2.0)
    ]
    made = study(runs)
    assert [cell.mean for cell in made["train_loss_best_by_width"].cells.values()] == [1.0, 1.0]


def test_curves_show_training_beside_validation_with_few_lines():
    history = make_history(4, loss=lambda t: math.exp(-t), val_loss=lambda t: 2 * math.exp(-t))
    rules = [f"rule{index}" for index in range(13)]
    runs = [make_run(rule, w, 0, 0.5, history=history) for rule in rules for w in (8, 16, 32)]
    made = [chart for name, chart in study(runs).items() if name.startswith("curves_loss_rule")]
    assert len(made) == len(rules)  # A figure of all of them would have too many panels.
    assert sum(len(chart.cells) for chart in made) == len(runs) * 4 * 2
    for chart in made:
        assert chart.measure.scale == "log"
        assert len(chart.values(*chart.line)) <= charts.MOST_CURVES
        assert len(chart.values(*chart.panel)) <= charts.MOST_PANELS
        assert chart.panel[-1:] == ("series",)


def test_diagnostics_have_blocks_controls_and_standard_errors():
    history = make_history(
        3,
        loss=lambda t: 1.0,
        alignment_score__a=lambda t: t / 4,
        alignment_score__b=lambda t: t / 8,
        alignment_score_error__a=lambda t: 0.125,
        alignment_score_shuffled__a=lambda t: 0.0,
        linearization_gap=lambda t: t,
    )
    runs = [make_run("backprop", width, 0, 0.5, history=history) for width in (8, 16)]
    made = study(runs)
    assert {name for name in made if "alignment" in name or "gap" in name} == {
        "alignment_score",
        "alignment_score_last_by_width",
        "linearization_gap",
        "linearization_gap_last_by_width",
    }
    last = made["alignment_score_last_by_width"]
    assert (last.panel, last.line, last.x) == ((), ("block", "series"), "width")
    a, b = (last.cells[block, "measured", 8] for block in "ab")
    assert (a.mean, a.error) == (0.75, 0.125)
    assert (b.mean, b.error) == (0.375, 0.0)
    assert last.cells["a", "shuffled", 8].mean == 0.0
    assert made["alignment_score"].panel == ("width",)
    assert made["linearization_gap"].cells[8, 3].mean == 3.0


def test_runs_without_validation_report_the_train_loss():
    run = run_directory.Run(pathlib.Path(), {"rule": "a"}, {"train_loss": 0.5}, [])
    assert measures.main(run) == "train_loss"
    assert measures.status(run) == "finished"


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=8), st.integers(0, 3))
def test_summaries_are_those_of_numpy(values, diverged):
    records = [charts.Record({"x": 1}, value) for value in [*values, *[None] * diverged]]
    cell = charts.summarize(records, ["x"])[(1,)]
    assert (cell.count, cell.diverged) == (len(values), diverged)
    assert cell.mean == pytest.approx(np.mean(values), abs=1e-9)
    if len(values) > 1:
        error = np.std(values, ddof=1) / np.sqrt(len(values))
        assert cell.error == pytest.approx(error, abs=1e-6)
