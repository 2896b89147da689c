"""Figures: a rule looks the same everywhere, bars do not cover each other, sizes for print."""

import itertools
import math
import re
import struct

import matplotlib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from tests.reported import make_history, make_run, study
from wna_tf import rules
from wna_tf.experiments import reporting
from wna_tf.experiments.config import FigureStyle
from wna_tf.experiments.reporting import charts, figures, places, scales, styles
from wna_tf.experiments.reporting.measures import Measure

LOOK = styles.of_report(FigureStyle(), ["a_rule", *rules.names()])
RULES = st.lists(st.sampled_from(rules.names()), min_size=1, unique=True)


def chart_of(names, widths=(8, 64), **options):
    runs = [
        make_run(rule, width, seed, 0.5 + 0.01 * seed, **options)
        for rule in names
        for width in widths
        for seed in (1, 2)
    ]
    return study(runs)


def shape(look):
    return look["marker"], look["markerfacecolor"] == "white"


def test_no_two_rules_look_alike_in_colour_or_in_grey():
    looks = {name: LOOK.of_rule(name) for name in (*rules.names(), "a_rule")}
    assert len({shape(look) for look in looks.values()}) == len(looks)
    often = [looks[name]["color"] for name in styles._FIRST]
    assert len(set(often)) == len(often)


@given(RULES, RULES)
def test_a_rule_looks_the_same_whatever_else_is_drawn(ours, theirs):
    """In lines over widths, and as points on an axis of rules."""
    looks = []
    for names in (ours, theirs):
        chart = chart_of(names)["validation_accuracy_by_width"]
        lines = LOOK.of_lines(chart)
        looks.append({rule: lines[(rule,)] for rule in names})
        assert [line for (line,) in lines] == sorted(names, key=rules.names().index)
        assert [look["label"] for look in lines.values()] == [rules.title(n) for (n,) in lines]
    for name in set(ours) & set(theirs):
        assert looks[0][name] == looks[1][name]
        assert looks[0][name] == LOOK.of_rule(name) | {"label": rules.title(name)}


def test_a_rule_keeps_colour_and_marker_where_lines_differ_in_more():
    runs = [
        make_run(rule, width, 0, 0.5, optimizer=optimizer)
        for rule in ("backprop", "align_ada", "readout")
        for width in (8, 16)
        for optimizer in ("sgd", "adam")
    ]
    chart = study(runs)["validation_accuracy_by_width"]
    lines = LOOK.of_lines(chart)
    for line, look in lines.items():
        own = LOOK.of_rule(line[chart.line.index("rule")])
        assert {key: look[key] for key in ("color", "marker")} == {
            key: own[key] for key in ("color", "marker")
        }
    seen = {(look["color"], look["marker"], look["linestyle"]) for look in lines.values()}
    assert len(seen) == len(lines)


def test_points_on_an_axis_of_rules_look_as_these():
    chart = chart_of(["readout", "align_ada"], widths=(8,))["validation_accuracy_by_rule"]
    axes = Figure().subplots()
    figures._draw_panel(axes, chart, (), LOOK)
    drawn = [
        (line.get_color(), line.get_marker()) for line in axes.lines if line.get_marker() in "^>"
    ]
    wanted = [LOOK.of_rule(name) for name in ("align_ada", "readout")]
    assert drawn == [(look["color"], look["marker"]) for look in wanted]


@given(
    st.lists(st.sampled_from([1, 8, 16, 64, 100, 1024]), min_size=1, unique=True),
    st.integers(1, 12),
)
def test_bars_of_lines_stand_apart_near_their_tick(widths, count):
    records = [
        charts.Record({"rule": name, "width": width, "seed": seed}, float(seed))
        for name in rules.names()[:count]
        for width in widths
        for seed in (1, 2)
    ]
    (chart,) = charts.charts("name", "", records, "width", Measure("m"), line=("rule",), most=99)
    found = places.dodged(chart, count)
    assert len(found) == count
    ticks = sorted(widths)
    for width in ticks:
        row = [place[width] for place in found]
        assert row == sorted(set(row)), "in the order of lines, each at its own place"
        assert math.prod(row) == pytest.approx(width**count)  # Around the tick, on the log axis.
    for a, b in itertools.pairwise(ticks):
        assert found[-1][a] < math.sqrt(a * b) < found[0][b]


def test_lines_without_bars_stand_at_their_ticks():
    runs = [make_run(rule, width, 0, 0.5) for rule in rules.names()[:3] for width in (8, 64)]
    axes = Figure().subplots()
    figures._draw_panel(axes, study(runs)["validation_accuracy_by_width"], (), LOOK)
    assert all(
        set(line.get_xdata()) == {8, 64}
        for line in axes.lines
        if len(line.get_xdata()) == 2 and line.get_label() != "chance"
    )


def test_every_width_has_a_tick_on_a_logarithmic_axis():
    widths = (8, 16, 24, 32, 64, 512)
    chart = chart_of(["backprop"], widths)["validation_accuracy_by_width"]
    axes = Figure().subplots()
    places.set_axis([axes], chart, 7.0)
    assert axes.get_xscale() == "log" and axes.xaxis.get_transform().base == 2
    assert list(axes.get_xticks()) == list(widths)
    assert [text.get_text() for text in axes.get_xticklabels()] == list(map(str, widths))
    low, high = axes.get_xlim()
    assert low < 8 and high > 512


