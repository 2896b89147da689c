"""Step time against width, batch size and replicas, and what `wna_tf.experiments.costs` predicts.

    python -m benchmarks.scaling --rules backprop align_zero

Columns: milliseconds a step (median); milliseconds of processor time, the least of the rounds,
which others disturb least; its prediction, with the rates of the machine as measured just before.
Below: slopes of log time against log width and batch size beside those of the arithmetic, and weak
scaling: a step of two replicas on two logical devices with twice the batch, against a step of one,
each on its share of the cores.
"""

import argparse
import math
import pathlib
import subprocess
import sys
import time
from typing import Any

from benchmarks import cases
from wna_tf.experiments import costs

_CHUNK = 0.2  # Seconds of steps that are timed together.


def measure(
    network: str, rule: str, width: int, batch_size: int, rounds: int, machine: costs.Machine
) -> dict[str, Any]:
    """Returns the row of one rule at one width and batch size."""
    model = cases.make_model(rule, network, width)
    data = cases.repeat(cases.make_batch(network, batch_size), -1)
    step = cases.stepper(model, data, 1)
    step()
    start = time.perf_counter()
    step()
    steps = math.ceil(_CHUNK / (time.perf_counter() - start))
    seconds, processor = cases.interleave({rule: cases.stepper(model, data, steps)}, rounds)
    given = rule, cases.blocks(network, width), batch_size
    return {
        "network": network,
        "rule": rule,
        "width": width,
        "batch": batch_size,
        "ms": round(1e3 * cases.quartiles(seconds[rule])[1] / steps, 1),
        "processor ms": round(1e3 * min(processor[rule]) / steps, 1),
        "predicted ms": round(1e3 * costs.seconds(*given, machine), 1),
        "operations": costs.cost(*given).operations,
    }


def slopes(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the slope of log time, by rule, against width and against batch size."""
    found = []
    for rule in dict.fromkeys(row["rule"] for row in rows):
        for axis, other in (("width", "batch"), ("batch", "width")):
            mine = [row for row in rows if row["rule"] == rule]
            common = max({r[other] for r in mine}, key=[r[other] for r in mine].count)
            line = [row for row in mine if row[other] == common]
            x = [row[axis] for row in line]
            found.append(
                {"rule": rule, "against": axis, other: common}
                | {
                    key: round(cases.slope(x, [row[key] for row in line]), 2)
                    for key in ("ms", "processor ms", "predicted ms", "operations")
                }
            )
    return found


REPLICAS = """
import sys
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
tf.config.threading.set_intra_op_parallelism_threads(1)
from benchmarks import cases
models = {}
for replicas in (1, 2):
    devices = [f"CPU:{index}" for index in range(replicas)]
    with tf.distribute.MirroredStrategy(devices).scope():
        model = cases.make_model("align_ada", "kmnist", 32)
    data = cases.repeat(cases.make_batch("kmnist", 50 * replicas), 4)
    models[replicas] = lambda model=model, data=data: model.fit(data, verbose=0, shuffle=False)
seconds, _ = cases.interleave(models, 9)
print(*cases.ratios(seconds[2], seconds[1]))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=cases.NETWORKS, default="cifar10")
    parser.add_argument("--rules", nargs="+", default=["backprop", "align_zero"])
    parser.add_argument("--widths", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--batch_sizes", type=int, nargs="+", default=[25, 50])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=pathlib.Path, help="file to write the rows to")
    options = parser.parse_args()
    sizes = [(width, 100) for width in options.widths]
    sizes += [(options.widths[0], batch_size) for batch_size in options.batch_sizes]
    rows = []
    for width, batch_size in sizes:
        for rule in options.rules:
            machine = costs.measure_machine(clock=time.process_time)
            given = options.network, rule, width, batch_size, options.rounds
            rows.append(measure(*given, machine))
    cases.write(rows, options.json)
    print()
    cases.write(slopes(rows), None)
    command = [sys.executable, "-c", REPLICAS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    low, middle, high = map(float, done.stdout.splitlines()[-1].split())
    print(f"\nWeak scaling, 1 to 2 replicas: {middle:.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
