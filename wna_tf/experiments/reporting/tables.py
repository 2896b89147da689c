"""Tables of charts: rows of text, as Markdown and HTML, and plain numbers as CSV."""

import html
import pathlib
from collections.abc import Sequence

from wna_tf import files
from wna_tf.experiments.reporting import fields
from wna_tf.experiments.reporting.charts import Cell, Chart
from wna_tf.experiments.reporting.measures import Measure

MOST_COLUMNS = 10


def grid(chart: Chart) -> list[list[str]]:
    """Returns a chart's rows of text, the first of them the head.

    Rows are panels and lines, columns the values of the horizontal axis: a few of them, the first
    and the last among them, if they are many. An axis of names makes rows as well.
    """
    ticks, heads = chart.ticks, [*chart.panel, *chart.line]
    if not all(map(fields.is_number, ticks)):
        rows = [
            [*map(fields.text, point), entry(chart.measure, cell)]
            for point, cell in chart.cells.items()
        ]
        return [[*map(_name, chart.keys), chart.measure.label], *rows]
    steps = min(len(ticks), MOST_COLUMNS) - 1
    shown = [ticks[round(i * (len(ticks) - 1) / max(steps, 1))] for i in range(steps + 1)]
    rows = [
        [
            *map(fields.text, line),
            *(entry(chart.measure, chart.cells.get((*line, x))) for x in shown),
        ]
        for line in chart.values(*heads)
    ]
    return [[*map(_name, heads), *(f"{_name(chart.x)} {fields.text(x)}" for x in shown)], *rows]


def _name(key: str) -> str:
    return key.replace("_", " ")


def entry(measure: Measure, cell: Cell | None) -> str:
    """Returns a cell as text: mean and deviation over seeds, and how many of these diverged."""
    if cell is None:
        return "-"
    if not cell.count:
        return "diverged"
    numbers = [cell.mean, cell.deviation] if cell.deviation or cell.count > 1 else [cell.mean]
    text = " ± ".join(f"{measure.factor * x:{measure.form}}" for x in numbers)
    return f"{text} ({cell.diverged} diverged)" if cell.diverged else text


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


def write_csv(chart: Chart, path: pathlib.Path) -> None:
    """Writes a chart's numbers, a row a point, in the units of the runs' files."""
    rows = (
        [*point, cell.mean if cell.count else "", cell.deviation, cell.count, cell.diverged]
        for point, cell in chart.cells.items()
    )
    files.write_csv(path, [*chart.keys, "mean", "deviation", "count", "diverged"], rows)
