"""Where points stand on the horizontal axis, its scale and its ticks."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from wna_tf.experiments.reporting import fields
from wna_tf.experiments.reporting.charts import CURVES, Chart

# Lines are set apart by a part of the distance of neighbouring ticks: each, and all of them.
_STEP, _SPREAD, _SPREAD_OF_NAMES = 0.04, 0.32, 0.6


def are_names(ticks: Sequence[Any]) -> bool:
    """Returns whether ticks are names, which stand evenly."""
    return not all(map(fields.is_number, ticks))


def is_log(chart: Chart) -> bool:
    """Returns whether the horizontal axis is logarithmic: for widths, and numbers far apart."""
    ticks = chart.ticks
    if chart.x in CURVES or are_names(ticks) or min(ticks) <= 0:
        return False
    return chart.x == "width" or _is_wide(ticks)


def ticks(chart: Chart) -> dict[Any, float]:
    """Returns where the ticks stand: names, and numbers that go from 0 to far, evenly."""
    values = chart.ticks
    if chart.x not in CURVES and (are_names(values) or (_is_wide(values) and 0 in values)):
        return {x: place for place, x in enumerate(values)}
    return {x: x for x in values}


def dodged(chart: Chart, lines: int) -> list[dict[Any, float]]:
    """Returns where the points of each line stand: side by side, so that no bar covers another.

    Args:
        chart: The chart, whose points are not of curves.
        lines: Number of lines.

    Returns:
        Place by tick, for each line. All lines are within half the distance of two ticks.
    """
    on_axis = {x: math.log(p) if is_log(chart) else p for x, p in ticks(chart).items()}
    gaps = [b - a for a, b in itertools.pairwise(sorted(on_axis.values()))]
    step = min(_STEP, _SPREAD / max(lines, 1)) * min(gaps, default=1.0)
    if are_names(chart.ticks):  # Nothing joins the points: they may stand farther apart.
        step = _SPREAD_OF_NAMES / max(lines, 1)
    back = math.exp if is_log(chart) else float
    return [
        {x: back(place + step * (line - (lines - 1) / 2)) for x, place in on_axis.items()}
        for line in range(lines)
    ]


def set_axis(panels: Sequence[Axes], chart: Chart, inches: float) -> None:
    """Sets the scale and the ticks of the horizontal axes, which share them.

    Args:
        panels: The axes.
        chart: The chart.
        inches: Width of the figure.
    """
    if chart.x in CURVES:
        panels[0].locator_params(axis="x", integer=True)
        return
    place = ticks(chart)
    first, last = min(place.values()), max(place.values())
    if is_log(chart):
        panels[0].set_xscale("log", base=2)
        margin = max((last / first) ** 0.1, 1.4)
        panels[0].set_xlim(first / margin, last * margin)
    else:
        margin = 0.5 if are_names(chart.ticks) else 0.08 * (last - first) or 0.5
        panels[0].set_xlim(first - margin, last + margin)
    texts = [fields.shown(chart.x, x) for x in chart.ticks]
    room = 10 * panels[0].get_position().width * inches
    for axes in panels:
        axes.set_xticks(list(place.values()), texts)
        axes.xaxis.minorticks_off()
        if sum(map(len, texts)) + len(texts) > room:
            axes.tick_params(axis="x", rotation=45)
            if are_names(chart.ticks):
                for text in axes.get_xticklabels():
                    text.set(ha="right", rotation_mode="anchor")


def _is_wide(values: Sequence[float]) -> bool:
    positive = [x for x in values if x > 0]
    return bool(positive) and max(positive) > 4 * min(positive) and min(values) >= 0
