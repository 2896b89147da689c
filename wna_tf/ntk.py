"""Neural tangent kernels of networks, and the training that they predict."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from wna_tf.credit import reverse_mode
from wna_tf.graph.forward_pass import Networks
from wna_tf.graph.operators import Affine, Delta, Map, Updates
from wna_tf.graph.tracing import trace


def empirical_ntk(model: keras.Model, x1: Any, x2: Any = None) -> tf.Tensor:
    """Returns the empirical neural tangent kernel `J(x1) J(x2)^T`, exactly.

    At a learner's initial weights, or a network's current ones, for all trainable variables;
    layers are in inference mode, but normalizations use the statistics of each batch. The kernel
    is summed variable by variable. Where a kernel is a matrix that multiplies rows (patches of an
    image, steps of a sequence, uses of a shared layer), its part is the product of the rows' and
    the deltas' Gram matrices, or of Jacobians if that is cheaper; any other variable's is of
    Jacobians, example by example. That takes a reverse pass for each output. Where examples of a
    batch depend on each other, by batch statistics, it takes one for each output of each example
    of `x2`, with a tangent pushed forward after it, and no Jacobian is made.
    Source: Jacot et al. (2018).

    Args:
        model: A `Learner`, or a network that one takes.
        x1: Inputs, [examples1, ...].
        x2: Inputs, [examples2, ...]; None for `x1`.

    Returns:
        The kernel, [examples1, outputs, examples2, outputs]; outputs of several axes as one.

    Raises:
        ValueError: If the network has several outputs, or is none that a `Learner` takes.
    """
    first = _networks(model, x1)
    if len(first.program.outputs) != 1:
        raise ValueError(
            "Expected a network with one output. "
            f"Received: {len(first.program.outputs)} outputs of {model.name!r}"
        )
    second = first if x2 is None else first.at(first.program.signature.standardize(x2))
    sides = [first] if x2 is None else [first, second]
    if any(_couples_examples(networks) for networks in sides):
        return _kernel_by_columns(first, second)
    return _kernel_by_variables([_Jacobians(networks) for networks in sides])


def _networks(model: keras.Model, x: Any) -> Networks:
    if hasattr(model, "evaluate_networks"):
        return model.evaluate_networks(x, training=False)
    program = trace(model).for_jacobians
    weights = {key: tf.convert_to_tensor(v.value) for key, v in program.variables.items()}
    trained = [id(variable) for variable in model.trainable_variables]
    return Networks(program, program.signature.standardize(x), weights, weights, trained)


def _kernels(networks: Networks) -> dict[Map, tf.Tensor]:
    """Returns the initial kernels, which carry deltas."""
    initial = networks.weights["initial"]
    return {step: initial[id(step.kernel)] for step in networks.program.affine_maps}


def _walk_back(
    networks: Networks, error: tf.Tensor
) -> Iterator[tuple[Map, list[Delta | None], Updates]]:
    at = networks["initial"]
    (place,) = networks.program.outputs
    return reverse_mode.walk_back(
        networks.program, _kernels(networks), at, at, [(place, error)], networks.trained
    )


def _one_hots(output: tf.Tensor) -> list[tf.Tensor]:
    """Returns, for each output of an example, the error that is 1 there in every example."""
    size = int(np.prod(output.shape[1:]))
    basis = tf.reshape(tf.eye(size, dtype=output.dtype), [size, 1, *output.shape[1:]])
    return [tf.broadcast_to(basis[index], output.shape) for index in range(size)]


def _couples_examples(networks: Networks) -> bool:
    """Returns whether an error of some examples leads to deltas of others."""
    (output,) = networks["initial"].outputs
    examples = output.shape[0]
    is_even = np.arange(examples) % 2 == 0
    error = np.random.default_rng(0).normal(size=output.shape)
    error[~is_even] = 0
    for _, received, _ in _walk_back(networks, tf.constant(error, output.dtype)):
        for delta in received:
            # An axis that is not that of the examples says nothing of them.
            if delta is not None and (
                delta.for_weights.shape[0] != examples
                or np.any(delta.for_weights.numpy()[~is_even])
            ):
                return True
    return False


def _kernel_by_columns(first: Networks, second: Networks) -> tf.Tensor:
    """Returns the kernel from products of its columns: a reverse pass, then a forward one."""
    (output,) = second["initial"].outputs

    @tf.function(autograph=False)
    def column(error: tf.Tensor) -> tf.Tensor:
        there, here = (networks.at(networks.inputs) for networks in (second, first))
        walk = _walk_back(there, error)
        updates = reverse_mode.collect((step, updates) for step, _, updates in walk)
        tangents = {key: updates[key] for key in first.trained if key in updates}
        (pushed,), (like,) = here["initial"].push(tangents), here["initial"].outputs
        pushed = tf.zeros_like(like) if pushed is None else pushed
        return tf.reshape(pushed, [pushed.shape[0], -1])

    size = int(np.prod(output.shape))
    basis = tf.reshape(tf.eye(size, dtype=output.dtype), [size, *output.shape])
    columns = tf.stack([column(error) for error in basis], -1)
    return tf.reshape(columns, [*columns.shape[:2], output.shape[0], -1])


class _Jacobians:
    """Jacobians of a network whose examples do not depend on each other, variable by variable."""

    def __init__(self, networks: Networks):
        self.networks = networks
        self.kernels = _kernels(networks)
        (output,) = networks["initial"].outputs
        self.examples = output.shape[0]
        self.received: dict[Map, list[Sequence[Delta | None]]] = {}
        for error in _one_hots(output):
            for step, received, _ in _walk_back(networks, error):
                self.received.setdefault(step, []).append(received)

    def uses(self, key: int) -> list[tuple[Map, int]]:
        """Returns the maps that use a variable, with its position among their weights."""
        return [
            (step, index)
            for step in self.received
            for index, variable in enumerate(step.weights)
            if id(variable) == key
        ]

    def factors(self, uses: Sequence[tuple[Affine, int]]) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the two factors of a variable's Jacobian, which products alone use.

        Args:
            uses: What `uses` returns.

        Returns:
            What it multiplies, [examples, rows, fan_in], and the deltas, [examples, outputs, rows,
            units].
        """
        rows, deltas = [], []
        for step, index in uses:
            record = self.networks["initial"].records[step]
            products = [
                step.as_rows(step.carry(record, received, self.kernels[step])[1])
                for received in self.received[step]
            ]
            deltas.append(tf.cast(tf.stack(products, 1), step.kernel.dtype))
            presynaptic = tf.cast(step.rows(record), step.kernel.dtype)
            rows.append(tf.ones_like(presynaptic[..., :1]) if index else presynaptic)
        return tf.concat(rows, 1), tf.concat(deltas, 2)

    def jacobian(self, key: int) -> tf.Tensor:
        """Returns a variable's Jacobian, [examples, outputs, size of the variable]."""
        return tf.add_n([self._of_use(step, index) for step, index in self.uses(key)])

    def _of_use(self, step: Map, index: int) -> tf.Tensor:
        record = self.networks["initial"].records[step]
        mask = np.eye(self.examples)

        def only(delta: Delta | None, example: int) -> Delta | None:
            if delta is None:
                return None
            shape = [-1, *[1] * (delta.for_weights.shape.rank - 1)]
            masked = delta.for_weights * tf.cast(
                tf.reshape(mask[example], shape), delta.for_weights.dtype
            )
            return Delta(masked, masked)

        return tf.stack(
            [
                [
                    tf.reshape(
                        step.transpose(
                            record,
                            record,
                            [only(delta, example) for delta in received],
                            self.kernels.get(step),
                        )[1][index],
                        [-1],
                    )
                    for received in self.received[step]
                ]
                for example in range(self.examples)
            ]
        )


