"""Reports: what varies, summaries over seeds, which exhibits there are, and their files."""

import csv
import html.parser
import math
import pathlib
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wna_tf.experiments import reporting, run_directory
from wna_tf.experiments.reporting import charts, exhibits, fields, measures, tables


def make_run(rule, width, seed, accuracy, loss=0.5, history=(), **config):
    config = {"rule": rule, "width": width, "seed": seed, "dataset": "digits"} | config
    chance = {"accuracy": 0.1}
    result = {"validation_accuracy": accuracy, "train_loss": loss, "chance": chance}
    return run_directory.Run(pathlib.Path(f"{rule}{width}{seed}"), config, result, list(history))


def make_history(epochs, **columns):
    return [
        {"epoch": float(epoch), "seconds": 1.0}
        | {name.replace("__", "/"): function(epoch) for name, function in columns.items()}
        for epoch in range(1, epochs + 1)
    ]


RUNS = [
    make_run("readout", 64, 0, 0.5),
    make_run("readout", 8, 0, 0.25),
    make_run("backprop", 8, 0, 0.6),
    make_run("backprop", 8, 1, 0.8),
    # The accuracy of outputs that are not numbers is a number, but no result.
    make_run("backprop", 8, 2, 0.1, loss=None),
    make_run("align_zero", 8, 0, None, loss=None),
]


def study(runs):
    runs = fields.complete(runs)
    varying = fields.varying([run.config for run in runs])
    return {chart.name: chart for chart in exhibits.study(runs, varying)}


def cells_of(table):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs")
    for name, config in (("failed", {"rule": "readout", "width": 16}), ("again", {"width": 8})):
        run_directory.write_failure(directory / name, config, "Out of <memory> & more", "")
    return directory, reporting.report(RUNS, directory)


def test_the_table_has_means_and_deviations_over_seeds(report):
    _, (main, *_) = report
    deviation = 100 * statistics.stdev([0.6, 0.8])
    head, _, *rows = cells_of(main.table)
    assert head == ["rule", "width 8", "width 64"]
    assert rows == [
        ["backprop", f"70.0 ± {deviation:.1f} (1 diverged)", "-"],
        ["align_zero", "diverged", "-"],
        ["readout", "25.0", "50.0"],
    ]
    text = main.figure.with_suffix(".md").read_text()
    assert text == f"{main.title}\n\n{main.table}\n"
    assert main.title == "Validation accuracy (%) against width (digits, mlp)"


