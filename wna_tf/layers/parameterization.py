"""How the size of a weight depends on the width: NTK or standard parameterization."""

import math

import keras

PARAMETERIZATIONS = ("ntk", "standard")


def check(parameterization: str) -> str:
    """Returns `parameterization` if it is known.

    Raises:
        ValueError: If it is none of `PARAMETERIZATIONS`.
    """
    if parameterization not in PARAMETERIZATIONS:
        raise ValueError(
            f"Expected parameterization to be one of {', '.join(PARAMETERIZATIONS)}. "
            f"Received: parameterization={parameterization!r}"
        )
    return parameterization


def kernel_initializer(parameterization: str) -> keras.initializers.Initializer:
    """Returns the initializer of a kernel: N(0, 1) for NTK, N(0, 1 / fan_in) for standard."""
    if check(parameterization) == "ntk":
        return keras.initializers.RandomNormal(stddev=1.0)
    return keras.initializers.VarianceScaling(1.0, "fan_in", "untruncated_normal")


def kernel_scale(parameterization: str, kernel_shape: tuple[int, ...]) -> float:
    """Returns the factor of the kernel in the forward pass.

    Args:
        parameterization: `"ntk"` or `"standard"`.
        kernel_shape: Shape of the kernel, output features last; fan_in is the product of the
            others.
    """
    return 1 / math.sqrt(math.prod(kernel_shape[:-1])) if check(parameterization) == "ntk" else 1.0