def _kernel_by_variables(sides: list[_Jacobians]) -> tf.Tensor:
    """Returns the kernel from Jacobians, of one variable at a time; one side stands for both."""
    parts = []
    for key in sides[0].networks.trained:
        uses = sides[0].uses(key)
        if not uses:
            continue
        products = [
            (step, index) for step, index in uses if isinstance(step, Affine) and step.is_product
        ]
        if len(products) == len(uses):
            factors = [side.factors(products) for side in sides]
            parts.append(_multiply_factors(factors[0], factors[-1]))
        else:
            jacobians = [side.jacobian(key) for side in sides]
            parts.append(tf.einsum("ncp,mkp->ncmk", jacobians[0], jacobians[-1]))
    return tf.add_n(parts)


def _multiply_factors(
    first: tuple[tf.Tensor, tf.Tensor], second: tuple[tf.Tensor, tf.Tensor]
) -> tf.Tensor:
    """Returns the part of the kernel of Jacobians that are products of two factors each."""
    (p1, d1), (p2, d2) = first, second
    (n, r, fan_in), (m, s, _) = p1.shape, p2.shape
    outputs, units = d1.shape[1], d1.shape[-1]
    by_grams = n * m * r * s * (fan_in + outputs**2 * units)
    by_jacobians = outputs * fan_in * units * (n * r + m * s + n * m * outputs)
    if by_grams < by_jacobians:
        return tf.stack(
            [  # For one example after the other, since the deltas' Gram matrix is large.
                tf.einsum("rms,crmks->cmk", gram, tf.einsum("cru,mksu->crmks", d, d2))
                for gram, d in zip(tf.einsum("nrf,msf->nrms", p1, p2), d1, strict=True)
            ]
        )
    return tf.einsum(
        "ncfu,mkfu->ncmk",
        tf.einsum("nrf,ncru->ncfu", p1, d1),
        tf.einsum("nrf,ncru->ncfu", p2, d2),
    )


