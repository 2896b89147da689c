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

from wna_tf.experiments.reporting import fields
from wna_tf.experiments.reporting.charts import BESIDE, MEASURED, Chart

# Lines differ by marker and dashes too, so that they do in grey. Colours are Okabe and Ito's.
MARKERS = "os^Dv<>pPX*h"
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f5f00")
GREY = "#8c8c8c"
BESIDE_DASHES = dict(zip(BESIDE.values(), ("--", "-.", ":"), strict=True))
CHANCE = "chance"
# The same chart gives the same bytes: no dates, no versions, no random names.
SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "wna_tf",
    "axes.grid": True,
    "grid.alpha": 0.3,
    "font.size": 9,
}
METADATA = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}


def draw(chart: Chart, path: pathlib.Path) -> None:
    """Draws a chart: its panels side by side, a line for each combination of its line keys.

    Lines of a control or a baseline are grey. Deviations are bands around curves over epochs, and
    bars elsewhere; a level of chance is a thin line. A note stands under the axis.

    Args:
        chart: The chart.
        path: Files to write, without their endings .png and .svg.
    """
    panels = chart.values(*chart.panel)
    columns = _columns(panels)
    rows = math.ceil(len(panels) / columns)
    size = (7.0, 4.2) if len(panels) == 1 else (3.1 * columns + 1.8, 2.5 * rows + 0.8)
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for axes, panel in itertools.zip_longest(grid.flat, panels):
            if panel is None:
                axes.remove()
                continue
            _draw_panel(axes, chart, panel)
            axes.set_title(_label(chart.panel, panel), fontsize="medium")
        for axes in grid.flat[max(0, len(panels) - columns) : len(panels)]:
            axes.tick_params(labelbottom=True)
        _scale(figure.axes, chart)
        note = textwrap.fill(chart.note, int(14 * size[0]))
        axis = fields.axis(chart.x)
        figure.supxlabel(f"{axis}\n\n{note}" if note else axis, fontsize="medium")
        figure.supylabel(chart.measure.label, fontsize="medium")
        figure.suptitle(textwrap.fill(chart.title, int(10 * size[0])), fontsize="large")
        draw_legend(figure)
        save(figure, path)


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes a figure, whose layout is found once, for both files.

    Args:
        figure: The figure.
        path: Files to write, without their endings .png and .svg.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for ending, metadata in METADATA.items():
        name = path.with_name(f"{path.name}.{ending}")
        figure.savefig(name, dpi=150, metadata=metadata)


