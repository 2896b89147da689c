"""What predictions are worth: numbers, tables and figures of one evaluation."""

import pathlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from wna_tf.experiments.reporting import tables

NUMBERED = 20  # Up to so many classes have numbers in the cells of a figure.


class Classes(NamedTuple):
    """How well each class is told from the others.

    Attributes:
        precision: Part of the predictions of a class that is right, [num_classes]; NaN for none.
        recall: Part of the examples of a class that is found, [num_classes]; NaN for none.
        f1: Harmonic mean of both, [num_classes]; NaN for a class that is not there at all.
        support: Number of examples of a class, [num_classes].
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts predictions by class.

    Args:
        labels: Classes of the examples, [batch].
        predictions: Predicted classes, [batch].
        num_classes: Number of classes.

    Returns:
        Numbers of examples, a row a label and a column a prediction, [num_classes, num_classes].
    """
    matrix = np.zeros([num_classes, num_classes], int)
    np.add.at(matrix, (labels, predictions), 1)
    return matrix


def by_class(confusion: np.ndarray) -> Classes:
    """Returns the scores of each class, from a confusion matrix."""
    right, support, predicted = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    with np.errstate(invalid="ignore"):  # 0 / 0 is not defined, and says so.
        return Classes(
            right / predicted, right / support, 2 * right / (predicted + support), support
        )


def class_table(classes: Classes, names: Sequence[str]) -> str:
    """Returns a Markdown table with a row for each class."""
    lines = [["class", "precision (%)", "recall (%)", "F1 (%)", "support"]]
    for name, *parts, support in zip(names, *classes, strict=True):
        cells = ["-" if np.isnan(part) else f"{100 * part:.1f}" for part in parts]
        lines.append([name, *cells, str(support)])
    return tables.markdown(lines)


def confusion_figure(
    confusion: np.ndarray, names: Sequence[str], title: str, paths: Sequence[pathlib.Path]
) -> None:
    """Draws a confusion matrix: grey is percent of a class's examples, numbers are examples.

    Args:
        confusion: Numbers of examples, [num_classes, num_classes].
        names: Names of the classes.
        title: Title.
        paths: Files to write; their endings are the formats.
    """
    plt = _pyplot()
    size = len(names)
    percent = 100 * confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    side = 5 + 0.25 * min(size, NUMBERED)
    fig, axes = plt.subplots(figsize=(side + 0.5, side), layout="constrained")
    # One hue, from light to dark: the order is there in greyscale too.
    image = axes.imshow(percent, cmap="Greys", vmin=0, vmax=100)
    if size <= NUMBERED:
        axes.set_xticks(range(size), names, rotation=90 if max(map(len, names)) > 2 else 0)
        axes.set_yticks(range(size), names)
        for (row, column), count in np.ndenumerate(confusion):
            if count:
                color = "white" if percent[row, column] > 50 else "black"
                axes.text(column, row, count, ha="center", va="center", color=color, fontsize=8)
    unit = "" if size <= NUMBERED else " (index)"
    axes.set(xlabel=f"predicted class{unit}", ylabel=f"class{unit}", title=title)
    fig.colorbar(image, label="examples of the class (%)", shrink=0.8)
    _save(fig, paths)


def error_figure(
    errors: np.ndarray, guess: np.ndarray, title: str, paths: Sequence[pathlib.Path]
) -> None:
    """Draws the error of each time step beside that of a guess.

    Args:
        errors: Mean squared errors of the network, [time].
        guess: Those of guessing the mean target of all, [time].
        title: Title.
        paths: Files to write; their endings are the formats.
    """
    plt = _pyplot()
    fig, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    axes.plot(guess, color="grey", linestyle="--", label="guessing the mean")
    axes.plot(errors, color="black", label="network")
    if min(errors.min(), guess.min()) > 0:
        axes.set_yscale("log")
    axes.set(xlabel="time step", ylabel="mean squared error", title=title)
    axes.grid(alpha=0.3)
    fig.legend(loc="outside lower center", ncols=2, frameon=False)
    _save(fig, paths)


def _pyplot() -> ModuleType:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    return pyplot


def _save(fig: Any, paths: Sequence[pathlib.Path]) -> None:
    for path in paths:
        fig.savefig(path, dpi=150)
    _pyplot().close(fig)
