"""Seconds a step of each rule, against plain Keras and against its products alone.

    python -m benchmarks.rules --network cifar10 --widths 32 128 --rounds 9
    python -m benchmarks.rules --network digits kmnist --widths 32 128 --csv docs/rules/cost.csv

In each round every rule takes one chunk of steps as `fit` does, plain Keras first: a ratio is
taken within a round, so that it holds when the machine's speed drifts. Direct feedback does not fit
networks with an output for each step (`--network add`, `--network gpt`). Columns: milliseconds a
step (median); examples a second; its ratio to `keras.Model.fit` on the same network (median and
quartiles); the ratio of processor time, which holds where cores are shared with others; the ratio
to the limit, the same convolutions and matrix products alone, timed in the same rounds.
"""

import argparse
import itertools
import pathlib
import statistics
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

import wna_tf
from benchmarks import cases
from wna_tf import files
from wna_tf.experiments import costs
from wna_tf.graph.jvp import transpose_jvp
from wna_tf.graph.operators import Affine
from wna_tf.graph.recurrence import Recurrence
from wna_tf.graph.tracing import trace


def make_limit(network: str, width: int, batch_size: int, rule: str) -> Callable | None:
    """Returns a function that runs the products of a rule's step alone; None for recurrences."""
    program = trace(cases.make_network(network, width))
    steps = program.affine_maps
    if any(isinstance(step, Recurrence) for step in steps):
        return None
    work = costs.passes(rule)

    def draw(place):
        return tf.random.normal((batch_size, *program.shapes[place.index][1:]))

    products: list[Callable] = []
    for index, step in enumerate(steps):
        is_first, is_last = index == 0, index == len(steps) - 1
        x, delta = draw(step.inputs[0]), draw(step.outputs[0])
        forward = work.forward - (work.forward > 2 and is_first)
        # Inputs of their own, or TensorFlow would take equal products for one.
        forward += round(work.further)
        products += [_forward(step, draw(step.inputs[0])) for _ in range(forward)]
        if work.carried and not is_first:
            products.append(_carry(step, x, delta))
        if work.learned or is_last:
            products.append(_learn(step, x, delta))
    return tf.function(lambda: [product() for product in products], autograph=False)


def _forward(step: Affine, x: tf.Tensor) -> Callable:
    return lambda: step.linear(x, step.kernel.value)


def _carry(step: Affine, x: tf.Tensor, delta: tf.Tensor) -> Callable:
    return lambda: transpose_jvp(lambda x: step.linear(x, step.kernel.value), x, delta)


def _learn(step: Affine, x: tf.Tensor, delta: tf.Tensor) -> Callable:
    kernel = tf.convert_to_tensor(step.kernel)
    return lambda: transpose_jvp(lambda kernel: step.linear(x, kernel), kernel, delta)


def measure(
    network: str,
    width: int,
    batch_size: int,
    steps: int,
    rounds: int,
    rules: Sequence[str],
    jit_compile: bool,
) -> list[dict[str, Any]]:
    """Returns a row for plain Keras and for each rule."""
    data = cases.repeat(cases.make_batch(network, batch_size), -1)
    functions, limits = {}, {}
    plain = [cases.PLAIN] if network in cases.TRANSFORMERS else [cases.PLAIN, cases.UNFUSED]
    for rule in [*plain, *rules]:
        # Plain Keras without XLA: what both are compared with.
        model = cases.make_model(rule, network, width, jit_compile and rule in rules)
        functions[rule] = cases.stepper(model, data, steps)
        # Limits of rules with the same passes are the same.
        passes = costs.passes(rule if rule in rules else "backprop")
        limits[rule] = f"limit of {passes}"
        if limits[rule] not in functions:
            limit = make_limit(network, width, batch_size, rule if rule in rules else "backprop")
            if limit:
                functions[limits[rule]] = lambda limit=limit: [limit() for _ in range(steps)]
    seconds, processor = cases.interleave(functions, rounds)
    rows = []
    for rule, limit in limits.items():
        low, middle, high = cases.ratios(seconds[rule], seconds[cases.PLAIN])
        median = statistics.median(seconds[rule]) / steps
        to_limit = cases.ratios(processor[rule], processor[limit]) if limit in processor else None
        rows.append(
            {
                "network": network,
                "width": width,
                "rule": rule,
                "ms a step": round(1e3 * median, 1),
                "examples/s": round(batch_size / median),
                "ratio": round(middle, 2),
                "quartiles": f"{low:.2f} to {high:.2f}",
                "processor": round(cases.ratios(processor[rule], processor[cases.PLAIN])[1], 2),
                "to the limit": round(to_limit[1], 2) if to_limit else None,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=cases.NETWORKS, nargs="+", default=["cifar10"])
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--batch_size", type=int, default=100)
    parser.add_argument("--steps", type=int, default=2, help="steps in a chunk")
    parser.add_argument("--rounds", type=int, default=9, help="chunks of each rule")
    parser.add_argument("--rules", nargs="+", default=list(wna_tf.rules.names()))
    parser.add_argument("--jit_compile", action="store_true", help="let XLA compile the rules")
    parser.add_argument("--json", type=pathlib.Path, help="file to write the rows to")
    parser.add_argument("--csv", type=pathlib.Path, help="file to write the rows to")
    options = parser.parse_args()
    rows = []
    for network, width in itertools.product(options.network, options.widths):
        rows += measure(
            network,
            width,
            options.batch_size,
            options.steps,
            options.rounds,
            options.rules,
            options.jit_compile,
        )
    cases.write(rows, options.json)
    if options.csv:
        files.write_rows(options.csv, rows)


if __name__ == "__main__":
    main()
