"""Draws `docs/architecture.svg`: how a batch becomes an update.

    python -m docs.make_architecture

Boxes have colours of their own and arrows are of a middle grey, to be read on a light page and on a
dark one.
"""

import html
import pathlib
from typing import NamedTuple

PATH = pathlib.Path(__file__).with_name("architecture.svg")
_WIDTH, _GAP, _SPACE, _LINE, _EDGE = 460, 12, 32, 17, 9
_GREY = "#808791"
# Fill and border of what is given, computed, chosen by the rule, and changed.
_COLOURS = {
    "given": ("#e8eaed", "#9aa0a6"),
    "computed": ("#dbe9f9", "#5b8ec9"),
    "rule": ("#fdebc8", "#d19a2a"),
    "changed": ("#d9f0dd", "#53a567"),
}


class Box(NamedTuple):
    """A box of the drawing.

    Attributes:
        kind: One of the colours.
        title: Its first line.
        lines: The others.
        file: Where it is done; empty if nowhere in the package.
    """

    kind: str
    title: str
    lines: tuple[str, ...]
    file: str = ""

    @property
    def height(self) -> int:
        """Height that its lines take."""
        return _LINE * (1 + len(self.lines) + bool(self.file)) + 2 * _EDGE


WRAPPED = (
    (Box("given", "Keras network", ("as it is built, with its weights",)),),
    (Box("computed", "recording", ("one call, in a graph of its own",), "graph/recording.py"),),
    (
        Box(
            "computed",
            "program: maps in their order",
            ("affine and local ones, normalizations, activations",),
            "graph/tracing.py, keras_layers.py, operators.py",
        ),
    ),
    (
        Box("rule", "initial weights", ("what the network has now",), "own_weights.py"),
        Box("rule", "feedback weights", ("those of the source",), "own_weights.py"),
    ),
)
STEP = (
    (Box("given", "batch", ("inputs, targets, sample weights",)),),
    (
        Box("computed", "current network", ("evaluated map by map",), "graph/forward_pass.py"),
        Box("rule", "initial network", ("the same, if the rule looks",), "graph/forward_pass.py"),
    ),
    (
        Box("computed", "error e", ("of Keras's loss,", "by the outputs"), "graph/errors.py"),
        Box("rule", "feedback", ("kernels V, or", "projections of e"), "feedback/"),
        Box("rule", "D and p", ("derivatives and", "activity to take"), "rules.py"),
    ),
    (
        Box(
            "computed",
            "reverse pass, from the last map to the first",
            ("each is transposed: delta below, update of its weights",),
            "credit/reverse_mode.py, graph/maps.py",
        ),
    ),
    (
        Box(
            "changed",
            "updates, for the optimizer",
            ("with those of feedback weights and of regularizers",),
            "learner.py",
        ),
    ),
    (
        Box("changed", "feedback weights", ("evolve after its step",), "own_weights.py"),
        Box("changed", "moving statistics", ("of the current network",), "learner.py"),
    ),
)
# What the error does not come from.
WITHOUT = {("initial network", "error e")}


def draw() -> str:
    """Returns the drawing as SVG."""
    parts: list[str] = []
    y = 0
    for title, rows in (
        ("Once, when a network is wrapped", WRAPPED),
        ("In every step", STEP),
    ):
        parts.append(_text(0, y + 15, title, f'fill="{_GREY}" font-weight="bold"'))
        y += _SPACE
        above: list[tuple[Box, float]] = []
        for row in rows:
            width = (_WIDTH - _GAP * (len(row) - 1)) / len(row)
            lefts = [index * (width + _GAP) for index in range(len(row))]
            middles = [(box, left + width / 2) for box, left in zip(row, lefts, strict=True)]
            height = max(box.height for box in row)
            if above:
                parts += _arrows(above, middles, y)
                y += _SPACE
            for left, box in zip(lefts, row, strict=True):
                parts += _box(box, left, y, width, height)
            above = middles
            y += height
        y += _SPACE
    height = y - _SPACE + 1
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1 -1 {_WIDTH + 2} {height + 1}" '
        f'width="{_WIDTH + 2}" height="{height + 1}" font-family="sans-serif" font-size="13">\n'
        f'<title>How a batch becomes an update</title>\n<defs><marker id="tip" markerWidth="8" '
        f'markerHeight="8" refX="6" refY="4" orient="auto"><path d="M0 0 L8 4 L0 8 z" '
        f'fill="{_GREY}"/></marker></defs>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def _box(box: Box, left: float, top: float, width: float, height: float) -> list[str]:
    fill, border = _COLOURS[box.kind]
    x, y = left + _EDGE, top + _EDGE + 12
    parts = [
        f'<rect x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}" rx="6" '
        f'fill="{fill}" stroke="{border}"/>',
        _text(x, y, box.title, 'fill="#16181b" font-weight="bold"'),
    ]
    for number, line in enumerate(box.lines, 1):
        parts.append(_text(x, y + number * _LINE, line, 'fill="#16181b"'))
    if box.file:
        style = 'fill="#4a4f57" font-family="monospace" font-size="11"'
        parts.append(_text(x, y + (len(box.lines) + 1) * _LINE, box.file, style))
    return parts


def _arrows(above: list[tuple[Box, float]], below: list[tuple[Box, float]], y: float) -> list[str]:
    """Returns arrows from each box above to each below, but for `WITHOUT`."""
    return [
        f'<path d="M{start:g} {y + 2:g} L{end:g} {y + _SPACE - 3:g}" stroke="{_GREY}" '
        f'stroke-width="1.5" marker-end="url(#tip)"/>'
        for source, start in above
        for target, end in below
        if (source.title, target.title) not in WITHOUT
    ]


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" {style}>{html.escape(text)}</text>'


if __name__ == "__main__":
    PATH.write_text(draw())
