"""What runs measure: labels with units, what a guess scores, and whether a run diverged."""

from collections.abc import Sequence
from typing import NamedTuple

from wna_tf.experiments import run_directory


class Measure(NamedTuple):
    """What is measured.

    Attributes:
        label: Its label, with its unit.
        factor: Its unit, in those of the runs' files.
        scale: Scale of its axis; "log" shows exponential decay as a straight line, and is linear
            near 0 where there are values on both sides of it.
        reference: The column of the norm that an angle is to; without one where it is too small.
        in_time: Whether it is drawn over learning rate times epochs, not over epochs.
    """

    label: str
    factor: float = 1
    scale: str = "linear"
    reference: str = ""
    in_time: bool = False


# A run's main result is the first of these that it has. Each with its metric and its examples.
MAIN = {
    "validation_accuracy": ("accuracy", "validation"),
    "best_validation_loss": ("loss", "validation"),
    "train_loss": ("loss", "train"),
}
# Results that are of other epochs than the last, or to be told from such.
_RESULTS = {
    "best_validation_loss": "best validation loss (of all epochs)",
    "test_loss": "test loss (last epoch)",
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
    "conservation": Measure("drift of the conserved quantity", scale="log", in_time=True),
}


def main(run: run_directory.Run) -> str:
    """Returns the name of a run's main result."""
    return next((name for name in MAIN if name in run.result), "train_loss")


def results(runs: Sequence[run_directory.Run]) -> list[str]:
    """Returns the names of the main result of runs, and of what it is on test examples."""
    name = main(runs[0])
    test = f"test_{MAIN[name][0]}"
    return [name, test] if any(test in run.result for run in runs) else [name]


def origin(name: str) -> tuple[str, str]:
    """Returns the metric of a result of `results`, and the examples that it is of."""
    split, _, metric = name.partition("_")
    return (metric, split) if split == "test" else MAIN[name]


def are_tests_validation(runs: Sequence[run_directory.Run]) -> bool:
    """Returns whether test examples are those for validation, as far as losses tell."""
    pairs = [(run.result.get("validation_loss"), run.result.get("test_loss")) for run in runs]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    return bool(known) and all(abs(a - b) <= 1e-5 * abs(b) for a, b in known)


def measure(name: str) -> Measure:
    """Returns how a result, a metric or a diagnostic is shown."""
    text = _RESULTS.get(name, name.replace("_", " "))
    if name.endswith("accuracy"):
        return Measure(f"{text} (%)", factor=100)
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


def is_finished(run: run_directory.Run) -> bool:
    """Returns whether a run has a result, and has not diverged."""
    return status(run) == "finished"


def status(run: run_directory.Run) -> str:
    """Returns "finished", "diverged", or "failed: " and why."""
    if has_failed(run):
        return f"failed: {run.result['error']}"
    # The accuracy of a network whose outputs are not numbers is a number all the same.
    losses = [value for name, value in run.result.items() if name.endswith("loss")]
    return "diverged" if None in (*losses, run.result.get(main(run))) else "finished"
