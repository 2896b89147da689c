"""Callbacks: what happens beside the training of a run."""

import inspect
from collections.abc import Sequence

from wna_tf import serialization
from wna_tf.callbacks.alignment_score import AlignmentScore
from wna_tf.callbacks.conservation import Conservation
from wna_tf.callbacks.diagnostic import BatchDiagnostic, Diagnostic, Sizes
from wna_tf.callbacks.divergence import Divergence
from wna_tf.callbacks.feedback_angle import FeedbackAngle
from wna_tf.callbacks.history import HistoryFile
from wna_tf.callbacks.kernel_change import KernelChange
from wna_tf.callbacks.linearization_gap import LinearizationGap
from wna_tf.callbacks.progress import Progress
from wna_tf.callbacks.ridge import RidgeUntil
from wna_tf.callbacks.tensorboard import TensorBoard, check_tensorboard

__all__ = [
    "AlignmentScore",
    "BatchDiagnostic",
    "Conservation",
    "Diagnostic",
    "Divergence",
    "FeedbackAngle",
    "HistoryFile",
    "KernelChange",
    "LinearizationGap",
    "Progress",
    "RidgeUntil",
    "Sizes",
    "TensorBoard",
    "check_diagnostics",
    "check_tensorboard",
    "get",
    "names",
    "register",
]

_TABLE: serialization.Table[type[Diagnostic]] = serialization.Table(
    "a diagnostic",
    "diagnostics",
    {
        "alignment_score": AlignmentScore,
        "conservation": Conservation,
        "feedback_angle": FeedbackAngle,
        "kernel_change": KernelChange,
        "linearization_gap": LinearizationGap,
    },
)


def names() -> tuple[str, ...]:
    """Returns the name of every diagnostic."""
    return _TABLE.names()


def get(name: str) -> type[Diagnostic]:
    """Returns the class of a diagnostic.

    Args:
        name: One of `names()`.

    Raises:
        ValueError: If the name is unknown; the message lists the names.
    """
    return _TABLE.get(name)


def register(name: str, diagnostic: type[Diagnostic]) -> None:
    """Adds a diagnostic, which runs measure with `--diagnostics=NAME`.

    Args:
        name: Its name: letters, digits, "_", "-" and ".".
        diagnostic: A class of `Diagnostic`, made without arguments, or of `BatchDiagnostic`, made
            with a batch to look at.

    Raises:
        ValueError: If it is none, or has no `columns`, or the name is that of another one.
    """
    is_kind = inspect.isclass(diagnostic) and issubclass(diagnostic, Diagnostic)
    if not is_kind or inspect.isabstract(diagnostic) or not hasattr(diagnostic, "columns"):
        raise ValueError(
            "Expected a class of Diagnostic or BatchDiagnostic with its method and its columns. "
            f"Received: {diagnostic!r}"
        )
    _TABLE.register(name, diagnostic)


def check_diagnostics(names: Sequence[str]) -> None:
    """Checks names of diagnostics.

    Args:
        names: Names of diagnostics.

    Raises:
        ValueError: If one is unknown or there twice; the message lists the names.
    """
    for name in names:
        get(name)
    if len(set(names)) < len(names):
        raise ValueError(
            f"Expected each of the diagnostics once. Received: diagnostics={','.join(names)!r}"
        )
