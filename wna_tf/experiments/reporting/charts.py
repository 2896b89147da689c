"""Charts as data: what was measured, summarized over seeds and laid out in panels and lines."""

import collections
import dataclasses
import math
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from wna_tf import files
from wna_tf.experiments.reporting import fields, scales
from wna_tf.experiments.reporting.measures import Measure

# Series of a metric.
TRAIN, VALIDATION = "train", "validation"
# Series of a diagnostic, and what is drawn beside it, by the ending of its column.
MEASURED = "measured"
BESIDE = {"shuffled": "shuffled", "frozen": "frozen blocks", "initial": "at initialization"}
# Lines in a panel: of points, which have markers, and of curves. Panels in a figure.
MOST_LINES, MOST_CURVES, MOST_PANELS = 12, 8, 24
# Horizontal axes of curves: epochs, and learning rate times epochs.
EPOCH, TIME = "epoch", "time"
CURVES = (EPOCH, TIME)
# A panel is left out whose lines go over less than this part of the vertical axis.
_CONSTANT = 0.01


class Record(NamedTuple):
    """One measurement.

    Attributes:
        keys: What it is of: fields of the run that vary, and epoch, block or series.
        value: Its value; None if the run diverged.
        error: Its standard error, where that is known.
        chance: What a guess measures.
    """

    keys: dict[str, Any]
    value: float | None
    error: float = 0.0
    chance: float | None = None


@dataclasses.dataclass(frozen=True)
class Cell:
    """A measurement over seeds.

    Attributes:
        mean: Its mean; nan if every run diverged.
        error: The standard error of the mean over seeds; that of the measurement for one seed.
        count: Number of seeds that did not diverge.
        diverged: Number of seeds that did.
        chance: What a guess measures.
    """

    mean: float
    error: float
    count: int
    diverged: int
    chance: float | None


