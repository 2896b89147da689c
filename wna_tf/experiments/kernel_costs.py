"""What the traced kernels of a run take, before they are computed: files and time."""

import itertools
import math
from collections.abc import Sequence

import tensorflow as tf

from wna_tf.experiments import build, costs, kernel_files, kernels, plan
from wna_tf.experiments.costs import Block, Machine
from wna_tf.experiments.reporting import tables
from wna_tf.ntk import contraction, empirical
from wna_tf.ntk.contraction import Factors

_BYTES = {"float64": 8}  # Of a number, by precision; 4 in others.
# A block's values: what its affine map puts out, with bias, normalized and activated.
_VALUES = 3
# By hand, from kernels of 200 to 1,000 examples of four small networks, most within a third.
_PRODUCT = 9  # A multiplication of a kernel, whose products are small, in units of a wide one.
# In units of what starts a small operation, see `durations`.
_GRAPH = 4000  # For each affine map and each of both kernels.
_RUN = 6000  # What every run does: its model, data, outputs and files.


def describe(planned: Sequence[kernels.Planned], max_gigabytes: float) -> str:
    """Returns what would be computed, as a Markdown table: examples, outputs, files and time.

    Args:
        planned: The runs.
        max_gigabytes: Memory of a kernel's computation.
    """
    machine = costs.this_machine()
    lines = [["run", "state", "train", "test", "outputs", "files", "time"]]
    total = 0.0
    for one in planned:
        shapes = build.load_data(one.config)
        size = _BYTES.get(one.config.precision, 4) * one.train * (one.train + one.test) / 1e9
        taken = seconds(one, shapes.input_shape, shapes.output_shape, machine, max_gigabytes)
        state = kernel_files.state(one.run.directory)
        total += 0 if state == "finished" else taken
        lines.append(
            [
                one.run.directory.name,
                state,
                str(one.train),
                str(one.test),
                str(math.prod(shapes.output_shape)),
                f"{size:.2g} GB",
                plan.format_seconds(taken),
            ]
        )
    left = f"{len(planned)} runs, about {plan.format_seconds(total)} to do."
    return f"{tables.markdown(lines)}\n\n{left}"


def seconds(
    planned: kernels.Planned,
    input_shape: Sequence[int],
    output_shape: Sequence[int],
    machine: Machine,
    max_gigabytes: float,
) -> float:
    """Returns the seconds that the kernels of a run take.

    Args:
        planned: The run.
        input_shape: Shape of one input.
        output_shape: Shape of one output.
        machine: What this machine does.
        max_gigabytes: Memory of a kernel's computation.
    """
    config = planned.config
    network = costs.blocks(config, input_shape, output_shape[-1])
    outputs = math.prod(output_shape)
    sides = [(planned.train, planned.train), (planned.test, planned.train)]
    if build.normalizes(config):
        multiplications = sum(_of_columns(network, n, m, outputs) for n, m in sides)
    else:
        multiplications = sum(
            _of_blocks(network, n, m, outputs, max_gigabytes, is_symmetric=index == 0)
            for index, (n, m) in enumerate(sides)
        )
    width = min((block.units for block in network if block.is_hidden), default=machine.narrow)
    rate = machine.seconds_per_operation * (1 + machine.narrow / width)
    starts = _RUN + len(sides) * _GRAPH * len(network)
    return 2 * _PRODUCT * multiplications * rate + starts * machine.overhead


def _of_columns(network: Sequence[Block], n: int, m: int, outputs: int) -> int:
    """Returns the multiplications of passes, for each output of each example of a batch of m.

    Back through that batch for the weights' update, which takes two passes, and forward through the
    batch of n after it, which takes two more.
    """
    once = sum(block.multiplications for block in network)
    return m * outputs * (2 * m + 2 * n) * once


def _of_blocks(
    network: Sequence[Block],
    n: int,
    m: int,
    outputs: int,
    max_gigabytes: float,
    is_symmetric: bool,
) -> int:
    """Returns the multiplications of blocks: of products, and of passes to both ends of each."""
    activity = sum(_VALUES * block.activity for block in network)
    measured = empirical.Measured(
        outputs=outputs,
        dtype=tf.float32,
        once=activity + max(block.positions * block.fan_in for block in network),
        for_each_output=activity + sum(block.activity for block in network),
        is_coupled=False,
    )
    size, entries, _ = empirical.fit(measured, max(n, m), "trace", max_gigabytes)
    rows, columns = math.ceil(n / size), math.ceil(m / size)
    pairs = [(i, j) for i, j in itertools.product(range(rows), range(columns))]
    computed = sum(i <= j for i, j in pairs) if is_symmetric else len(pairs)
    ends = 1 if is_symmetric and len(pairs) == 1 else 2
    passes = (1 + outputs) * ends * size * sum(block.multiplications for block in network)
    return computed * (passes + sum(_product(block, size, outputs, entries) for block in network))


def _product(block: Block, size: int, outputs: int, entries: int) -> int:
    """Returns the multiplications of a layer's part of the traced kernel, of two blocks."""
    rows = tf.TensorSpec([size, block.positions, block.fan_in])
    deltas = tf.TensorSpec([1, size, block.positions, outputs * block.units])
    factors = Factors(rows, deltas)
    return min(way.cost for way in contraction.ways(factors, factors, entries))
