"""What a kernel says of learning: how it fits the targets, and how many directions it has."""

from typing import Any

import numpy as np


def kernel_alignment(kernel: Any, targets: Any) -> float:
    """Returns the alignment of a kernel and targets, `<K, Y Y^T> / (|K| |Y Y^T|)`.

    It is 1 for a kernel that is `Y Y^T` itself, and the cosine between the two otherwise. Source:
    Cristianini et al. (2001), "On kernel-target alignment", definitions 1 and 2.

    Args:
        kernel: A kernel of examples with themselves, [examples, examples].
        targets: Targets Y, [examples, outputs]; the mean over classes of one-hot ones is usually
            subtracted, as else all examples are alike.

    Raises:
        ValueError: If the shapes do not fit.
    """
    kernel, targets = np.asarray(kernel, "float64"), np.asarray(targets, "float64")
    if targets.ndim != 2 or kernel.shape != (len(targets),) * 2:
        raise ValueError(
            "Expected a kernel [examples, examples] and targets [examples, outputs]. "
            f"Received: shapes {kernel.shape} and {targets.shape}"
        )
    # |Y Y^T| is |Y^T Y|, which is small.
    product = np.sum(targets * (kernel @ targets))
    return float(product / (np.linalg.norm(kernel) * np.linalg.norm(targets.T @ targets)))


def effective_rank(eigenvalues: Any) -> float:
    """Returns the effective rank of a kernel: `exp(-sum_i p_i log p_i)`, `p_i = d_i / sum_j d_j`.

    It is the number of eigenvalues if these are equal, and 1 if one alone is not 0. Source: Roy and
    Vetterli (2007), "The effective rank: a measure of effective dimensionality".

    Args:
        eigenvalues: Eigenvalues d of a kernel; those that rounding has made negative count as 0.
    """
    kept = np.maximum(np.asarray(eigenvalues, "float64"), 0)
    shares = kept[kept > 0] / kept.sum()
    return float(np.exp(-np.sum(shares * np.log(shares))))
