"""The section on kernels: a table of what they say, their spectra and what they predict."""

import collections
import math
import pathlib
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from wna_tf import files
from wna_tf.experiments import kernel_files, run_directory
from wna_tf.experiments.kernel_files import Summary
from wna_tf.experiments.reporting import fields, figures, styles, tables
from wna_tf.experiments.reporting.charts import MOST_CURVES, Cell, Record, summarize
from wna_tf.experiments.reporting.measures import Measure

NAME = "kernels"
TITLE = "Kernels: tangent kernels at the initial weights, and the training that they predict"
_MEASURES = {
    "alignment": Measure("alignment with the targets"),
    "effective_rank": Measure("effective rank"),
    "regression_test_accuracy": Measure("kernel regression's test accuracy (%)", 100),
    "trained_test_accuracy": Measure("trained test accuracy (%)", 100),
    "regression_test_loss": Measure("kernel regression's test error"),
    "trained_test_loss": Measure("trained test error"),
}


class Known(NamedTuple):
    """A run, and what was found out of its kernel."""

    run: run_directory.Run
    summary: Summary


def read(runs: Sequence[run_directory.Run]) -> list[Known]:
    """Reads what was found out of the kernels of runs, of those of which it is there.

    Raises:
        ValueError: If a file of a kernel is damaged.
        OSError: If one is missing.
    """
    found = [(run, kernel_files.read(run.directory)) for run in runs]
    return [Known(run, summary) for run, summary in found if summary is not None]


def write(
    known: Sequence[Known], names: Sequence[str], folder: pathlib.Path, look: styles.Look
) -> tables.Table:
    """Writes the numbers (.csv) and the figure (.png, .svg, .pdf), and returns the table.

    Args:
        known: Runs with a kernel.
        names: The fields that vary, which tell rows and lines apart; the others are seeds.
        folder: Where the files are written.
        look: How the figures of the report look.
    """
    measured = [
        name for name in _MEASURES if any(one.summary.record.get(name) is not None for one in known)
    ]
    cells = {name: _summarize(known, names, name) for name in measured}
    groups: dict[tuple, list[Known]] = collections.defaultdict(list)
    for one in known:
        groups[tuple(one.run.config[name] for name in names)].append(one)
    files.write_csv(
        folder / f"{NAME}.csv",
        [*names, "measure", "mean", "standard_error", "count"],
        (
            [*group, name, cell.mean if cell.count else "", cell.error, cell.count]
            for group in groups
            for name in measured
            for cell in [cells[name][group]]
        ),
    )
    _draw(groups, names, folder / NAME, look)
    texts = {
        "runs": {group: str(len(some)) for group, some in groups.items()},
        "examples": {group: _examples(some) for group, some in groups.items()},
    }
    return tables.of_measures(names, texts, [(_MEASURES[name], cells[name]) for name in measured])


def _summarize(known: Sequence[Known], names: Sequence[str], name: str) -> dict[tuple, Cell]:
    records = [Record(fields.keys(one.run, names), one.summary.record.get(name)) for one in known]
    return summarize(records, names)


def _examples(some: Sequence[Known]) -> str:
    """Returns how many training examples kernels are of."""
    sizes = fields.ordered(one.summary.record["train_examples"] for one in some)
    return ", ".join(map(fields.text, sizes))


def _draw(
    groups: Mapping[tuple, Sequence[Known]],
    names: Sequence[str],
    path: pathlib.Path,
    look: styles.Look,
) -> None:
    """Draws the spectra, and the predicted beside the trained loss if there are predictions."""
    differ = [i for i, column in enumerate(zip(*groups, strict=True)) if len(set(column)) > 1]
    shown = list(groups.items())[:MOST_CURVES]
    title = TITLE if len(shown) == len(groups) else f"{TITLE} (first {len(shown)} of {len(groups)})"
    is_predicted = any(one.summary.prediction for _, some in shown for one in some)
    with matplotlib.rc_context(look.settings()):
        width, height = look.style.figure_size or (10.0 if is_predicted else 7.0, 4.2)
        figure = Figure(figsize=(width, height), layout="constrained")
        spectra, *others = figure.subplots(1, 1 + is_predicted, squeeze=False)[0]
        keys = [names[i] for i in differ or [0]]
        lines = [tuple(group[i] for i in differ or [0]) for group, _ in shown]
        for line, (_, some) in zip(lines, shown, strict=True):
            style = look.of_line(keys, line, lines) | {"linestyle": "-"}
            label = fields.labels(keys, line)
            _draw_spectrum(spectra, some, style | {"label": label})
            for axes in others:
                _draw_curves(axes, some, style | {"label": label})
        spectra.set(xscale="log", yscale="log", xlabel="index", ylabel="eigenvalue")
        spectra.set_title("spectrum", fontsize="medium")
        for axes in others:
            axes.set(yscale="log", xlabel="epoch", ylabel="train loss")
            axes.set_title("trained, and predicted (dashed)", fontsize="medium")
            axes.locator_params(axis="x", integer=True)
            axes.add_line(Line2D([], [], color=styles.GREY, linestyle="--", label=styles.PREDICTED))
        if look.style.figure_title:
            figure.suptitle(textwrap.fill(title, int(10 * figure.get_figwidth())), fontsize="large")
        figures.draw_legend(figure)
        figures.save(figure, path)


def _draw_spectrum(axes: Axes, some: Sequence[Known], style: dict) -> None:
    """Draws the mean over seeds of the eigenvalues that are not 0 to rounding."""
    size = min(len(one.summary.eigenvalues) for one in some)
    mean = np.mean([one.summary.eigenvalues[:size] for one in some], 0)
    kept = mean > np.finfo("float32").eps * mean.max()
    index = np.arange(1, size + 1)[kept]
    # Markers at places that are even on a logarithmic axis.
    places = np.unique(np.geomspace(1, len(index), 8).astype(int)) - 1
    axes.plot(index, mean[kept], markevery=places.tolist(), **style)


def _draw_curves(axes: Axes, some: Sequence[Known], style: dict) -> None:
    """Draws means over seeds of the loss, trained and predicted, over epochs."""
    for column, line in (
        ("trained_train_loss", {"linestyle": "-"}),
        ("predicted_train_loss", {"linestyle": "--", "marker": "", "label": None}),
    ):
        points = list(_means(some, column))
        step = max(1, len(points) // 8)
        if points:
            axes.plot(*zip(*points, strict=True), **style | {"markevery": step} | line)


def _means(some: Sequence[Known], column: str) -> Iterator[tuple[float, float]]:
    """Yields each epoch, and the mean of a column of predictions over the runs that have it."""
    values = collections.defaultdict(list)
    for one in some:
        for row in one.summary.prediction:
            if math.isfinite(row.get(column, math.nan)):
                values[row["epoch"]].append(row[column])
    for epoch in sorted(values):
        yield epoch, float(np.mean(values[epoch]))
