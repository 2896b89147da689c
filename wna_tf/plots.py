"""Tables and figures of runs."""

import collections
import pathlib
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from wna_tf import results


class Cell(NamedTuple):
    """A result over the seeds of one configuration.

    Attributes:
        mean: Its mean.
        deviation: Its standard deviation over seeds; 0 for one seed.
        count: Number of seeds.
    """

    mean: float
    deviation: float
    count: int


def pivot(
    runs: Sequence[results.Run], row: str, column: str, value: str
) -> dict[str, dict[float, Cell]]:
    """Groups a result by two fields, and summarizes it over the rest.

    Args:
        runs: The runs.
        row: Field of the configuration that makes the rows.
        column: Field that makes the columns, which are sorted.
        value: Name of the result.

    Returns:
        Cells by row, in the order of the runs, and column.
    """
    groups: dict = collections.defaultdict(lambda: collections.defaultdict(list))
    for run in runs:
        groups[run.config[row]][run.config[column]].append(run.result[value])
    return {
        name: {
            key: Cell(
                statistics.fmean(columns[key]),
                statistics.stdev(columns[key]) if len(columns[key]) > 1 else 0.0,
                len(columns[key]),
            )
            for key in sorted(columns)
        }
        for name, columns in groups.items()
    }


class Measure(NamedTuple):
    """A result that is reported.

    Attributes:
        name: Its name in a run's results.
        chance: Name of what a guess scores, in a run's chance.
        label: Its label, with its unit.
        factor: Its unit, in those of the result.
        digits: Digits behind the point.
        scale: Scale of its axis.
    """

    name: str
    chance: str
    label: str
    factor: float
    digits: int
    scale: str


# The first one that a run has is reported.
MEASURES = (
    Measure("validation_accuracy", "accuracy", "validation accuracy (%)", 100, 1, "linear"),
    Measure("best_validation_loss", "validation_loss", "best validation loss", 1, 4, "log"),
)


def table(cells: dict[str, dict[float, Cell]], row: str, column: str, measure: Measure) -> str:
    """Returns a Markdown table, with deviations where there are several seeds."""
    columns = sorted({key for line in cells.values() for key in line})

    def entry(cell: Cell | None) -> str:
        if cell is None:
            return "-"
        mean, deviation = (f"{measure.factor * x:.{measure.digits}f}" for x in cell[:2])
        return f"{mean} ± {deviation}" if cell.count > 1 else mean

    lines = [[row, *(f"{column} {key:g}" for key in columns)]]
    lines += [[name, *(entry(line.get(key)) for key in columns)] for name, line in cells.items()]
    widths = [max(len(line[index]) for line in lines) for index in range(len(lines[0]))]
    rendered = [
        "| "
        + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([rendered[0], rule, *rendered[1:]])


def figure(
    cells: dict[str, dict[float, Cell]],
    path: pathlib.Path,
    xlabel: str,
    measure: Measure,
    chance: float | None = None,
) -> None:
    """Draws one line a row against the columns, with error bars over seeds.

    Args:
        cells: What `pivot` returns.
        path: File to write; its ending is the format.
        xlabel: Label of the horizontal axis, which is logarithmic.
        measure: The result.
        chance: Result of guessing, drawn as a line.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt

    styles = zip("os^Dv<>pPX*h", ("-", "--", "-.", ":") * 3, strict=True)
    fig, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for (name, line), (marker, dashes) in zip(cells.items(), styles, strict=False):
        axes.errorbar(
            list(line),
            [measure.factor * cell.mean for cell in line.values()],
            [measure.factor * cell.deviation for cell in line.values()],
            label=name,
            marker=marker,
            linestyle=dashes,
            capsize=3,
        )
    if chance is not None:
        level = measure.factor * chance
        axes.axhline(level, color="grey", linewidth=1)
        axes.annotate(
            "chance", (1, level), xycoords=("axes fraction", "data"), ha="right", va="bottom"
        )
    ticks = sorted({key for line in cells.values() for key in line})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xlabel(xlabel)
    axes.set_yscale(measure.scale)
    axes.set_ylabel(measure.label)
    axes.grid(alpha=0.3)
    fig.legend(loc="outside right upper", frameon=False)
    with results.replacing(path) as beside:
        fig.savefig(beside, dpi=150, format=path.suffix[1:])
    plt.close(fig)


_AXES = {
    "width": "width (units or channels a block)",
    "learning_rate": "learning rate",
    "data_limit": "training examples",
}


def report(runs: Sequence[results.Run], directory: pathlib.Path) -> tuple[str, pathlib.Path]:
    """Makes the table and the figure of a result, a row and a line a rule.

    The result is validation accuracy, or the best validation loss if there are no classes. The
    columns are the first field of width, learning rate and data limit that varies.

    Args:
        runs: The runs.
        directory: Where the table (.md) and the figure (.png) are written, by the result's name.

    Returns:
        The result's label and the table, in Markdown, and the path of the figure.

    Raises:
        ValueError: If no run has a result: all diverged.
    """
    measures = [m for m in MEASURES if any(run.result.get(m.name) is not None for run in runs)]
    if not measures:
        raise ValueError(f"Expected a run that did not diverge. Received: {directory}")
    measure = measures[0]
    finite = [run for run in runs if run.result.get(measure.name) is not None]
    varying = [name for name in _AXES if len({run.config[name] for run in finite}) > 1]
    column = varying[0] if varying else "width"
    cells = pivot(finite, "rule", column, measure.name)
    rows = table(cells, "rule", column.replace("_", " "), measure)
    text = f"{measure.label.capitalize()}\n\n{rows}"
    with results.replacing(directory / f"{measure.name}.md") as beside:
        beside.write_text(text + "\n")
    path = directory / f"{measure.name}.png"
    chance = finite[0].result["chance"].get(measure.chance)
    figure(cells, path, _AXES[column], measure, chance)
    return text, path
