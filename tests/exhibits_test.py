"""Which charts there are of runs: what varies, summaries over seeds, panels and lines."""

import dataclasses
import math
import pathlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.reported import make_history, make_run, study
from wna_tf import rules
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


@pytest.mark.parametrize(
    ("model", "shown"),
    [
        ("none", "none"),
        ("runs/backprop_width8/model.keras", "backprop_width8"),
        ("/runs/first/*_width{width}_*_seed{seed}_*/model.keras", "first"),
        ("model.keras", "model.keras"),
    ],
)
def test_a_model_to_begin_with_is_told_by_its_directory(model, shown):
    assert fields.shown("initial_model", model) == fields.label("initial_model", model) == shown


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


def curves(names, widths=(8, 16), **options):
    history = make_history(4, loss=lambda t: math.exp(-t), val_loss=lambda t: 2 * math.exp(-t))
    runs = [make_run(r, w, 0, 0.5, history=history, **options) for r in names for w in widths]
    made = study(runs)
    return runs, [chart for name, chart in made.items() if name.startswith("curves_loss")]


def test_a_few_lines_of_training_and_validation_are_in_one_panel():
    runs, (chart,) = curves(["backprop", "readout"])
    assert (chart.panel, chart.line) == (("width",), ("rule", "series"))
    assert chart.measure.scale == "log"
    assert len(chart.cells) == len(runs) * 4 * 2
    assert chart.cells[8, "readout", "validation", 3].mean == pytest.approx(2 * math.exp(-3))


def test_more_lines_of_training_and_validation_are_side_by_side():
    _, (chart,) = curves([f"rule{index}" for index in range(6)])
    assert (chart.panel, chart.line) == (("width", "series"), ("rule",))


def test_curves_have_few_lines_in_a_panel_and_few_panels_in_a_figure():
    names = [f"rule{index}" for index in range(13)]
    runs, made = curves(names, widths=(8, 16, 32, 64, 128))
    assert {chart.name for chart in made} == {f"curves_loss_{rule}" for rule in names}
    assert sum(len(chart.cells) for chart in made) == len(runs) * 4 * 2
    for chart in made:
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


def test_a_run_that_diverged_is_left_out_of_curves_and_counted():
    good = make_history(3, accuracy=lambda t: 0.8, loss=lambda t: 0.5)
    bad = make_history(3, accuracy=lambda t: 0.1, loss=lambda t: 1e30 if t == 1 else float("nan"))
    runs = [make_run("backprop", 8, 0, 0.8, history=good)]
    runs.append(make_run("backprop", 8, 1, 0.1, loss=None, history=bad))
    cells = list(study(runs)["curves_accuracy"].cells.values())
    assert [cell.mean for cell in cells] == [0.8] * 3
    assert [(cell.count, cell.diverged) for cell in cells] == [(1, 1)] * 3


def test_one_value_has_the_error_of_its_own_run():
    records = [charts.Record({"x": 1}, None, 0.3), charts.Record({"x": 1}, 0.5, 0.02)]
    assert charts.summarize(records, ["x"])[(1,)].error == 0.02


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


# What is beside the main result.


def with_test(run, **results):
    return dataclasses.replace(run, result=run.result | results)


def test_test_results_are_beside_those_of_validation():
    runs = [
        with_test(make_run(rule, width, 0, 0.5), test_accuracy=0.25 + width / 1000)
        for rule in ("backprop", "readout")
        for width in (8, 16)
    ]
    made = study(runs)
    assert list(made)[:2] == ["validation_accuracy_by_width", "test_accuracy_by_width"]
    chart = made["test_accuracy_by_width"]
    assert chart.measure.label == "test accuracy (%)"
    assert chart.title.startswith("Test accuracy (%) against width")
    assert chart.cells["readout", 16].mean == 0.25 + 16 / 1000
    assert chart.cells["readout", 16].chance == 0.1


def test_validation_chooses_the_rate_at_which_test_results_are_told():
    runs = [
        with_test(
            make_run("readout", width, 0, rate / 10, learning_rate=rate), test_accuracy=1 - rate
        )
        for width in (8, 16)
        for rate in (0.25, 0.5)
    ]
    made = study(runs)
    assert list(made)[:2] == ["validation_accuracy_best_by_width", "test_accuracy_best_by_width"]
    assert not {"test_accuracy_by_width", "test_accuracy_by_learning_rate"} & made.keys()
    cells = made["test_accuracy_best_by_width"].cells.values()
    assert [cell.mean for cell in cells] == [0.5, 0.5]
    assert (
        "learning rate the best of 0.25, 0.5 on validation"
        in made["best_learning_rate_by_width"].held
    )


