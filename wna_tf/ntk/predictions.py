"""The training that a kernel predicts: linearized networks with the mean squared error.

For residuals `f - y` of all outputs of all training examples and a kernel `K`, a weight's change is
`J^T` of their history, so that everything is decided eigenvalue by eigenvalue: outputs on any
examples are

    f(t) = f(0) + K(x, train) V g_t(D) V^T (f(0) - y),    K(train, train) = V D V^T,

with a function `g_t` for each way of training. Source: Lee et al. (2019), "Wide neural networks of
any depth evolve as linear models", equations 8 to 11.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np


class Predictor:
    """Predicts linearized networks that are trained on one batch with the mean squared error.

    Args:
        kernel: The empirical neural tangent kernel of the training examples with themselves,
            [examples, outputs, examples, outputs], or [examples, examples] for the same kernel of
            every output.
        initial: Their outputs at initialization, [examples, outputs].
        targets: Their targets, [examples, outputs].

    Raises:
        ValueError: If the shapes do not fit, or the kernel is not symmetric.
    """

    def __init__(self, kernel: Any, initial: Any, targets: Any):
        kernel, initial, targets = (np.asarray(a, "float64") for a in (kernel, initial, targets))
        fits = kernel.shape in (initial.shape * 2, initial.shape[:1] * 2)
        if initial.ndim != 2 or targets.shape != initial.shape or not fits:
            raise ValueError(
                "Expected a kernel [examples, outputs, examples, outputs] or [examples, examples], "
                "and outputs and targets [examples, outputs]. "
                f"Received: shapes {kernel.shape}, {initial.shape} and {targets.shape}"
            )
        self._initial = initial
        self._is_full = kernel.ndim == 4
        matrix = self._as_matrix(kernel)
        if not np.allclose(matrix, matrix.T, rtol=1e-4, atol=1e-5 * np.abs(matrix).max()):
            raise ValueError("Expected a symmetric kernel. Received: one that is not")
        # Of the loss, whose gradient by the outputs is 2 (f - y) / (examples * outputs).
        self._scale = 2 / initial.size
        self.eigenvalues, self._vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        self._coordinates = self._vectors.T @ self._as_columns(initial - targets)

    def descend(
        self,
        learning_rate: float,
        steps: int,
        momentum: float = 0.0,
        kernel: Any = None,
        initial: Any = None,
    ) -> np.ndarray:
        """Predicts gradient descent, exactly.

        Args:
            learning_rate: Learning rate of SGD.
            steps: Number of steps on the whole batch.
            momentum: Momentum of SGD, as Keras has it, without Nesterov's.
            kernel: The kernel of other examples with the training examples, of the form of that;
                None to predict the training examples themselves.
            initial: Outputs of the other examples at initialization, [others, outputs].

        Returns:
            The outputs before every step and after the last one, [steps + 1, examples, outputs].

        Raises:
            ValueError: If the shapes do not fit.
        """
        slopes = self._scale * self.eigenvalues
        growth, velocity = np.zeros((2, len(slopes)))
        rows = [growth]
        for _ in range(steps):
            velocity = momentum * velocity - learning_rate * (1 + slopes * growth)
            growth = growth + velocity
            rows.append(growth)
        return self._outputs(self._scale * np.array(rows), kernel, initial)

    def flow(self, times: Sequence[float], kernel: Any = None, initial: Any = None) -> np.ndarray:
        """Predicts gradient flow, exactly.

        Args:
            times: Times: learning rate times steps of a descent that is as good as it.
            kernel: As in `descend`.
            initial: As in `descend`.

        Returns:
            The outputs at these times, [times, examples, outputs].

        Raises:
            ValueError: If the shapes do not fit.
        """
        exponents = -np.multiply.outer(np.asarray(times, "float64"), self._scale * self.eigenvalues)
        # (exp(-t d) - 1) / d, which is -t at 0.
        safe = np.where(exponents == 0, 1, exponents)
        ratios = np.where(exponents == 0, 1, np.expm1(safe) / safe)
        growths = -self._scale * np.asarray(times)[:, np.newaxis] * ratios
        return self._outputs(growths, kernel, initial)

    def regress(self, ridge: float = 0.0, kernel: Any = None, initial: Any = None) -> np.ndarray:
        """Predicts the end of training: kernel regression `f(0) + K (K + ridge)^-1 (y - f(0))`.

        Args:
            ridge: Added to every eigenvalue of the kernel. If it is 0, directions whose eigenvalue
                is 0 to rounding are left as they are, as training leaves them.
            kernel: As in `descend`.
            initial: As in `descend`.

        Returns:
            The outputs, [examples, outputs].

        Raises:
            ValueError: If the shapes do not fit.
        """
        shifted = self.eigenvalues + ridge
        is_zero = shifted <= np.finfo("float32").eps * np.abs(self.eigenvalues).max()
        growth = np.where(is_zero, 0, -1 / np.where(is_zero, 1, shifted))
        return self._outputs(growth[np.newaxis], kernel, initial)[0]

    def _outputs(self, growths: np.ndarray, kernel: Any, initial: Any) -> np.ndarray:
        """Returns outputs for functions of the eigenvalues, [times, eigenvalues]."""
        if (kernel is None) != (initial is None):
            raise ValueError("Expected both kernel and initial of other examples. Received: one")
        if kernel is None:
            base = self._initial
            basis = self._vectors * self.eigenvalues
        else:
            base, kernel = np.asarray(initial, "float64"), np.asarray(kernel, "float64")
            behind = self._initial.shape[1:] if self._is_full else ()
            expected = (len(base), *behind, len(self._initial), *behind)
            if base.shape[1:] != self._initial.shape[1:] or kernel.shape != expected:
                raise ValueError(
                    f"Expected a kernel {expected} and outputs [others, "
                    f"{self._initial.shape[1]}] of other examples. "
                    f"Received: shapes {kernel.shape} and {base.shape}"
                )
            basis = self._as_matrix(kernel) @ self._vectors
        changes = np.stack(
            [basis @ (growth[:, np.newaxis] * self._coordinates) for growth in growths]
        )
        return base + changes.reshape(len(growths), *base.shape)

    def _as_matrix(self, kernel: np.ndarray) -> np.ndarray:
        return kernel.reshape(-1, self._initial.size) if self._is_full else kernel

    def _as_columns(self, outputs: np.ndarray) -> np.ndarray:
        return outputs.reshape(-1, 1) if self._is_full else outputs


def predict_outputs(
    kernel: Any, initial: Any, targets: Any, learning_rate: float, steps: int
) -> np.ndarray:
    """Predicts a linearized network's outputs while it trains on one batch by SGD.

    Args:
        kernel: The empirical neural tangent kernel, see `Predictor`.
        initial: Outputs at initialization, [examples, outputs].
        targets: Targets, [examples, outputs].
        learning_rate: Learning rate of SGD without momentum.
        steps: Number of steps.

    Returns:
        The outputs before every step and after the last one, [steps + 1, examples, outputs].

    Raises:
        ValueError: If the shapes do not fit.
    """
    return Predictor(kernel, initial, targets).descend(learning_rate, steps)


def predict_losses(
    kernel: Any, initial: Any, targets: Any, learning_rate: float, steps: int
) -> np.ndarray:
    """Predicts the mean squared error along `predict_outputs`, [steps + 1].

    Args:
        kernel: As in `predict_outputs`.
        initial: As in `predict_outputs`.
        targets: As in `predict_outputs`.
        learning_rate: As in `predict_outputs`.
        steps: As in `predict_outputs`.
    """
    predicted = predict_outputs(kernel, initial, targets, learning_rate, steps)
    return np.mean((predicted - np.asarray(targets)) ** 2, axis=(1, 2))
