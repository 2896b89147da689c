"""What a cache of the frozen network saves: a step of a rule with it against one without it.

    python -m benchmarks.cache --rule align_zero

On the data's own batches, without normalization, and with the papers' networks. KMNIST is made up,
with fewer images than there are. Columns: examples; GB that the cache takes; seconds to fill it;
milliseconds a step without and with it; the speed-up in wall time (median and quartiles) and in
processor time, data pipeline included.
"""

import argparse
import pathlib
import time
from typing import Any

import keras

import wna_tf
from benchmarks import cases
from benchmarks.pipeline import load
from wna_tf import caching

CASES = (
    ("digits", 1500, 64),
    ("digits", 1500, 512),
    ("kmnist", 10000, 16),
    ("kmnist", 10000, 64),
    ("kmnist", 10000, 128),
)


def measure(rule: str, name: str, size: int, width: int, steps: int, rounds: int) -> dict[str, Any]:
    """Returns the row of one data set and width."""

    def make():
        network = cases.make_network(name, width, normalize=False)
        learner = wna_tf.Learner(network, rule)
        learner.compile(keras.optimizers.SGD(1e-3), "mse", jit_compile=False)
        return learner

    data = load(name, size)
    plain, cached = make(), make()
    start = time.perf_counter()
    gigabytes = caching.choose(cached, data, gigabytes=16)
    kept = caching.keep(cached, data, gigabytes)
    filled = time.perf_counter() - start

    functions = {
        "plain": cases.stepper(plain, data.batches_from(0), steps),
        "cached": cases.stepper(cached, kept.batches_from(0), steps),
    }
    seconds, processor = cases.interleave(functions, rounds)
    low, middle, high = cases.ratios(seconds["plain"], seconds["cached"])
    return {
        "data": name,
        "width": width,
        "examples": data.sizes["train"],
        "GB": round(sum(gigabytes.values()), 3),
        "s to fill": round(filled, 2),
        "ms without": round(1e3 * cases.quartiles(seconds["plain"])[1] / steps, 2),
        "ms with": round(1e3 * cases.quartiles(seconds["cached"])[1] / steps, 2),
        "speed-up": round(middle, 2),
        "quartiles": f"{low:.2f} to {high:.2f}",
        "processor": round(cases.ratios(processor["plain"], processor["cached"])[1], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rule", default="align_zero")
    parser.add_argument("--steps", type=int, default=20, help="steps in a chunk")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=pathlib.Path, help="file to write the rows to")
    options = parser.parse_args()
    given = options.steps, options.rounds
    cases.write([measure(options.rule, *case, *given) for case in CASES], options.json)


if __name__ == "__main__":
    main()
