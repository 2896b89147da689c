"""What a fresh process takes: seconds from its start to its first step, and peak memory.

    python -m benchmarks.fresh --network cifar10 --widths 64

Each rule in a process of its own. Columns: seconds until the library is imported, until the model
is built, and until the first step is done, tracing included; MB at the peak of some steps beside
those after the import, and what `wna_tf.experiments.costs` predicts.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import sys
import time
from typing import Any

# In the first line of a fresh process, before any import that takes time.
CHILD = "import time; START = time.time(); from benchmarks import fresh; fresh.child(START, {!r})"


def child(start: float, arguments: tuple[str, str, int, int]) -> None:
    """Takes some steps, and prints when each stage was done, and the memory."""
    from benchmarks import cases

    rule, network, width, batch_size = arguments
    x, y = cases.make_batch(network, batch_size)
    seconds, before = [time.time() - start], _peak()
    model = cases.make_model(rule, network, width)
    seconds.append(time.time() - start)
    model.train_on_batch(x, y)
    seconds.append(time.time() - start)
    for _ in range(3):
        model.train_on_batch(x, y)
    print(json.dumps([*seconds, _peak() - before]))


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3  # MB


def measure(rule: str, network: str, width: int, batch_size: int) -> dict[str, Any]:
    """Returns the row of one rule."""
    from benchmarks import cases
    from wna_tf.experiments import costs

    command = [sys.executable, "-c", CHILD.format((rule, network, width, batch_size))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported, built, stepped, megabytes = json.loads(done.stdout.splitlines()[-1])
    predicted = costs.cost(
        "backprop" if rule == cases.PLAIN else rule,
        cases.blocks(network, width),
        batch_size,
    )
    return {
        "network": network,
        "width": width,
        "rule": rule,
        "imported": round(imported, 1),
        "built": round(built, 1),
        "first step": round(stepped, 1),
        "MB": round(megabytes),
        "predicted MB": round(predicted.memory / 1e6),
    }


def main() -> None:
    from benchmarks import cases

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=cases.NETWORKS, default="cifar10")
    parser.add_argument("--widths", type=int, nargs="+", default=[64])
    parser.add_argument("--batch_size", type=int, default=100)
    parser.add_argument(
        "--rules",
        nargs="+",
        default=[cases.PLAIN, "backprop", "align_zero", "align_ada", "readout", "linearized"],
    )
    parser.add_argument("--json", type=pathlib.Path, help="file to write the rows to")
    options = parser.parse_args()
    cases.write(
        [
            measure(rule, options.network, width, options.batch_size)
            for width in options.widths
            for rule in options.rules
        ],
        options.json,
    )


if __name__ == "__main__":
    main()