def test_the_numbers_are_plain(report):
    _, (main, *_) = report
    with main.figure.with_suffix(".csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0].keys() == {"rule", "width", "mean", "deviation", "count", "diverged"}
    assert float(rows[0]["mean"]) == pytest.approx(0.7)
    assert float(rows[0]["deviation"]) == pytest.approx(statistics.stdev([0.6, 0.8]))
    assert [row["count"] for row in rows] == ["2", "0", "1", "1"]
    assert [row["diverged"] for row in rows] == ["1", "1", "0", "0"]
    assert rows[1]["mean"] == ""


def test_the_same_runs_give_the_same_bytes(report, tmp_path):
    directory, _ = report
    reporting.report(RUNS[::-1], tmp_path)
    files = sorted((directory / "report").iterdir())
    assert {path.suffix for path in files} == {".csv", ".md", ".png", ".svg"}
    for path in files:
        assert path.read_bytes() == (tmp_path / "report" / path.name).read_bytes(), path.name
    first = (tmp_path / "report.html").read_bytes()
    for form in ("csv", "md", "png", "svg"):  # A chart of an earlier report.
        (tmp_path / "report" / f"stale.{form}").touch()
    reporting.report(RUNS, tmp_path)
    assert (tmp_path / "report.html").read_bytes() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report", "report.html"]
    assert len(list((tmp_path / "report").iterdir())) == len(files)


class Page(html.parser.HTMLParser):
    """Checks that tags close in order, and keeps what it sees."""

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


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


def test_the_time_of_an_epoch_leaves_the_first_one_out():
    history = [{"epoch": n, "seconds": s} for n, s in enumerate((9.0, 10.0, 12.0, 20.0), 1)]
    runs = [make_run("backprop", width, 0, 0.5, history=history) for width in (8, 64)]
    cells = study(runs)["seconds_per_epoch_by_width"].cells
    assert [cell.mean for cell in cells.values()] == [2.0, 2.0]


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
    assert cells_of(main.table)[2] == ["align_zero", "diverged"]


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
    assert tables.grid(chart)[0] == ["rule", "validation accuracy (%)"]


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
    assert (a.mean, a.deviation) == (0.75, 0.125)
    assert (b.mean, b.deviation) == (0.375, 0.0)
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
        assert cell.deviation == pytest.approx(np.std(values, ddof=1), abs=1e-6)


def test_long_tables_keep_the_first_and_the_last_column():
    records = [charts.Record({"rule": "a", "epoch": epoch}, 1.0) for epoch in range(1, 151)]
    (chart,) = charts.charts("name", "", records, "epoch", measures.measure("loss"))
    head, _ = tables.grid(chart)
    assert len(head) == 1 + tables.MOST_COLUMNS
    assert (head[1], head[-1]) == ("epoch 1", "epoch 150")


def measured_angles(norm):
    """The columns of angles over epochs, for a norm that falls: they end where it is too small."""

    def row(epoch):
        columns = {"gradient_norm/a": norm**epoch, "network_gradient_norm": norm**epoch}
        if norm**epoch >= 1e-3:
            columns |= {"update_angle/a": 30.0, "network_update_angle": 30.0}
            columns |= {"network_update_angle_frozen": 60.0}
        return {"epoch": float(epoch), "seconds": 1.0, "loss": 1.0} | columns

    return [row(epoch) for epoch in range(1, 6)]


def test_a_note_says_which_angles_are_left_out(tmp_path):
    runs = [
        make_run(rule, 8, 0, 0.5, history=measured_angles(norm))
        for rule, norm in (("backprop", 0.5), ("align_ada", 0.1))
    ]
    made = study(runs)
    said = "2 of 10 angles are left out: backpropagation's update may be rounding there (its norm"
    for name in ("update_angle", "network_update_angle"):
        assert made[name].note.startswith(f"{said} at most 0.0001 of the initial one)")
    assert not made["gradient_norm"].note
    assert not study(runs[:1])["update_angle"].note
    exhibits_by_name = {e.figure.stem: e for e in reporting.report(runs, tmp_path)}
    assert said in exhibits_by_name["update_angle"].figure.with_suffix(".md").read_text()
    page = Page((tmp_path / "report.html").read_text())
    assert sum(said in text for text in page.text) == 2
    # Letters of a figure are drawn as shapes, each line behind a comment that spells it.
    assert b"2 of 10 angles are left out" in exhibits_by_name["update_angle"].svg


def test_a_baseline_is_a_line_of_its_own_and_labelled(tmp_path):
    history = measured_angles(0.5)
    for row in history:
        row |= {"label_alignment": 0.5, "label_alignment_initial": 0.25}
    runs = [make_run(rule, 8, 0, 0.5, history=history) for rule in ("backprop", "align_ada")]
    made = study(runs)
    assert not [name for name in made if "frozen" in name or "initial" in name]
    angles, alignment = made["network_update_angle"], made["label_alignment"]
    for chart in (angles, alignment):
        assert chart.line == ("rule", "series")
    assert angles.cells["backprop", "measured", 1].mean == 30
    assert angles.cells["backprop", "frozen blocks", 1].mean == 60
    assert alignment.cells["align_ada", "at initialization", 5].mean == 0.25
    svgs = {e.figure.stem: e.svg for e in reporting.report(runs, tmp_path)}
    for name, label in (
        ("network_update_angle", b"<!-- frozen blocks -->"),
        ("label_alignment", b"<!-- at initialization -->"),
    ):
        assert svgs[name].count(label) == 1  # In the legend, once for all rules.
    assert b"frozen" not in svgs["update_angle"]
