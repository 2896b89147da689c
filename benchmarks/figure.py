"""A figure of what was measured: ratios to plain Keras, and step time against width.

python -m benchmarks.figure build/bench docs/performance.png
"""

import json
import pathlib
import sys

import matplotlib.figure

from benchmarks.cases import PLAIN


def draw(directory: pathlib.Path, path: pathlib.Path) -> None:
    """Draws the figure.

    Args:
        directory: Where `rules.json` and `scaling.json` are.
        path: File of the figure.
    """
    rules, scaling = (
        json.loads((directory / f"{name}.json").read_text()) for name in ("rules", "scaling")
    )
    canvas = matplotlib.figure.Figure(figsize=(10, 4), layout="constrained")
    left, right = canvas.subplots(1, 2)
    names = list(dict.fromkeys(row["rule"] for row in rules if not row["rule"].startswith(PLAIN)))
    widths = sorted({row["width"] for row in rules})
    for offset, width in enumerate(widths):
        by_rule = {row["rule"]: row for row in rules if row["width"] == width}
        y = [index + 0.8 * offset / len(widths) for index in range(len(names))]
        x = [by_rule[name]["processor"] for name in names]
        left.barh(y, x, height=0.8 / len(widths), label=f"width {width}")
    left.set_yticks([i + 0.4 - 0.4 / len(widths) for i in range(len(names))], names)
    left.invert_yaxis()
    left.axvline(1, color="black", linewidth=0.8)
    left.set_xlabel("processor time of a step / keras.Model.fit")
    left.legend()
    largest = max(row["batch"] for row in scaling)
    for color, rule in enumerate(dict.fromkeys(row["rule"] for row in scaling)):
        line = [row for row in scaling if row["rule"] == rule and row["batch"] == largest]
        x = [row["width"] for row in line]
        style = {"color": f"C{color}"}
        right.loglog(x, [row["processor ms"] for row in line], "o", label=rule, **style)
        predicted = [row["predicted ms"] for row in line]
        right.loglog(x, predicted, "--", label=f"{rule}, predicted", **style)
    right.set_xticks(sorted({row["width"] for row in scaling}))
    right.xaxis.set_major_formatter("{x:g}")
    right.yaxis.set_major_formatter("{x:g}")
    right.minorticks_off()
    right.set_yticks([100, 200, 500, 1000, 2000])
    right.set_xlabel("width")
    right.set_ylabel("milliseconds of processor time a step")
    right.legend()
    canvas.savefig(path, dpi=120)


if __name__ == "__main__":
    draw(*map(pathlib.Path, sys.argv[1:]))
