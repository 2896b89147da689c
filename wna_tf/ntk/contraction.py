"""Products of Jacobians that are products themselves: of activities and deltas, place by place.

A kernel's Jacobian is the sum over places (pixels, steps of a sequence, uses of a shared layer) of
what is there times the delta that arrives there, `J[n, c] = sum_r p[n, r] d[n, c, r]^T`. So a part
of the tangent kernel is

    K[c, n, k, m] = sum_rs (p[n, r] . p[m, s]) (d[c, n, r] . d[k, m, s]),

computed by the Jacobians, or without them by the Gram matrices of the activities, which is cheaper
where there are few places and many weights. Source: Novak et al. (2022), "Fast finite width neural
tangent kernel", sections 3.2 (Jacobian contraction) and 3.4 (structured derivatives).
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf


class Factors(NamedTuple):
    """The factors of the Jacobians of a block of examples.

    Attributes:
        rows: What the kernel multiplies, [examples, places, fan_in].
        deltas: What arrives, [outputs, examples, places, units].
    """

    rows: tf.Tensor
    deltas: tf.Tensor


def contract(first: Factors, second: Factors, entries: int) -> tf.Tensor:
    """Returns `K[c, n, k, m]`, by the cheapest way that the memory allows.

    Args:
        first: Factors of one end, of static shapes.
        second: Factors of the other.
        entries: How many numbers an intermediate result may have.
    """
    return min(ways(first, second, entries), key=lambda way: way.cost).compute()


def merge(factors: Factors) -> Factors:
    """Returns factors whose outputs are one: their part of the kernel is the sum over those."""
    outputs, examples, places, units = factors.deltas.shape
    deltas = tf.transpose(factors.deltas, [1, 2, 0, 3])
    return Factors(factors.rows, tf.reshape(deltas, [1, examples, places, outputs * units]))


class Way(NamedTuple):
    """A way to compute a part of a kernel.

    Attributes:
        name: What it goes by.
        cost: Multiply-adds.
        compute: Does it.
    """

    name: str
    cost: int
    compute: Callable[[], tf.Tensor]


def ways(first: Factors, second: Factors, entries: int) -> list[Way]:
    """Returns the ways that there are, see `contract`."""
    n, r, fan_in = first.rows.shape
    m, s, _ = second.rows.shape
    outputs, _, _, units = first.deltas.shape
    others = second.deltas.shape[0]
    by_jacobians = fan_in * units * (outputs * n * r + others * m * s + outputs * n * others * m)
    found = [Way("jacobians", by_jacobians, lambda: _by_jacobians(first, second, entries))]
    if r == s == 1:
        cost = n * m * (fan_in + outputs * others * units)
        return [*found, Way("outer products", cost, lambda: _by_outer_products(first, second))]
    if m * s * max(r, outputs * units) <= entries:
        cost = n * m * s * (r * fan_in + r * outputs * units + outputs * others * units)
        found.append(Way("grams", cost, lambda: _by_grams(first, second)))
    return found


def _by_jacobians(first: Factors, second: Factors, entries: int) -> tf.Tensor:
    """Multiplies Jacobians, made for some units at a time."""
    fan_in, units = first.rows.shape[-1], first.deltas.shape[-1]
    examples = max(side.deltas.shape[0] * side.deltas.shape[1] for side in (first, second))
    at_a_time = max(1, min(units, entries // (examples * fan_in)))
    chunks = -(-units // at_a_time)

    def part(index: tf.Tensor | int) -> tf.Tensor:
        begin = index * at_a_time
        jacobians = [
            _flatten(tf.matmul(rows, deltas[..., begin : begin + at_a_time], transpose_a=True), 2)
            for rows, deltas in ((first,) if second is first else (first, second))
        ]
        return tf.matmul(jacobians[0], jacobians[-1], transpose_b=True)

    if chunks == 1:
        product = part(0)
    else:
        rows, columns = (side.deltas.shape[0] * side.deltas.shape[1] for side in (first, second))
        _, product = tf.while_loop(
            lambda index, _: index < chunks,
            lambda index, total: (index + 1, total + part(index)),
            (tf.constant(0), tf.zeros([rows, columns], first.deltas.dtype)),
            parallel_iterations=1,
        )
    return _unflatten(product, first, second)


def _by_outer_products(first: Factors, second: Factors) -> tf.Tensor:
    """Multiplies two Gram matrices entry by entry: there is one place."""
    gram = tf.matmul(first.rows[:, 0], second.rows[:, 0], transpose_b=True)
    deltas = [_flatten(side.deltas, 2) for side in (first, second)]
    products = _unflatten(tf.matmul(*deltas, transpose_b=True), first, second)
    return products * gram[:, tf.newaxis]


def _by_grams(first: Factors, second: Factors) -> tf.Tensor:
    """Multiplies activities first, then with the deltas of the one end, then of the other."""
    outputs, _, _, units = first.deltas.shape
    m, s, _ = second.rows.shape
    others = tf.transpose(second.deltas, [1, 0, 3, 2])  # [m, k, units, s]
    others = tf.reshape(others, [m, second.deltas.shape[0], units * s])

    def of_example(given: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        rows, deltas = given
        gram = tf.matmul(rows, second.rows, transpose_b=True)  # [m, r, s]
        carried = tf.matmul(tf.reshape(deltas, [1, outputs * units, -1]), gram)
        carried = tf.reshape(carried, [m, outputs, units * s])
        return tf.matmul(carried, others, transpose_b=True)  # [m, c, k]

    deltas = tf.transpose(first.deltas, [1, 0, 3, 2])  # [n, c, units, r]
    products = tf.map_fn(
        of_example, (first.rows, deltas), fn_output_signature=deltas.dtype, parallel_iterations=1
    )
    return tf.transpose(products, [2, 0, 3, 1])


def _flatten(tensor: tf.Tensor, axes: int) -> tf.Tensor:
    """Returns a matrix, with the first axes as one."""
    first = 1
    for size in tensor.shape[:axes]:
        first *= size
    return tf.reshape(tensor, [first, -1])


def _unflatten(product: tf.Tensor, first: Factors, second: Factors) -> tf.Tensor:
    return tf.reshape(product, [*first.deltas.shape[:2], *second.deltas.shape[:2]])
