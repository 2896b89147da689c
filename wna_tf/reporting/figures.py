"""Figures of charts."""

import itertools
import math
import pathlib
import textwrap
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from wna_tf.reporting import fields
from wna_tf.reporting.charts import Chart
from wna_tf.reporting.exhibits import CONTROL

# Lines differ by marker and dashes too, so that they do in grey. Colours are Okabe and Ito's.
MARKERS = "os^Dv<>pPX*h"
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f5f00")
GREY = "#8c8c8c"
# The same chart gives the same bytes: no dates, no versions, no random names.
SETTINGS = {"svg.hashsalt": "wna_tf", "axes.grid": True, "grid.alpha": 0.3, "font.size": 9}
METADATA = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}


def draw(chart: Chart, path: pathlib.Path) -> None:
    """Draws a chart: its panels side by side, a line for each combination of its line keys.

    Lines of a control are grey. Deviations are bands around curves over epochs, and bars
    elsewhere; a level of chance is a thin line.

    Args:
        chart: The chart.
        path: Files to write, without their endings .png and .svg.
    """
    panels = chart.values(*chart.panel)
    columns = _columns(chart, panels)
    rows = math.ceil(len(panels) / columns)
    size = (7.0, 4.2) if len(panels) == 1 else (min(3.1 * columns, 12.4) + 1.8, 2.5 * rows + 0.8)
    lines = chart.values(*chart.line)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, panel in itertools.zip_longest(grid.flat, panels):
            if panel is None:
                axes.remove()
                continue
            for index, line in enumerate(lines):
                _draw_line(axes, chart, panel, line, index, len(lines))
            _draw_chance(axes, chart, panel)
            if panel:
                axes.set_title(_label(chart.panel, panel), fontsize="medium")
        for axes in grid.flat[max(0, len(panels) - columns) : len(panels)]:
            axes.tick_params(labelbottom=True)
        _scale(grid.flat[0], chart)
        for axes in grid.flat[: len(panels)]:
            _tick(axes, chart, rotate=columns > 1)
        figure.supxlabel(fields.axis(chart.x), fontsize="medium")
        figure.supylabel(chart.measure.label, fontsize="medium")
        figure.suptitle(textwrap.fill(chart.title, int(11 * size[0])), fontsize="large")
        handles = {
            label: handle
            for axes in figure.axes
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        if len(lines) > 1:
            figure.legend(handles.values(), handles, loc="outside right upper", frameon=False)
        # The layout is found once, for both files.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for ending, metadata in METADATA.items():
            name = path.with_name(f"{path.name}.{ending}")
            figure.savefig(name, dpi=150, metadata=metadata)


def _columns(chart: Chart, panels: Sequence[tuple]) -> int:
    """Returns the number of columns of panels: at most 4, the last key's values in one row."""
    last = len({panel[-1] for panel in panels if panel}) or 1
    if last > 4 or len(panels) == last:
        return min(len(panels), 3 if len(panels) in (3, 5, 6, 9) else 4)
    return last * (4 // last)


def _label(keys: Sequence[str], values: Sequence[Any]) -> str:
    return ", ".join(fields.label(*pair) for pair in zip(keys, values, strict=True))


def _draw_line(axes: Axes, chart: Chart, panel: tuple, line: tuple, index: int, count: int) -> None:
    ticks, factor = chart.ticks, chart.measure.factor
    points = [(x, chart.cells.get((*panel, *line, x))) for x in ticks]
    points = [(x, cell) for x, cell in points if cell and cell.count]
    if not points:
        return
    positions, means, deviations = zip(
        *((x, factor * cell.mean, factor * cell.deviation) for x, cell in points), strict=True
    )
    style = {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": DASHES[index % len(DASHES)],
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": 4,
        "linewidth": 1.3,
        "label": _label(chart.line, line),
    }
    if CONTROL in line:
        style |= {"color": GREY, "linestyle": "--", "marker": "", "label": f"{CONTROL} control"}
    if not all(map(fields.is_number, ticks)):
        # Lines stand side by side at each name.
        shift = 0.5 * ((index + 0.5) / count - 0.5)
        positions = [ticks.index(x) + shift for x in positions]
        style |= {"linestyle": "none", "markersize": 6}
    if chart.x == "epoch":
        step = max(1, len(ticks) // 8)
        axes.plot(positions, means, markevery=(index % step, step), **style)
        if any(deviations):
            low, high = np.subtract(means, deviations), np.add(means, deviations)
            axes.fill_between(positions, low, high, color=style["color"], alpha=0.15, linewidth=0)
    else:
        bars = deviations if any(deviations) else None
        axes.errorbar(positions, means, bars, capsize=2.5, elinewidth=0.8, **style)


def _draw_chance(axes: Axes, chart: Chart, panel: tuple) -> None:
    cells = [cell for point, cell in chart.cells.items() if point[: len(panel)] == panel]
    for level in dict.fromkeys(cell.chance for cell in cells if cell.chance is not None):
        axes.axhline(
            chart.measure.factor * level,
            color=GREY,
            linewidth=1,
            linestyle=(0, (1, 1)),
            label="chance",
        )


def _scale(axes: Axes, chart: Chart) -> None:
    """Sets the scales of all axes, which are shared."""
    means = [cell.mean for cell in chart.cells.values() if cell.count]
    if chart.measure.scale == "log" and means and min(means) > 0:
        axes.set_yscale("log")
    if chart.x == "epoch" or not all(map(fields.is_number, chart.ticks)):
        return
    positive = [x for x in chart.ticks if x > 0]
    if positive and max(positive) > 4 * min(positive):
        if positive == chart.ticks:
            axes.set_xscale("log")
        elif chart.ticks[0] == 0:
            axes.set_xscale("symlog", linthresh=min(positive))


def _tick(axes: Axes, chart: Chart, rotate: bool) -> None:
    ticks = chart.ticks
    if chart.x == "epoch":
        axes.xaxis.get_major_locator().set_params(integer=True)
        return
    texts = [fields.text(x) for x in ticks]
    names = not all(map(fields.is_number, ticks))
    axes.set_xticks(range(len(ticks)) if names else ticks, texts)
    axes.minorticks_off() if axes.get_yscale() != "log" else axes.xaxis.minorticks_off()
    if (rotate and sum(map(len, texts)) > 18) or sum(map(len, texts)) > 60:
        axes.tick_params(axis="x", rotation=30 if names else 60)