@dataclasses.dataclass(frozen=True)
class Chart:
    """A chart, before it is drawn.

    Attributes:
        name: Name of its files.
        title: What it shows.
        panel: Keys whose values make panels.
        line: Keys whose values make lines.
        x: Key whose values make the horizontal axis.
        measure: What makes the vertical axis.
        cells: Its points by their values of `panel`, `line` and `x`, in order.
        note: What is to be said under it.
        held: What is the same at all points, for its caption.
        hidden: Panels that are in the table alone.
    """

    name: str
    title: str
    panel: tuple[str, ...]
    line: tuple[str, ...]
    x: str
    measure: Measure
    cells: dict[tuple, Cell]
    note: str = ""
    held: str = ""
    hidden: tuple[tuple, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """What names a point: panel, line and horizontal axis."""
        return (*self.panel, *self.line, self.x)

    def values(self, *keys: str) -> list[tuple]:
        """Returns the combinations of values that some keys take, in order."""
        places = [self.keys.index(key) for key in keys]
        return list(dict.fromkeys(tuple(point[i] for i in places) for point in self.cells))

    @property
    def ticks(self) -> list[Any]:
        """The values on the horizontal axis, in order."""
        return fields.ordered(point[-1] for point in self.cells)

    @property
    def scale(self) -> scales.Scale:
        """The scale of the vertical axis."""
        return scales.of(self.measure, (cell.mean for cell in self.cells.values() if cell.count))

    @property
    def panels(self) -> list[tuple]:
        """The panels that are drawn, in order."""
        return [panel for panel in self.values(*self.panel) if panel not in self.hidden]


class Exhibit(NamedTuple):
    """A table and a figure, and their files.

    Attributes:
        title: What they show.
        rows: Rows of the table, the first of them the head.
        table: The same, in Markdown.
        figure: Path of the figure (PNG); beside it are .svg, .pdf, .md, .tex and .csv of the same
            name.
        svg: The figure as SVG.
        note: What is said below the figure, if anything.
    """

    title: str
    rows: list[list[str]]
    table: str
    figure: pathlib.Path
    svg: bytes
    note: str = ""


def summarize(records: Sequence[Record], keys: Sequence[str]) -> dict[tuple, Cell]:
    """Groups records by the values of keys, and summarizes each group."""
    groups = collections.defaultdict(list)
    for record in records:
        groups[tuple(record.keys[key] for key in keys)].append(record)
    return {point: _summarize(groups[point]) for point in fields.ordered_rows(groups)}


def _summarize(group: Sequence[Record]) -> Cell:
    values = [record.value for record in group if record.value is not None]
    errors = [record.error for record in group if record.value is not None]
    return Cell(
        mean=statistics.fmean(values) if values else float("nan"),
        error=_standard_error(values) if len(values) > 1 else next(iter(errors), 0.0),
        count=len(values),
        diverged=len(group) - len(values),
        chance=group[0].chance,
    )


def _standard_error(values: Sequence[float]) -> float:
    return statistics.stdev(values) / math.sqrt(len(values))


def arrange(
    records: Sequence[Record],
    x: str,
    most: int,
    panel: Sequence[str] = (),
    line: Sequence[str] = (),
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Divides what varies, but for the horizontal axis, between panels and lines.

    Names join the lines as long as these are few enough; numbers make panels, unless
    there is nothing else to make lines.

    Args:
        records: What is drawn.
        x: Key of the horizontal axis.
        most: Number of lines in a panel that are few enough.
        panel: Keys that make panels in any case.
        line: Keys that make lines in any case; all others make panels then.

    Returns:
        The keys that make panels, and those that make lines.
    """
    values = {key: [record.keys[key] for record in records] for key in records[0].keys if key != x}
    differ = [key for key in values if len(set(values[key])) > 1]
    panels, lines = [], [key for key in line if key in differ]
    for key in differ:
        if key in lines or key in panel:
            continue
        count = len(set(zip(*(values[name] for name in [*lines, key]), strict=True)))
        is_name = not all(map(fields.is_number, values[key]))
        fits = not line and count <= most and (is_name or not lines)
        if fits:
            lines.append(key)
        else:
            panels.append(key)
    if not lines and panels and not line:
        lines = [panels.pop(0)]
    elif not lines:
        lines = list(line or values)[:1]
    return (*panels, *(key for key in panel if key in differ)), tuple(lines)


def charts(
    name: str,
    title: str,
    records: Sequence[Record],
    x: str,
    measure: Measure,
    most: int = MOST_LINES,
    panel: Sequence[str] = (),
    line: Sequence[str] = (),
) -> list[Chart]:
    """Makes a chart, or one for each value of its first panel key if the panels are too many.

    Args:
        name: Name of its files.
        title: What it shows.
        records: What is drawn.
        x: Key of the horizontal axis.
        measure: What makes the vertical axis.
        most: As in `arrange`, and so are `panel` and `line`.
        panel: Keys that make panels in any case.
        line: Keys that make lines in any case.
    """
    if not records:
        return []
    panel_keys, line_keys = arrange(records, x, most, panel, line)
    panels = {tuple(record.keys[key] for key in panel_keys) for record in records}
    if len(panels) <= MOST_PANELS or len(panel_keys) < 2:
        cells = summarize(records, (*panel_keys, *line_keys, x))
        return [Chart(name, title, panel_keys, line_keys, x, measure, cells)]
    first = panel_keys[0]
    return [
        chart
        for value in fields.ordered(record.keys[first] for record in records)
        for chart in charts(
            f"{name}_{files.name(fields.slug(first, value))}",
            f"{title}, {fields.label(first, value)}",
            [record for record in records if record.keys[first] == value],
            x,
            measure,
            most,
            panel,
            line,
        )
    ]


def without_constants(chart: Chart) -> Chart:
    """Returns a chart that leaves out panels whose lines are all constant, and says so.

    A line is constant if it goes over less than 1% of what the vertical axis shows.
    """
    values = collections.defaultdict(list)
    scale = chart.scale
    for point, cell in chart.cells.items():
        if cell.count:
            values[point[:-1]].append(scale.place(chart.measure.factor * cell.mean))
    everything = [value for line in values.values() for value in line]
    least = _CONSTANT * (max(everything, default=0) - min(everything, default=0))
    moving = {
        line[: len(chart.panel)] for line, some in values.items() if max(some) - min(some) > least
    }
    hidden = tuple(panel for panel in chart.values(*chart.panel) if panel not in moving)
    if not moving or not hidden:
        return chart
    told = "; ".join(fields.labels(chart.panel, panel) for panel in hidden)
    note = f"Not drawn, as all lines are constant there: {told}."
    return dataclasses.replace(chart, hidden=hidden, note=f"{chart.note} {note}".strip())
