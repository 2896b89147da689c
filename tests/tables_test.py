"""Tables of charts: rules as rows, widths as columns, and the same in LaTeX."""

import re
import statistics

from hypothesis import given
from hypothesis import strategies as st

from tests.reported import make_history, make_run, study
from wna_tf import rules
from wna_tf.experiments.reporting import charts, measures, tables
from wna_tf.experiments.reporting.rounding import rounded

GRID = [
    make_run(rule, width, seed, 0.5 + 0.01 * seed + width / 1000, optimizer=optimizer)
    for optimizer in ("sgd", "adam")
    for rule in ("readout", "align_ada", "backprop")
    for width in (8, 64)
    for seed in (1, 2)
]


def test_rules_are_rows_widths_columns_and_what_else_varies_groups():
    table = tables.table(study(GRID)["validation_accuracy_by_width"])
    assert (table.stubs, table.spanner, table.columns) == (
        ("optimizer", "rule"),
        "width",
        ("8", "64"),
    )
    own = ("Backpropagation", "Align-ada", "Readout")
    assert [names for names, _ in table.rows] == [
        (optimizer, rule) for optimizer in ("adam", "sgd") for rule in own
    ]
    assert table.texts()[0] == ["optimizer", "rule", "width 8", "width 64"]
    assert {tuple(map(str, cells)) for _, cells in table.rows} == {("52.30 ± 0.50", "57.90 ± 0.50")}


def test_where_rules_are_the_axis_another_factor_makes_columns():
    runs = [run for run in GRID if run.config["width"] == 8]
    chart = study(runs)["validation_accuracy_by_rule"]
    table = tables.table(chart)
    assert (table.stubs, table.columns) == (("rule",), ("adam", "sgd"))
    assert len(table.rows) == 3


@given(
    st.lists(
        st.tuples(
            st.sampled_from(rules.names()[:5]),
            st.sampled_from([8, 16, 64]),
            st.sampled_from([0.5, 1.0]),
            st.one_of(st.none(), st.floats(0.1, 0.9)),
        ),
        min_size=1,
    )
)
def test_each_entry_is_of_its_runs(drawn):
    records = [
        charts.Record({"rule": rule, "width": width, "ridge": ridge}, value)
        for rule, width, ridge, value in drawn
    ]
    (chart,) = charts.charts("name", "", records, "width", measures.measure("accuracy"))
    table = tables.table(chart)
    for names, cells in table.rows:
        told = dict(zip(table.stubs, names, strict=True))
        for width, entry in zip(table.columns, cells, strict=True):
            values = [
                value
                for rule, own, ridge, value in drawn
                if str(own) == width
                and told.get("rule", rules.title(rule)) == rules.title(rule)
                and told.get("ridge", f"{ridge:g}") == f"{ridge:g}"
            ]
            known = [value for value in values if value is not None]
            gone = f" ({len(values) - len(known)} diverged)" * (len(known) < len(values))
            if not known:
                assert str(entry) == ("diverged" if values else "-")
                continue
            error = None
            if len(known) > 1:
                error = 100 * (statistics.stdev(known) / len(known) ** 0.5)
            number = rounded(100 * statistics.fmean(known), error)
            assert str(entry) == number.text + gone
            assert entry.latex == number.latex + gone


def test_long_tables_keep_the_first_and_the_last_column():
    records = [charts.Record({"rule": "a", "epoch": epoch}, 1.0) for epoch in range(1, 151)]
    (chart,) = charts.charts("name", "", records, "epoch", measures.measure("loss"))
    head, _ = tables.table(chart).texts()
    assert len(head) == 1 + tables.MOST_COLUMNS
    assert (head[1], head[-1]) == ("epoch 1", "epoch 150")


def test_columns_of_curves_are_where_most_lines_have_points():
    history = make_history(8, conservation=lambda t: t)
    runs = [make_run("backprop", 8, 0, 0.5, history=history, learning_rate=r) for r in (1.0, 4.0)]
    table = tables.table(study(runs)["conservation"])
    assert table.columns == ("4", "8")
    assert [[str(cell) for cell in cells] for _, cells in table.rows] == [
        ["4.00", "8.00"],
        ["1.00", "2.00"],
    ]


# LaTeX.


def cells_of(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)&", line.removesuffix(r"\\"))]


def test_a_latex_table_has_groups_and_a_head_over_its_columns():
    runs = [run for run in GRID if run.config["rule"] != "readout"]
    text = tables.latex(tables.table(study(runs)["validation_accuracy_by_width"]), "100%\nof it")
    lines = text.splitlines()
    assert lines[:3] == ["% 100% of it", r"\begin{tabular}{llrr}", r"\toprule"]
    assert lines[-2:] == [r"\bottomrule", r"\end{tabular}"]
    assert cells_of(lines[3]) == ["", "", r"\multicolumn{2}{c}{width}"]
    assert lines[4] == r"\cmidrule(l){3-4}"
    rows = [line if line.startswith("\\") else cells_of(line) for line in lines[5:-2]]
    numbers = [r"$52.30 \pm 0.50$", r"$57.90 \pm 0.50$"]
    assert rows == [
        ["optimizer", "rule", "8", "64"],
        r"\midrule",
        ["adam", "Backpropagation", *numbers],
        ["", "Align-ada", *numbers],
        r"\midrule",
        ["sgd", "Backpropagation", *numbers],
        ["", "Align-ada", *numbers],
    ]


def test_diverged_runs_are_told_in_latex():
    runs = [
        make_run("backprop", 8, 0, 0.5),
        make_run("backprop", 8, 1, None, loss=None),
        make_run("backprop", 64, 0, None, loss=None),
        make_run("my_rule", 8, 0, 0.25),
    ]
    text = tables.latex(tables.table(study(runs)["validation_accuracy_by_width"]))
    assert r"Backpropagation & $50.0$ (1 diverged) & diverged \\" in text
    assert r"my\_rule & $25.0$ & -- \\" in text


LETTERS = {
    r"\textbackslash{}": "\\",
    r"\textasciitilde{}": "~",
    r"\textasciicircum{}": "^",
    r"$\pm$": "±",
    "$<$": "<",
    "$>$": ">",
    "$|$": "|",
} | {f"\\{letter}": letter for letter in "&%$#_{}"}


@given(st.text("\\&%$#_{}~^<>|± aZ3-", max_size=20))
def test_latex_prints_every_letter(text):
    escaped = tables.escape(text)
    pattern = "|".join(re.escape(name) for name in sorted(LETTERS, key=len, reverse=True))
    assert re.sub(pattern, lambda found: LETTERS[found[0]], escaped) == text
    # Nothing is left that means something else.
    assert not re.search(r"[\\&%$#_{}~^<>|±]", re.sub(pattern, "", escaped))
