"""Callbacks: what happens beside the training of a run."""

from collections.abc import Sequence

from wna_tf.callbacks.alignment_score import AlignmentScore
from wna_tf.callbacks.conservation import Conservation
from wna_tf.callbacks.diagnostic import BatchDiagnostic, Diagnostic
from wna_tf.callbacks.divergence import Divergence
from wna_tf.callbacks.feedback_angle import FeedbackAngle
from wna_tf.callbacks.history import HistoryFile
from wna_tf.callbacks.linearization_gap import LinearizationGap
from wna_tf.callbacks.progress import Progress
from wna_tf.callbacks.ridge import RidgeUntil
from wna_tf.callbacks.tensorboard import TensorBoard, check_tensorboard

__all__ = [
    "DIAGNOSTICS",
    "AlignmentScore",
    "BatchDiagnostic",
    "Conservation",
    "Diagnostic",
    "Divergence",
    "FeedbackAngle",
    "HistoryFile",
    "LinearizationGap",
    "Progress",
    "RidgeUntil",
    "TensorBoard",
    "check_diagnostics",
    "check_tensorboard",
]

DIAGNOSTICS: dict[str, type[Diagnostic]] = {
    "alignment_score": AlignmentScore,
    "conservation": Conservation,
    "feedback_angle": FeedbackAngle,
    "linearization_gap": LinearizationGap,
}


def check_diagnostics(names: Sequence[str]) -> None:
    """Checks names of diagnostics.

    Raises:
        ValueError: If one is unknown or there twice; the message lists the names.
    """
    if not set(names) <= set(DIAGNOSTICS) or len(set(names)) < len(names):
        raise ValueError(
            f"Expected diagnostics to be some of {', '.join(DIAGNOSTICS)}. "
            f"Received: diagnostics={','.join(names)!r}"
        )