def predict_outputs(
    kernel: Any, initial: Any, targets: Any, learning_rate: float, steps: int
) -> np.ndarray:
    """Predicts a linearized network's outputs while it trains on one batch by SGD.

    With the mean squared error, `f(t) - y = (I - 2 rate / (N C) K)^t (f(0) - y)`.

    Args:
        kernel: The empirical neural tangent kernel `K`, [examples, outputs, examples, outputs].
        initial: Outputs `f(0)` at initialization, [examples, outputs].
        targets: Targets `y`, [examples, outputs].
        learning_rate: Learning rate of SGD without momentum.
        steps: Number of steps.

    Returns:
        The outputs before every step and after the last one, [steps + 1, examples, outputs].

    Raises:
        ValueError: If the shapes do not fit.
    """
    kernel, initial, targets = (np.asarray(a, "float64") for a in (kernel, initial, targets))
    if not kernel.shape == initial.shape * 2 == targets.shape * 2:
        raise ValueError(
            "Expected a kernel [examples, outputs, examples, outputs] and outputs and targets "
            f"[examples, outputs]. Received: shapes {kernel.shape}, {initial.shape} and "
            f"{targets.shape}"
        )
    size = initial.size
    values, vectors = np.linalg.eigh(kernel.reshape(size, size))
    factors = (1 - 2 * learning_rate / size * values) ** np.arange(steps + 1)[:, None]
    residuals = (factors * (vectors.T @ (initial - targets).ravel())) @ vectors.T
    return targets + residuals.reshape(steps + 1, *initial.shape)


def predict_losses(
    kernel: Any, initial: Any, targets: Any, learning_rate: float, steps: int
) -> np.ndarray:
    """Predicts the mean squared error along `predict_outputs`, [steps + 1].

    Args:
        kernel: As for `predict_outputs`.
        initial: As for `predict_outputs`.
        targets: As for `predict_outputs`.
        learning_rate: As for `predict_outputs`.
        steps: As for `predict_outputs`.
    """
    predicted = predict_outputs(kernel, initial, targets, learning_rate, steps)
    return np.mean((predicted - np.asarray(targets)) ** 2, axis=(1, 2))
