"""Of many cases, those that every run of the tests tries; the others are slow."""

from collections.abc import Collection, Iterable
from typing import Any

import pytest

from wna_tf import rules

# One of each way to come by feedback weights, and of each network that a rule looks at.
FAMILIES = (
    "backprop",
    "align_zero",
    "align_ada",
    "kolen_pollack",
    "weight_mirror",
    "direct_feedback_alignment",
    "direct_kolen_pollack",
    "linearized",
)


def sample(cases: Iterable[Any], tried: Collection[Any] | None = None) -> list:
    """Returns cases as parameters of a test.

    Args:
        cases: All of them.
        tried: Those that are not slow; every third, if it is not said.
    """
    cases = list(cases)
    chosen = cases[::3] if tried is None else tried
    return [pytest.param(c, marks=[pytest.mark.slow] * (c not in chosen)) for c in cases]


def rule_families() -> list:
    """Returns all rules as parameters of a test; those of a family that is tried are slow."""
    return sample(rules.names(), FAMILIES)
