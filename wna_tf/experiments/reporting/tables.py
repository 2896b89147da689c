"""Tables of charts: as Markdown, HTML and LaTeX, and plain numbers as CSV."""

import dataclasses
import html
import pathlib
import re
from collections.abc import Mapping, Sequence

from wna_tf import files
from wna_tf.experiments.reporting import fields
from wna_tf.experiments.reporting.charts import CURVES, Cell, Chart
from wna_tf.experiments.reporting.measures import Measure
from wna_tf.experiments.reporting.rounding import Rounded, rounded

MOST_COLUMNS = 10
_NONE, _DIVERGED = "-", "diverged"
# What LaTeX takes for something else.
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
} | {letter: f"\\{letter}" for letter in "&%$#_{}"}


@dataclasses.dataclass(frozen=True)
class Table:
    """A table: rows are combinations of factors, columns the values of one, or several measures.

    Attributes:
        stubs: Heads of the columns that name rows.
        columns: Heads of the other columns.
        spanner: What the columns are values of; "" for several measures.
        rows: What names a row, and its entries: numbers, or text.
    """

    stubs: tuple[str, ...]
    columns: tuple[str, ...]
    spanner: str
    rows: list["Row"]

    def texts(self) -> list[list[str]]:
        """Returns rows of plain text, the first of them the head."""
        heads = [f"{self.spanner} {column}".strip() for column in self.columns]
        return [[*self.stubs, *heads], *([*names, *map(str, cells)] for names, cells in self.rows)]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A measurement over seeds in a table: mean and standard error, and how many seeds diverged."""

    measure: Measure
    cell: Cell | None

    def __str__(self) -> str:
        number = self._number()
        return self._told(number.text) if number else self._without()

    @property
    def latex(self) -> str:
        """The same in LaTeX."""
        number = self._number()
        return self._told(number.latex) if number else ("--" if self.cell is None else _DIVERGED)

    def _without(self) -> str:
        return _NONE if self.cell is None else _DIVERGED

    def _number(self) -> Rounded | None:
        cell, factor = self.cell, self.measure.factor
        if cell is None or not cell.count:
            return None
        has_error = cell.error or cell.count > 1
        return rounded(factor * cell.mean, factor * cell.error if has_error else None)

    def _told(self, text: str) -> str:
        assert self.cell is not None
        return f"{text} ({self.cell.diverged} diverged)" if self.cell.diverged else text


Row = tuple[tuple[str, ...], list[Entry | str]]


def table(chart: Chart) -> Table:
    """Returns the table of a chart: rules make rows, the horizontal axis columns.

    A few columns, the first and the last among them, if there are many. Where the horizontal axis
    is that of rules, the last other factor makes the columns. All further factors make groups of
    rows.
    """
    keys = list(chart.keys)
    column = chart.x
    others = [key for key in keys if key != fields.RULE]
    differ = [key for key in others if len(chart.values(key)) > 1]
    if column == fields.RULE:
        column = (differ or [""])[-1]
    stubs = [key for key in keys if key not in (column, fields.RULE) and key in {*differ, chart.x}]
    stubs += [fields.RULE] if fields.RULE in keys else []
    stubs = stubs or [key for key in keys if key != column]
    places = [keys.index(key) for key in stubs]
    heads = tuple(map(fields.plain_name, stubs))
    cells: dict[tuple, dict] = {}
    for point, cell in chart.cells.items():
        row = cells.setdefault(tuple(point[i] for i in places), {})
        row[point[keys.index(column)] if column else None] = cell
    rows = fields.ordered_rows(cells)
    shown: list = [None]
    if column:
        shown = _shown(chart, cells) if column == chart.x else [v for (v,) in chart.values(column)]

    def names(row: tuple) -> tuple[str, ...]:
        return tuple(map(fields.shown, stubs, row))

    return Table(
        heads,
        tuple(fields.shown(column, x) for x in shown) if column else (chart.measure.label,),
        fields.plain_name("" if fields.are_words(shown) else column),
        [(names(row), [Entry(chart.measure, cells[row].get(x)) for x in shown]) for row in rows],
    )


def of_measures(
    names: Sequence[str],
    texts: Mapping[str, Mapping[tuple, str]],
    measured: Sequence[tuple[Measure, Mapping[tuple, Cell]]],
) -> Table:
    """Returns the table of several measures of the same groups of runs, which make its rows.

    Args:
        names: The fields whose values tell groups apart.
        texts: Columns of text by their heads, each a text for every group; at least one.
        measured: Columns of numbers: what is measured, and a cell for every group.
    """
    rows: list[Row] = [
        (
            tuple(map(fields.shown, names, group)),
            [
                *(column[group] for column in texts.values()),
                *(Entry(measure, cells[group]) for measure, cells in measured),
            ],
        )
        for group in next(iter(texts.values()))
    ]
    heads = (*texts, *(measure.label for measure, _ in measured))
    return Table(tuple(map(fields.plain_name, names)), heads, "", rows)


def _shown(chart: Chart, rows: Mapping[tuple, Mapping]) -> list:
    """Returns the values of the horizontal axis that make columns."""
    ticks = chart.ticks
    if chart.x in CURVES:  # Where most rows have a value.
        counts = {x: sum(x in row for row in rows.values()) for x in ticks}
        ticks = [x for x in ticks if counts[x] == max(counts.values())]
    steps = min(len(ticks), MOST_COLUMNS) - 1
    return [ticks[round(i * (len(ticks) - 1) / max(steps, 1))] for i in range(steps + 1)]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Returns rows, the first of them the head, as a Markdown table."""
    rows = [[text.replace("|", "\\|") for text in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"| {' | '.join(text.ljust(width) for text, width in zip(row, widths, strict=True))} |"
        for row in rows
    ]
    return "\n".join([lines[0], f"|{'|'.join('-' * (width + 2) for width in widths)}|", *lines[1:]])


def html_table(rows: Sequence[Sequence[str]]) -> str:
    """Returns rows, the first of them the head, as an HTML table."""

    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in cells) + "</tr>"

    body = "\n".join(row(cells, "td") for cells in rows[1:])
    return (
        f'<div class="table"><table>\n<thead>{row(rows[0], "th")}</thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def latex(table: Table, *comments: str) -> str:
    """Returns a table in LaTeX, for the package booktabs.

    A group of rows that agree in all names but the last is set apart by a rule, and has these names
    once.

    Args:
        table: The table.
        *comments: Texts of comments above it, of no letters that end a line.
    """
    count, width = len(table.stubs), len(table.columns)
    columns = [escape(column) for column in table.columns]
    stubs = [escape(stub) for stub in table.stubs]
    lines = [f"% {' '.join(text.split())}" for text in comments if text]
    lines += [rf"\begin{{tabular}}{{{'l' * count}{'r' * width}}}", r"\toprule"]
    if table.spanner and width > 1:
        above = [*[""] * count, rf"\multicolumn{{{width}}}{{c}}{{{escape(table.spanner)}}}"]
        lines += [_line(above), rf"\cmidrule(l){{{count + 1}-{count + width}}}"]
    elif table.spanner:
        columns = [f"{escape(table.spanner)} {column}" for column in columns]
    lines += [_line([*stubs, *columns]), r"\midrule"]
    before: tuple[str, ...] | None = None
    for names, cells in table.rows:
        group = names[:-1]
        if before is not None and group != before:
            lines.append(r"\midrule")
        told = ["" if group == before else escape(name) for name in group]
        written = [cell.latex if isinstance(cell, Entry) else escape(cell) for cell in cells]
        lines.append(_line([*told, *map(escape, names[-1:]), *written]))
        before = group
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def escape(text: str) -> str:
    """Returns a text as LaTeX prints it."""
    return re.sub(r".", lambda letter: _ESCAPES.get(letter[0], letter[0]), text)


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def write_csv(chart: Chart, path: pathlib.Path) -> None:
    """Writes a chart's numbers, a row a point, in the units of the runs' files."""
    rows = (
        [*point, cell.mean if cell.count else "", cell.error, cell.count, cell.diverged]
        for point, cell in chart.cells.items()
    )
    files.write_csv(path, [*chart.keys, "mean", "standard_error", "count", "diverged"], rows)
