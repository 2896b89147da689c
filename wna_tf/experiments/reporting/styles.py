"""How lines look: each rule in every figure the same, and all so that they differ in grey too."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from matplotlib import font_manager

from wna_tf import rules
from wna_tf.experiments.config import FigureStyle
from wna_tf.experiments.reporting import fields
from wna_tf.experiments.reporting.charts import BESIDE, MEASURED, TRAIN, VALIDATION, Chart

# Lines differ by marker and dashes too, so that they do in grey. Colours are Okabe and Ito's, less
# their yellow, and one of Tol's.
MARKERS = "os^Dv<>pPX*hd"
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
COLOURS = (
    "#000000",
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#7f5f00",
    "#882255",
)
GREY = "#8c8c8c"
_BESIDE_DASHES = dict(zip(BESIDE.values(), ("--", "-.", ":"), strict=True))
CHANCE, PREDICTED = "chance", "predicted"
# Labels that stand behind all others in a legend.
LAST = (VALIDATION, TRAIN, *BESIDE.values(), PREDICTED, CHANCE)
_SERIES = {MEASURED, *BESIDE.values(), TRAIN, VALIDATION}
# Rules that are often in one figure: these have the first looks, of which no two share a colour.
_FIRST = (
    "backprop",
    "align_zero",
    "align_ada",
    "align_prop",
    "feedback_alignment",
    "direct_feedback_alignment",
    "readout",
    "sign_symmetry",
    "kolen_pollack",
)


@dataclasses.dataclass(frozen=True)
class Look:
    """How the figures of one report look.

    Attributes:
        style: Their size and font, and whether they have a title.
        others: Rules of the report that the table of rules does not have, in order.
    """

    style: FigureStyle
    others: tuple[str, ...] = ()

    def settings(self) -> dict[Any, Any]:
        """Returns Matplotlib's settings. The same chart gives the same bytes: no random names."""
        font = {"font.family": self.style.font} if self.style.font else {}
        return font | {
            "svg.hashsalt": "wna_tf",
            "pdf.fonttype": 42,  # TrueType: many publishers take no Type 3.
            "axes.grid": True,
            "grid.alpha": 0.3,
            "font.size": self.style.points,
        }

    def of_rule(self, name: str) -> dict[str, Any]:
        """Returns the look of a rule, which is the same in every figure."""
        table = rules.names()
        places = [*_FIRST, *(n for n in table if n not in _FIRST), *self.others]
        return look(places.index(name))

    def of_lines(self, chart: Chart) -> dict[tuple, dict[str, Any]]:
        """Returns the look of each line of a chart, with its label.

        A control or a baseline looks as what it is that of, but grey; training as validation, but
        dashed.
        """
        lines = chart.values(*chart.line)
        stems = [tuple(part for part in line if part not in _SERIES) for line in lines]
        kinds = list(dict.fromkeys(stems))
        keys = [key for key, part in zip(chart.line, lines[0], strict=True) if part not in _SERIES]
        looks = {}
        for line, stem in zip(lines, stems, strict=True):
            of_line = self.of_line(keys, stem, kinds)
            label = fields.labels(keys, stem)
            for series in _SERIES & set(line):
                label = label or series
                if series in (TRAIN, VALIDATION):
                    of_line |= _PAIR[series]
                elif series in _BESIDE_DASHES:
                    of_line |= {"color": GREY, "linestyle": _BESIDE_DASHES[series], "linewidth": 1}
                    label = series
                if series == TRAIN and stem:
                    label = "_"  # That of validation tells both.
            looks[line] = of_line | {"label": label}
        return looks

    def of_line(self, keys: Sequence[str], line: tuple, lines: Sequence[tuple]) -> dict[str, Any]:
        """Returns the look of a line, one of several: values of some keys.

        If the rule is among the keys, it has the colour and the marker.
        """
        if fields.RULE not in keys:
            return look(lines.index(line))
        place = list(keys).index(fields.RULE)
        own = self.of_rule(line[place])
        others = list(dict.fromkeys(other[:place] + other[place + 1 :] for other in lines))
        if len(others) > 1:  # What else differs has the dashes.
            index = others.index(line[:place] + line[place + 1 :])
            own["linestyle"] = DASHES[index % len(DASHES)]
        return own


_PAIR: dict[str, dict[str, Any]] = {
    VALIDATION: {"linestyle": "-"},
    TRAIN: {"linestyle": "--", "markerfacecolor": "white", "linewidth": 1},
}


def look(index: int) -> dict[str, Any]:
    """Returns the look of the line of a number, which differs from all of up to 100 others."""
    colour = COLOURS[index % len(COLOURS)]
    is_hollow = index // len(MARKERS) % 2
    return {
        "color": colour,
        "marker": MARKERS[index % len(MARKERS)],
        "markerfacecolor": "white" if is_hollow else colour,
        "linestyle": DASHES[index % len(DASHES)],
        "linewidth": 1.3,
        "markersize": 4,
    }


def of_report(style: FigureStyle, names: Sequence[str]) -> Look:
    """Returns the look of a report's figures.

    Args:
        style: What was asked for.
        names: The rules of all its runs.
    """
    return Look(style, tuple(sorted(set(names) - set(rules.names()))))


def check(style: FigureStyle) -> None:
    """Raises a ValueError unless the font is there."""
    if style.font is None:
        return
    try:
        wanted = font_manager.FontProperties(family=[style.font])
        font_manager.findfont(wanted, fallback_to_default=False)
    except ValueError:
        raise ValueError(
            "Expected figure_font to be a font that is installed. "
            f"Received: figure_font={style.font!r}"
        ) from None


def size(style: FigureStyle, rows: int, columns: int) -> tuple[float, float]:
    """Returns the width and the height in inches of a figure of panels."""
    if style.figure_size:
        width, height = style.figure_size
        return width, height * rows
    return (7.0, 4.2) if rows * columns == 1 else (3.1 * columns + 1.8, 2.5 * rows + 0.8)


def most_columns(style: FigureStyle) -> int:
    """Returns how many panels there may be side by side."""
    return max(1, min(4, math.floor(style.figure_size[0] / 1.6))) if style.figure_size else 4
