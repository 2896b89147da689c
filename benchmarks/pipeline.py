"""Whether the input pipeline holds up a step: batches of a data set against one batch repeated.

    python -m benchmarks.pipeline

The smallest network that the papers train on each data set, so the shortest step. CIFAR-10 and
KMNIST are made up: as many images, of the same shapes, through the same pipeline.
"""

import argparse
import pathlib
from typing import Any

import numpy as np

import wna_tf
from benchmarks import cases
from wna_tf.datasets import memory, pipeline

# Data set, number of examples and width.
CASES = (("digits", 1500, 64), ("kmnist", 60000, 8), ("cifar10", 50000, 8))


def load(name: str, size: int) -> wna_tf.datasets.Data:
    """Returns a data set, made up unless it needs no files."""
    if name == "digits":
        return wna_tf.datasets.load(name)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (size, *wna_tf.datasets.shapes(name)[0]), dtype="uint8")
    source = memory.image_source(images, rng.integers(0, 10, size), 10)
    return pipeline.split(pipeline.Examples(source, source), 100, min(5000, size // 10))


def measure(name: str, size: int, width: int, steps: int, rounds: int) -> dict[str, Any]:
    """Returns milliseconds a step with the data, with one batch, and the ratio of the two."""
    model = cases.make_model("align_ada", name, width)
    data = load(name, size).batches_from(0)
    one = cases.repeat(next(iter(data)), -1)
    runs = {
        name: cases.stepper(model, batches, steps)
        for name, batches in {"one batch": one, "data": data}.items()
    }
    seconds, _ = cases.interleave(runs, rounds)
    low, middle, high = cases.ratios(seconds["data"], seconds["one batch"])
    return {
        "data": name,
        "width": width,
        "ms, one batch": round(1e3 * cases.quartiles(seconds["one batch"])[1] / steps, 2),
        "ms, data": round(1e3 * cases.quartiles(seconds["data"])[1] / steps, 2),
        "ratio": round(middle, 3),
        "quartiles": f"{low:.3f} to {high:.3f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20, help="steps in a chunk")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=pathlib.Path, help="file to write the rows to")
    options = parser.parse_args()
    rows = [measure(*case, options.steps, options.rounds) for case in CASES]
    cases.write(rows, options.json)


if __name__ == "__main__":
    main()