def _columns(panels: Sequence[tuple]) -> int:
    """Returns the number of columns of panels: at most 4, the last key's values in one row."""
    last = len({panel[-1:] for panel in panels})
    if last > 4 or len(panels) == last:
        return min(len(panels), 3 if len(panels) in (5, 6, 9) else 4)
    return last * (4 // last)


def _label(keys: Sequence[str], values: Sequence[Any]) -> str:
    return ", ".join(fields.label(*pair) for pair in zip(keys, values, strict=True))


def _draw_panel(axes: Axes, chart: Chart, panel: tuple) -> None:
    place, names = _places(chart), _are_names(chart.ticks)
    lines = chart.values(*chart.line)
    # A control looks as what it is the control of does, but grey.
    aside = {MEASURED, *BESIDE_DASHES}
    stems = [tuple(part for part in line if part not in aside) for line in lines]
    kinds = list(dict.fromkeys(stems))
    for line, stem in zip(lines, stems, strict=True):
        cells = [
            (place[x], cell)
            for x in chart.ticks
            if (cell := chart.cells.get((*panel, *line, x))) and cell.count
        ]
        index = kinds.index(stem)
        style: dict[str, Any] = {
            "color": COLOURS[index % len(COLOURS)],
            "linestyle": DASHES[index % len(DASHES)],
            "marker": MARKERS[index % len(MARKERS)],
            "markersize": 6 if names else 4,
            "linewidth": 1.3,
            "label": _label(chart.line[: len(stem)], stem) or MEASURED,
        }
        for series in BESIDE_DASHES.keys() & set(line):
            dashes = BESIDE_DASHES[series]
            style |= {"color": GREY, "linestyle": dashes, "linewidth": 1, "label": series}
        if names:  # Lines stand side by side at each name.
            style["linestyle"] = "none"
            cells = [(x + 0.5 * ((index + 0.5) / len(kinds) - 0.5), cell) for x, cell in cells]
        x = [x for x, _ in cells]
        mean = chart.measure.factor * np.array([cell.mean for _, cell in cells])
        deviation = chart.measure.factor * np.array([cell.deviation for _, cell in cells])
        if chart.x == "epoch":
            step = max(1, len(chart.ticks) // 8)
            axes.plot(x, mean, markevery=(index % step, step), **style)
            if deviation.any():
                low, high = mean - deviation, mean + deviation
                axes.fill_between(x, low, high, color=style["color"], alpha=0.15, linewidth=0)
        else:
            bars = deviation if deviation.any() else None
            axes.errorbar(x, mean, bars, capsize=2.5, elinewidth=0.8, **style)
    inside = [cell for point, cell in chart.cells.items() if point[: len(panel)] == panel]
    for level in dict.fromkeys(cell.chance for cell in inside if cell.chance is not None):
        height = chart.measure.factor * level
        axes.axhline(height, color=GREY, linewidth=1, linestyle=(0, (1, 1)), label=CHANCE)


def draw_legend(figure: Figure) -> None:
    """Draws one legend beside all panels, each label once."""
    handles = {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    last = {label: handles.pop(label) for label in (*BESIDE_DASHES, CHANCE) if label in handles}
    if handles := handles | last:
        columns = math.ceil(len(handles) / (4 * figure.get_figheight()))
        figure.legend(
            handles.values(), handles, loc="outside right center", frameon=False, ncols=columns
        )


def _are_names(ticks: Sequence[Any]) -> bool:
    return not all(map(fields.is_number, ticks))


def _is_wide(ticks: Sequence[float]) -> bool:
    positive = [x for x in ticks if x > 0]
    return bool(positive) and max(positive) > 4 * min(positive) and min(ticks) >= 0


def _places(chart: Chart) -> dict[Any, float]:
    """Returns where the ticks stand: names, and numbers that go from 0 to far, evenly."""
    ticks = chart.ticks
    if chart.x != "epoch" and (_are_names(ticks) or (_is_wide(ticks) and 0 in ticks)):
        return {x: place for place, x in enumerate(ticks)}
    return {x: x for x in ticks}


def _scale(panels: Sequence[Axes], chart: Chart) -> None:
    """Sets the scales and ticks of all axes, which share them."""
    means = [cell.mean for cell in chart.cells.values() if cell.count]
    if chart.measure.scale == "log" and any(means):
        if min(means) > 0:
            panels[0].set_yscale("log")
        else:
            decade = round(math.log10(max(map(abs, means))))  # A tick: others would overlap it.
            panels[0].set_yscale("symlog", linthresh=10.0 ** (decade - 5))
    if chart.x == "epoch":
        panels[0].locator_params(axis="x", integer=True)
        return
    place = _places(chart)
    first, last = min(place.values()), max(place.values())
    if first > 0 and list(place) == list(place.values()) and _is_wide(chart.ticks):
        panels[0].set_xscale("log")
        margin = (last / first) ** 0.06
        panels[0].set_xlim(first / margin, last * margin)
    else:
        margin = 0.5 if _are_names(chart.ticks) else 0.06 * (last - first) or 0.5
        panels[0].set_xlim(first - margin, last + margin)
    texts = [fields.text(x) for x in chart.ticks]
    room = 26 if len(panels) > 1 else 60
    for axes in panels:
        axes.set_xticks(list(place.values()), texts)
        axes.xaxis.minorticks_off()
        if sum(map(len, texts)) + 2 * len(texts) > room:
            axes.tick_params(axis="x", rotation=45)