def test_a_point_at_which_all_diverged_is_a_cross_on_the_axis():
    runs = [make_run("backprop", 8, 0, 0.5), make_run("backprop", 64, 0, None, loss=None)]
    axes = Figure().subplots()
    figures._draw_panel(axes, study(runs)["validation_accuracy_by_width"], (), LOOK)
    (cross,) = (line for line in axes.lines if line.get_marker() == "x")
    assert (list(cross.get_xdata()), list(cross.get_ydata())) == ([64], [0])
    assert cross.get_color() == LOOK.of_rule("backprop")["color"]


# For print.


def size_of(png):
    return struct.unpack(">2I", png.read_bytes()[16:24])


def drawn(tmp_path, style, name="validation_accuracy_by_width", **options):
    chart = chart_of(rules.names()[:7], **options)[name]
    look = styles.of_report(style, [])
    figures.draw(chart, tmp_path / "figure", look)
    return {form: tmp_path / f"figure.{form}" for form in figures.METADATA}


def texts(svg):
    """What a figure says: Matplotlib writes each text into a comment."""
    return re.findall(r"<!-- (.+?) -->", svg.read_text())


def test_a_figure_has_the_size_and_the_font_that_are_asked_for(tmp_path):
    style = FigureStyle(figure_size=(3.25, 2.4), figure_font=("serif", "7"), figure_title=False)
    files = drawn(tmp_path, style)
    assert size_of(files["png"]) == (int(3.25 * 150), int(2.4 * 150))
    assert 'width="234pt" height="172.8pt"' in files["svg"].read_text()
    pdf = files["pdf"].read_bytes()
    assert pdf.startswith(b"%PDF") and b"/MediaBox [ 0 0 234 172.8 ]" in pdf
    assert b"Serif" in pdf and b"/Type3" not in pdf.replace(b" ", b"")
    assert not [text for text in texts(files["svg"]) if "against" in text]
    titled = drawn(tmp_path, FigureStyle())
    assert "Validation accuracy (%) against width (digits, mlp)" in texts(titled["svg"])
    assert size_of(titled["png"])[0] > 900


def test_rows_of_panels_add_to_the_height_of_a_narrow_figure(tmp_path):
    style = FigureStyle(figure_size=(3.25, 2.0))
    history = make_history(3, loss=lambda t: 1 / t)
    runs = [
        make_run(rule, width, 0, 0.5, history=history, ridge=ridge)
        for rule in ("backprop", "readout")
        for width in (8, 16)
        for ridge in (0.1, 0.2)
    ]
    chart = study(runs)["curves_loss"]
    assert len(chart.panels) == 4
    figures.draw(chart, tmp_path / "figure", styles.of_report(style, []))
    assert size_of(tmp_path / "figure.png") == (487, 600)


def test_everything_is_inside_a_column(tmp_path):
    """No label, tick or line of the legend is cut off."""
    chart = chart_of(rules.names()[:7])["validation_accuracy_by_width"]
    look = styles.of_report(FigureStyle(figure_size=(3.25, 2.4), figure_font=("8",)), [])
    with matplotlib.rc_context(look.settings()):
        figure = Figure(figsize=(3.25, 2.4), layout="constrained")
        axes = figure.subplots()
        figures._draw_panel(axes, chart, (), look)
        places.set_axis([axes], chart, 3.25)
        figures.label(figure, "width", chart.measure.label)
        figures.draw_legend(figure)
        figure.draw_without_rendering()
        box = figure.get_tightbbox()
        assert box.x0 >= -0.01 and box.y0 >= -0.01
        assert box.x1 <= 3.26 and box.y1 <= 2.41
        assert axes.get_position().height * 2.4 > 1  # There is room for the lines.


@pytest.mark.parametrize(
    "values, expected",
    [
        ([0.1, 10.0], "log"),
        ([-1.0, 10.0], "symlog"),
        ([0.0, 0.0], "linear"),
    ],
)
def test_scales_of_losses(values, expected):
    scale = scales.of(Measure("loss", scale="log"), values)
    assert scale.name == expected
    assert scales.of(Measure("angle"), values).name == "linear"
    axes = Figure().subplots()
    axes.plot(values)
    scales.set_axis(axes, scale)
    assert axes.get_yscale() == expected


@given(st.lists(st.floats(-1e3, 1e3), min_size=2), st.sampled_from(["log", "linear"]))
def test_places_on_a_scale_are_in_order(values, name):
    scale = scales.of(Measure("m", scale=name), values)
    ordered = [scale.place(value) for value in sorted(values)]
    assert ordered == sorted(ordered)


def test_a_font_that_is_not_there_is_told_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"installed\. Received: figure_font='No Such Font'"):
        style = FigureStyle(figure_font=("No Such Font",))
        reporting.report([make_run("backprop", 8, 0, 0.5)], tmp_path, style=style)
    assert not list(tmp_path.iterdir())
