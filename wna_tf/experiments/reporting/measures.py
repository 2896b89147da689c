"""What runs measure: labels with units, what a guess scores, and whether a run diverged."""

from typing import NamedTuple

from wna_tf.experiments import run_directory


class Measure(NamedTuple):
    """What is measured.

    Attributes:
        label: Its label, with its unit.
        factor: Its unit, in those of the runs' files.
        form: How a number is written in a table.
        scale: Scale of its axis; "log" shows exponential decay as a straight line, and is linear
            near 0 where there are values on both sides of it.
        reference: The column of the norm that an angle is to; without one where it is too small.
    """

    label: str
    factor: float = 1
    form: str = ".4g"
    scale: str = "linear"
    reference: str = ""


# A run's main result is the first of these that it has. Each with its metric and its examples.
MAIN = {
    "validation_accuracy": ("accuracy", "validation"),
    "best_validation_loss": ("loss", "validation"),
    "train_loss": ("loss", "train"),
}
_DIAGNOSTICS = {
    "alignment_score": Measure("alignment score (cosine)"),
    "feedback_angle": Measure("feedback angle (degrees)"),
    "update_angle": Measure("update angle (degrees)", reference="gradient_norm"),
    "gradient_norm": Measure("gradient norm (of the initial one)", scale="log"),
    "network_update_angle": Measure(
        "update angle of all weights (degrees)", reference="network_gradient_norm"
    ),
    "network_gradient_norm": Measure("norm of all gradients (of the initial one)", scale="log"),
    "kernel_change": Measure("change of the tangent kernel (of the initial one)"),
    "label_alignment": Measure("label alignment of the tangent kernel (cosine)"),
    "conservation": Measure("drift of the conserved quantity", scale="log"),
}


def main(run: run_directory.Run) -> str:
    """Returns the name of a run's main result."""
    return next((name for name in MAIN if name in run.result), "train_loss")


def measure(name: str) -> Measure:
    """Returns how a result, a metric or a diagnostic is shown."""
    text = name.replace("_", " ")
    if name.endswith("accuracy"):
        return Measure(f"{text} (%)", factor=100, form=".1f")
    if name.endswith("loss"):
        return Measure(text, scale="log")
    return _DIAGNOSTICS.get(name, Measure(text))


def chance(run: run_directory.Run, metric: str, series: str) -> float | None:
    """Returns what a guess scores on train or validation examples, if the run knows it."""
    levels = run.result.get("chance", {})
    return levels.get(f"{series}_{metric}", levels.get(metric))


def has_failed(run: run_directory.Run) -> bool:
    """Returns whether all that a run has for a result is why it failed."""
    return run.result.keys() == {"error"}


def status(run: run_directory.Run) -> str:
    """Returns "finished", "diverged", or "failed: " and why."""
    if has_failed(run):
        return f"failed: {run.result['error']}"
    # The accuracy of a network whose outputs are not numbers is a number all the same.
    losses = [value for name, value in run.result.items() if name.endswith("loss")]
    return "diverged" if None in (*losses, run.result.get(main(run))) else "finished"
