"""Scales of vertical axes."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from wna_tf.experiments.reporting.measures import Measure

_DECADES = 5  # Of a logarithmic axis that goes on beyond 0, on each side.
_FEW_DECADES = 2  # An axis of no more has ticks within them.


class Scale(NamedTuple):
    """A scale.

    Attributes:
        name: "linear", "log", or "symlog", which is linear near 0.
        near: What is near 0, in the unit of the axis.
    """

    name: str
    near: float = 0

    def place(self, value: float) -> float:
        """Returns where a value stands, in any unit."""
        if self.name == "linear":
            return value
        if self.name == "log":
            return math.log10(value)
        far = 1 + math.log10(max(abs(value) / self.near, 1))
        return math.copysign(far, value) if abs(value) > self.near else value / self.near


def of(measure: Measure, means: Iterable[float]) -> Scale:
    """Returns the scale on which values, in the unit of the runs' files, are drawn."""
    values = [measure.factor * mean for mean in means]
    if measure.scale != "log" or not any(values):
        return Scale("linear")
    if min(values) > 0:
        return Scale("log")
    decade = round(math.log10(max(map(abs, values))))  # A tick: others would overlap it.
    return Scale("symlog", 10.0 ** (decade - _DECADES))


def set_axis(axes: Axes, scale: Scale) -> None:
    """Sets the scale of a vertical axis, with ticks within decades if there are few of these."""
    if scale.name == "symlog":
        axes.set_yscale("symlog", linthresh=scale.near)
    elif scale.name == "log":
        axes.set_yscale("log")
        low, high = axes.get_ylim()
        if math.log10(high / low) <= _FEW_DECADES:
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
