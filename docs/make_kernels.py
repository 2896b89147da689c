"""Draws `docs/kernel_kmnist.png`: kernel regression and its prediction beside training.

    python -m docs.make_kernels checkpoints/kernel_kmnist

The runs and their kernels are those of the commands in `docs/kernels.md`.
"""

import pathlib
import sys

import matplotlib
from matplotlib.figure import Figure

from wna_tf.experiments import kernel_files, run_directory
from wna_tf.experiments.reporting import styles

PATH = pathlib.Path(__file__).with_name("kernel_kmnist.png")
RULES = ("linearized", "align_zero", "backprop")


def draw(directory: pathlib.Path, path: pathlib.Path) -> None:
    """Draws the figure.

    Args:
        directory: Runs of these rules, with their kernels.
        path: File of the figure.
    """
    runs = {run.config["rule"]: run for run in run_directory.read_runs(directory)}
    known = {rule: kernel_files.read(runs[rule].directory) for rule in RULES}
    rows = known["linearized"].prediction
    record = known["linearized"].record
    with matplotlib.rc_context(styles.SETTINGS):
        figure = Figure(figsize=(10, 4), layout="constrained")
        left, right = figure.subplots(1, 2)
        for index, rule in enumerate(RULES):
            style = {"color": styles.COLOURS[index], "linestyle": styles.DASHES[index]}
            own = known[rule].prediction[1:]
            epochs = [row["epoch"] for row in own]
            left.plot(epochs, [row["trained_train_loss"] for row in own], label=rule, **style)
            accuracy = [100 * row["trained_validation_accuracy"] for row in own]
            right.plot(epochs, accuracy, label=rule, **style)
        style = {"color": styles.GREY, "linewidth": 2.5, "alpha": 0.7, "zorder": 0}
        epochs = [row["epoch"] for row in rows]
        left.plot(epochs, [row["predicted_train_loss"] for row in rows], **style)
        accuracy = [100 * row["predicted_test_accuracy"] for row in rows]
        right.plot(epochs, accuracy, label="predicted by the kernel", **style)
        level = 100 * record["regression_test_accuracy"]
        style = {"color": styles.GREY, "linestyle": (0, (1, 1))}
        right.axhline(level, label=f"kernel regression, t = ∞ ({level:.0f}%)", **style)
        left.set(xlabel="epoch", ylabel="train loss (mean squared error)")
        right.set(xlabel="epoch", ylabel="accuracy on other examples (%)", ylim=(0, None))
        figure.suptitle(
            "KMNIST: kernel regression and its prediction curve beside training by "
            "linearized, align_zero and backprop"
        )
        styles.draw_legend(figure)
        figure.savefig(path, dpi=120, metadata=styles.METADATA["png"])


if __name__ == "__main__":
    draw(pathlib.Path(sys.argv[1]), PATH)
