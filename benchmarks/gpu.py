"""Rules on GPUs: their updates against the processor's, on all GPUs at once, and their times.

    python -m benchmarks.gpu --rounds 9

Tables for the documentation go to standard output and, as JSON, to `build/bench/gpu_*.json`.
Columns of the first: the distance of an update from the processor's, to its norm, in float32; the
distance of the weights after some steps on one GPU from those on all of them, to their change.
Of the others, see `benchmarks.rules`, without XLA and with it.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

import wna_tf
from benchmarks import cases, rules
from wna_tf.experiments import strategies

DIRECTORY = pathlib.Path("build/bench")
STEPS = 5


def flat(tensors: Sequence[tf.Tensor]) -> np.ndarray:
    """Returns the numbers of some tensors in one row."""
    return np.concatenate([np.ravel(np.asarray(tensor, "float64")) for tensor in tensors])


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Returns the norm of a difference to that of the first."""
    return float(np.linalg.norm(one - other) / np.linalg.norm(one))


def update(rule: str, network: str, width: int, batch_size: int, device: str) -> np.ndarray:
    """Returns the first update of a rule, as a device computes it."""
    with tf.device(device):
        learner = wna_tf.Learner(cases.make_network(network, width, normalize=False), rule)
        learner.compile(keras.optimizers.SGD(0.1), "mse")
        batch = map(tf.constant, cases.make_batch(network, batch_size))
        return flat(tf.function(learner.updates)(*batch))


def change(
    rule: str, network: str, width: int, batch_size: int, strategy: tf.distribute.Strategy
) -> np.ndarray:
    """Returns what some steps under a strategy make of the weights."""
    with strategy.scope():
        learner = wna_tf.Learner(cases.make_network(network, width, normalize=False), rule)
        learner.compile(keras.optimizers.SGD(0.01), "mse")
    before = flat(learner.network.trainable_variables)
    batches = cases.repeat(cases.make_batch(network, batch_size), STEPS)
    learner.fit(batches, steps_per_epoch=STEPS, verbose=0)
    return flat(learner.network.trainable_variables) - before


def compare(
    names: Sequence[str], network: str, width: int, batch_size: int, devices: Sequence[str]
) -> list[dict[str, object]]:
    """Returns a row for each rule: how far GPUs are from the processor, and one from all."""
    rows = []
    for rule in names:
        given = rule, network, width, batch_size
        row = {"network": network, "width": width, "rule": rule}
        row["GPU to processor"] = (
            f"{distance(update(*given, 'CPU:0'), update(*given, devices[0])):.1e}"
        )
        if devices[1:]:
            one = change(*given, tf.distribute.OneDeviceStrategy(devices[0]))
            every = change(*given, strategies.get("mirrored"))
            row[f"1 to {len(devices)} GPUs"] = f"{distance(one, every):.1e}"
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10, help="steps in a chunk")
    parser.add_argument("--rounds", type=int, default=9, help="chunks of each rule")
    parser.add_argument("--rules", nargs="+", default=list(wna_tf.rules.names()))
    options = parser.parse_args()
    gpus = [f"GPU:{index}" for index, _ in enumerate(tf.config.list_physical_devices("GPU"))]
    if not gpus:
        print("Expected a GPU that TensorFlow sees. Received: none", file=sys.stderr)
        sys.exit(2)
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    rows = [
        row
        for network in ("digits", "kmnist")
        for row in compare(options.rules, network, 32, options.batch_size, gpus)
    ]
    cases.write(rows, DIRECTORY / "gpu_updates.json")
    for jit_compile in (False, True):
        timed = [
            row
            for network in ("cifar10", "kmnist")
            for width in options.widths
            for row in rules.measure(
                network,
                width,
                options.batch_size,
                options.steps,
                options.rounds,
                options.rules,
                jit_compile,
            )
        ]
        cases.write(timed, DIRECTORY / f"gpu_rules{'_xla' * jit_compile}.json")


if __name__ == "__main__":
    main()
