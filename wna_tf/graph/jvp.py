"""Jacobian-vector products of functions, forward and transposed."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import tensorflow as tf

from wna_tf import internals

internals.keep_tangents_exact()

Tangent: TypeAlias = tf.Tensor | None
"""A tangent; None is zero."""


def transpose_jvp(
    function: Callable[[tf.Tensor], tf.Tensor], like: tf.Tensor, delta: tf.Tensor
) -> tf.Tensor:
    """Transposes the Jacobian-vector product of a linear function.

    The product is a forward accumulator's; since the transpose does not need its value, it is
    written into the graph but never computed. It is taken at zero, being the same everywhere: XLA
    takes the values at which it is taken for constants, and would compile every step anew.

    Args:
        function: The function, which may have a constant term.
        like: A tensor of the shape of its argument.
        delta: What to apply the transpose to, of the shape of the function's value.

    Returns:
        A tensor of the shape of the argument.
    """
    primal, tangent = (
        tf.ensure_shape(tf.zeros(tf.shape(like), like.dtype), like.shape) for _ in range(2)
    )
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(tangent)
        with tf.autodiff.ForwardAccumulator(primal, tangent) as accumulator:
            value = function(primal)
        product = accumulator.jvp(value)
    return tape.gradient(
        product,
        tangent,
        output_gradients=delta,
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )


def push_through(
    tape: tf.GradientTape,
    primals: Sequence[tf.Tensor],
    outputs: Sequence[tf.Tensor],
    tangents: Sequence[Tangent],
) -> list[Tangent]:
    """Returns a Jacobian-vector product, as the transpose of the transpose that a tape gives.

    The inner transpose is linear, so its value is written into the graph but never computed. In
    contrast to a forward accumulator it runs the function no second time, with other random
    numbers, and takes the derivatives that the transpose takes.

    Args:
        tape: The tape that recorded `outputs` as a function of `primals`.
        primals: Where the Jacobian is taken.
        outputs: The function's values.
        tangents: The tangents of the primals; None where there is none.

    Returns:
        The tangents of the outputs; None where there is none.
    """
    used = [(p, t) for p, t in zip(primals, tangents, strict=True) if t is not None]
    differentiable = [output for output in outputs if output.dtype.is_floating]
    if not used or not differentiable:
        return [None] * len(outputs)
    points, directions = zip(*used, strict=True)
    cotangents = [tf.zeros_like(output) for output in differentiable]
    with tf.GradientTape(watch_accessed_variables=False) as outer:
        outer.watch(cotangents)
        pulled = [
            None if delta is None else tf.convert_to_tensor(delta)  # An embedding's are slices.
            for delta in tape.gradient(differentiable, list(points), output_gradients=cotangents)
        ]
    pairs = [(p, d) for p, d in zip(pulled, directions, strict=True) if p is not None]
    if not pairs:
        return [None] * len(outputs)
    reached, directions = zip(*pairs, strict=True)
    pushed = iter(outer.gradient(list(reached), cotangents, output_gradients=list(directions)))
    return [next(pushed) if output.dtype.is_floating else None for output in outputs]
