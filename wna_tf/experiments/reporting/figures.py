"""Figures of charts."""

import math
import pathlib
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from wna_tf.experiments.reporting import fields, places, scales, styles
from wna_tf.experiments.reporting.charts import CURVES, TRAIN, VALIDATION, Cell, Chart
from wna_tf.experiments.reporting.styles import CHANCE, GREY, Look

# The same chart gives the same bytes: no dates, no versions.
METADATA = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
# In figures of fewer inches the legend is below, and small.
_NARROW, _SMALL = 6.0, 0.83


def draw(chart: Chart, path: pathlib.Path, look: Look) -> None:
    """Draws a chart: its panels side by side, a line for each combination of its line keys.

    Lines of a control or a baseline are grey. Standard errors are bands around curves, and bars
    elsewhere, those of neighbouring lines set apart; a level of chance is a thin line, a cross on
    the axis a point at which all runs diverged. A note stands under the axis.

    Args:
        chart: The chart.
        path: Files to write, without their endings.
        look: How the figures of the report look.
    """
    panels = chart.panels
    columns = _columns(panels, styles.most_columns(look.style))
    rows = math.ceil(len(panels) / columns)
    with matplotlib.rc_context(look.settings()):
        figure = Figure(figsize=styles.size(look.style, rows, columns), layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.remove()
        for axes, panel in zip(grid.flat, panels, strict=False):
            _draw_panel(axes, chart, panel, look)
            title = textwrap.fill(
                fields.labels(chart.panel, panel), _letters(figure.get_figwidth() / columns)
            )
            axes.set_title(title, fontsize="small" if _is_narrow(figure) else "medium")
        for axes in grid.flat[max(0, len(panels) - columns) : len(panels)]:
            axes.tick_params(labelbottom=True)
        scales.set_axis(figure.axes[0], chart.scale)
        places.set_axis(figure.axes, chart, figure.get_figwidth())
        title, note = (chart.title, chart.note) if look.style.figure_title else ("", "")
        label(figure, chart.x, chart.measure.label, title, note)
        draw_legend(figure)
        save(figure, path)


def label(figure: Figure, x: str, y: str, title: str = "", note: str = "") -> None:
    """Writes the labels of a figure's axes, its title, and a note under the axes.

    There is no room for a note in a narrow figure, whose panels have short labels.

    Args:
        figure: The figure.
        x: Key of the horizontal axes.
        y: Label of the vertical axes.
        title: The title.
        note: The note.
    """
    # Above a legend half of the height is left.
    y = textwrap.fill(y, _letters(figure.get_figheight() * (0.5 if _is_narrow(figure) else 0.8)))
    axis = fields.axis(x)
    if note and not _is_narrow(figure):
        axis += f"\n\n{textwrap.fill(note, _letters(figure.get_figwidth()))}"
    if len(figure.axes) == 1:
        figure.axes[0].set(xlabel=axis, ylabel=y)
    else:
        figure.supylabel(y, fontsize="medium")
        if _is_narrow(figure):
            for axes in figure.axes:
                if axes.xaxis.get_tick_params()["labelbottom"]:
                    axes.set_xlabel(fields.plain_name(x))
        else:
            figure.supxlabel(axis, fontsize="medium")
    if title:
        figure.suptitle(
            textwrap.fill(title, _letters(0.8 * figure.get_figwidth())), fontsize="large"
        )


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes a figure, whose layout is found once, for all files.

    Args:
        figure: The figure.
        path: Files to write, without their endings .png, .svg and .pdf.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for ending, metadata in METADATA.items():
        name = path.with_name(f"{path.name}.{ending}")
        figure.savefig(name, dpi=150, metadata=metadata)


def draw_legend(figure: Figure) -> None:
    """Draws one legend for all panels, each label once: beside them, below in narrow figures."""
    handles: dict[str, Any] = {
        label: handle[0] if isinstance(handle, ErrorbarContainer) else handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    handles |= {label: handles.pop(label) for label in styles.LAST if label in handles}
    if not handles:
        return
    named = {textwrap.fill(label, 26): handle for label, handle in handles.items()}
    lines = [line for label in named for line in label.split("\n")]
    style: dict[str, Any] = {"loc": "outside right center", "handlelength": 2.6}
    points = matplotlib.rcParams["font.size"]
    if _is_narrow(figure):
        points *= _SMALL
        style = {"loc": "outside lower center", "handlelength": 2.2, "fontsize": points}
        style |= {"columnspacing": 1.0, "handletextpad": 0.5, "labelspacing": 0.3}
        entry = 0.54 * max(map(len, lines)) + 3.7  # In letters' heights.
        style["ncols"] = max(1, min(len(named), int(72 * figure.get_figwidth() / points / entry)))
    else:
        style["ncols"] = math.ceil(1.5 * len(lines) * points / (72 * figure.get_figheight()))
    figure.legend(named.values(), named, frameon=False, **style)


def _is_narrow(figure: Figure) -> bool:
    return figure.get_figwidth() < _NARROW


def _letters(inches: float) -> int:
    """Returns how many letters fit into a line."""
    return max(12, int(inches * 72 / (0.56 * matplotlib.rcParams["font.size"])))


def _columns(panels: Sequence[tuple], most: int) -> int:
    """Returns the number of columns of panels: the last key's values are in one row."""
    last = len({panel[-1:] for panel in panels})
    if last > most or len(panels) == last:
        return min(len(panels), 3 if len(panels) in (5, 6, 9) else most, most)
    return last * (most // last)


def _draw_panel(axes: Axes, chart: Chart, panel: tuple, look: Look) -> None:
    lines = look.of_lines(chart)
    if chart.x in CURVES:
        for line, style in lines.items():
            _draw_curve(axes, chart, panel, line, style, list(lines).index(line))
        _tell_pair(axes, chart)
    else:
        _draw_points(axes, chart, panel, lines, look)
    inside = [cell for point, cell in chart.cells.items() if point[: len(panel)] == panel]
    for level in dict.fromkeys(cell.chance for cell in inside if cell.chance is not None):
        height = chart.measure.factor * level
        axes.axhline(height, color=GREY, linewidth=1, linestyle=(0, (1, 1)), label=CHANCE)


def _draw_curve(
    axes: Axes, chart: Chart, panel: tuple, line: tuple, style: dict[str, Any], index: int
) -> None:
    """Draws a line without gaps, a few markers on it, and a band of standard errors."""
    cells = [
        (x, chart.cells[*panel, *line, x]) for x in chart.ticks if (*panel, *line, x) in chart.cells
    ]
    cells = [(x, cell) for x, cell in cells if cell.count]
    if not cells:
        return
    x = [x for x, _ in cells]
    mean, error = _values(chart, [cell for _, cell in cells])
    step = max(1, len(cells) // 8)
    axes.plot(x, mean, markevery=(index % step, step), **style)
    if error.any():
        axes.fill_between(x, mean - error, mean + error, color=style["color"], alpha=0.15, lw=0)


def _draw_points(
    axes: Axes, chart: Chart, panel: tuple, lines: dict[tuple, dict[str, Any]], look: Look
) -> None:
    """Draws points with bars, joined where the axis has numbers; rules on it each as they look."""
    names = places.are_names(chart.ticks)
    is_apart = names or any(cell.error for cell in chart.cells.values())
    on_axis = places.dodged(chart, len(lines))
    for place, (line, style) in zip(on_axis, lines.items(), strict=True):
        place = place if is_apart else places.ticks(chart)
        cells = {x: chart.cells.get((*panel, *line, x)) for x in chart.ticks}
        known = {x: cell for x, cell in cells.items() if cell is not None}
        if names:
            style = style | {"linestyle": "none", "markersize": 6}
        groups = [(style, known)]
        if chart.x == fields.RULE and len(lines) == 1:
            own = {"linestyle": "none", "label": "_"}
            groups = [(style | look.of_rule(x) | own, {x: cell}) for x, cell in known.items()]
        for of_group, group in groups:
            _draw_bars(axes, chart, place, group, of_group)


def _draw_bars(
    axes: Axes,
    chart: Chart,
    place: dict[Any, float],
    cells: dict[Any, Cell],
    style: dict[str, Any],
) -> None:
    there = {x: cell for x, cell in cells.items() if cell.count}
    if there:
        mean, error = _values(chart, list(there.values()))
        bars = error if error.any() else None
        axes.errorbar(
            [place[x] for x in there], mean, bars, capsize=2, elinewidth=0.9, capthick=0.9, **style
        )
    if gone := [place[x] for x, cell in cells.items() if not cell.count]:
        cross = {"color": style["color"], "marker": "x", "linestyle": "none", "clip_on": False}
        axes.plot(gone, [0] * len(gone), transform=axes.get_xaxis_transform(), **cross)


def _values(chart: Chart, cells: Sequence[Cell]) -> tuple[np.ndarray, np.ndarray]:
    """Returns means and standard errors, in the unit of the measure."""
    mean = np.array([cell.mean for cell in cells])
    return chart.measure.factor * mean, chart.measure.factor * np.array([c.error for c in cells])


def _tell_pair(axes: Axes, chart: Chart) -> None:
    """Adds to a legend how lines of training and of validation differ, if these are several."""
    parts = {part for line in chart.values(*chart.line) for part in line}
    if {TRAIN, VALIDATION} <= parts and len(chart.line) > 1:
        axes.add_line(Line2D([], [], color=GREY, linestyle="-", label=VALIDATION))
        axes.add_line(Line2D([], [], color=GREY, linestyle="--", label=TRAIN))