@pytest.mark.parametrize("test_loss, is_same", [(0.5, True), (0.6, False)])
def test_losses_of_test_and_validation_are_told_apart(test_loss, is_same):
    results = {"best_validation_loss": 0.4, "validation_loss": 0.5, "test_loss": test_loss}
    runs = [
        run_directory.Run(pathlib.Path(), {"rule": rule, "dataset": "add"}, results, [])
        for rule in ("backprop", "readout")
    ]
    validation, test = study(runs).values()
    assert (validation.name, test.name) == ("best_validation_loss_by_rule", "test_loss_by_rule")
    assert validation.measure.label == "best validation loss (of all epochs)"
    assert test.measure.label == "test loss (last epoch)"
    assert [cell.mean for cell in test.cells.values()] == [test_loss] * 2
    assert bool(test.note) == is_same and not validation.note


def test_a_diverged_run_has_no_test_result():
    run = with_test(make_run("readout", 8, 0, 0.1, loss=None), test_accuracy=0.1)
    (cell,) = study([run])["test_accuracy_by_rule"].cells.values()
    assert (cell.count, cell.diverged) == (0, 1)


def test_what_is_held_fixed_is_told():
    runs = [
        make_run(rule, width, seed, 0.5, learning_rate=5.0, epochs=30, normalize=False)
        for rule in ("backprop", "readout")
        for width in (8, 16)
        for seed in range(1 + (rule == "readout"))
    ]
    chart = study(runs)["validation_accuracy_by_width"]
    assert chart.held == (
        "Held fixed: learning rate 5, optimizer sgd, 30 epochs, batches of 100, loss mse, "
        "normalize false. 1 to 2 seeds a point."
    )
    assert "width 8" in study(runs[:1])["validation_accuracy_by_rule"].held


# The order of rules, and axes.


@given(st.lists(st.sampled_from([*rules.names(), "a_rule"]), min_size=1, unique=True))
def test_rules_stand_as_in_their_table(names):
    runs = [make_run(rule, width, 0, 0.5) for rule in names for width in (8, 16)]
    chart = study(runs)["validation_accuracy_by_width"]
    order = [*rules.names(), "a_rule"]
    assert [rule for (rule,) in chart.values("rule")] == sorted(names, key=order.index)


def drifts(widths=(8,), rates=(1.0, 2.0, 4.0)):
    return [
        make_run("backprop", width, 0, 0.5, learning_rate=rate, history=history)
        for width in widths
        for rate in rates
        for history in [make_history(4, conservation__a=lambda t, rate=rate: rate * t + rate)]
    ]


@pytest.mark.parametrize("widths", [(8,), (8, 16)])
def test_conservation_is_drawn_over_learning_rate_times_epochs(widths):
    made = study(drifts(widths))
    chart = made["conservation"]
    assert (chart.x, chart.line) == ("time", ("learning_rate",))
    assert chart.panel == ("width",) * (len(widths) > 1)
    for rate in (1.0, 2.0, 4.0):  # Of every rate, not of the best alone.
        for epoch in range(1, 5):
            point = (*widths[1:], rate, rate * epoch)
            assert chart.cells[point].mean == rate * epoch + rate
    last = made["conservation_last_by_learning_rate"]
    assert {point[-1]: cell.mean for point, cell in last.cells.items()} == {1: 5, 2: 6, 4: 8}
    assert "at learning rate times epochs 4 against" in last.title


def test_panels_of_constant_lines_are_left_out_and_told():
    def chart_of(*losses):
        runs = [
            make_run("backprop", 8, 0, 0.5, ridge=ridge, activation=name, history=history)
            for ridge, both in enumerate(losses)
            for name, loss in zip(("relu", "tanh"), both, strict=True)
            for history in [make_history(4, linearization_gap=loss)]
        ]
        return study(runs)["linearization_gap"]

    def still(_):
        return 0.5

    def moving(t):
        return float(t)

    def nearly(t):
        return 0.5 + t / 1000

    chart = chart_of((moving, still), (still, nearly))
    assert chart.panel == ("ridge",) and chart.line == ("activation",)
    assert (chart.panels, chart.hidden) == ([(0,)], ((1,),))
    assert chart.note == "Not drawn, as all lines are constant there: ridge 1."
    assert len(chart.cells) == 16  # The table has them.
    for losses in [((still, still),) * 2, ((moving, still),) * 2]:
        assert not chart_of(*losses).hidden
