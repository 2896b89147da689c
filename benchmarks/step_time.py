"""Seconds a step of each rule, against `keras.Model.fit` on the same network in one process.

    python -m benchmarks.step_time --widths 32 128 --repeats 15

Every rule takes one chunk of steps in turn, plain Keras first in each round; a ratio is taken
within a round, so that it holds when the machine's speed drifts. Medians, and quartiles of the
ratio. The ratio of processor time is there for machines whose cores are shared with others.
"""

import argparse
import json
import pathlib
import statistics
import time

import keras
import numpy as np
import tensorflow as tf

import wna_tf

NETWORKS = {
    "cifar10": {"input_shape": (32, 32, 3), "strides": (1, 1, 1, 2, 1, 2, 1)},
    "kmnist": {"input_shape": (28, 28, 1), "strides": (1, 2, 2)},
}
PLAIN = "keras.Model.fit"


def make_model(rule: str, network: str, width: int) -> keras.Model:
    """Returns a compiled learner, or the plain network."""
    keras.utils.set_random_seed(0)
    model = wna_tf.models.cnn(num_classes=10, width=width, **NETWORKS[network])
    if rule != PLAIN:
        model = wna_tf.Learner(model, rule)
    model.compile(keras.optimizers.SGD(1.0), "mse", metrics=["accuracy"], jit_compile=False)
    return model


def measure(
    network: str, width: int, batch_size: int, steps: int, repeats: int, rules: list[str]
) -> list[dict[str, float | str]]:
    """Returns a row for each rule: median seconds a step, and its ratio to plain Keras."""
    rng = np.random.default_rng(0)
    x = rng.random((batch_size, *NETWORKS[network]["input_shape"]), dtype="float32")
    y = np.eye(10, dtype="float32")[rng.integers(0, 10, batch_size)] - 0.1
    batch = tf.data.Dataset.from_tensors((x, y)).repeat(steps).prefetch(2)
    models = {rule: make_model(rule, network, width) for rule in [PLAIN, *rules]}
    seconds: dict[str, list[float]] = {rule: [] for rule in models}
    processor: dict[str, list[float]] = {rule: [] for rule in models}
    for repeat in range(repeats + 1):
        for rule, model in models.items():
            start, start_processor = time.perf_counter(), time.process_time()
            model.fit(batch, verbose=0, shuffle=False)
            if repeat:  # The first round traces.
                seconds[rule].append((time.perf_counter() - start) / steps)
                processor[rule].append((time.process_time() - start_processor) / steps)
    rows = []
    for rule, values in seconds.items():
        low, middle, high = _ratios(values, seconds[PLAIN])
        rows.append(
            {
                "network": network,
                "width": width,
                "rule": rule,
                "milliseconds": round(1e3 * statistics.median(values), 1),
                "ratio": round(middle, 3),
                "ratio_low": round(low, 3),
                "ratio_high": round(high, 3),
                "processor_ratio": round(_ratios(processor[rule], processor[PLAIN])[1], 3),
            }
        )
    return rows


def _ratios(values: list[float], plain: list[float]) -> list[float]:
    """Returns the quartiles of the ratio of two times, taken round by round."""
    ratios = [a / b for a, b in zip(values, plain, strict=True)]
    return statistics.quantiles(ratios, n=4, method="inclusive")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=NETWORKS, default="cifar10")
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--batch_size", type=int, default=100)
    parser.add_argument("--steps", type=int, default=3, help="steps in a chunk")
    parser.add_argument("--repeats", type=int, default=9, help="chunks of each rule")
    parser.add_argument("--rules", nargs="+", default=list(wna_tf.rules.names()))
    parser.add_argument("--json", type=pathlib.Path, help="file to write the rows to")
    options = parser.parse_args()
    rows = []
    print("| network | width | rule | ms a step | ratio | quartiles | ratio of processor time |")
    print("|---|---|---|---|---|---|---|")
    for width in options.widths:
        for row in measure(
            options.network,
            width,
            options.batch_size,
            options.steps,
            options.repeats,
            options.rules,
        ):
            rows.append(row)
            print(
                f"| {row['network']} | {row['width']} | {row['rule']} | {row['milliseconds']} "
                f"| {row['ratio']:.2f} | {row['ratio_low']:.2f} to {row['ratio_high']:.2f} "
                f"| {row['processor_ratio']:.2f} |",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
