"""What a step costs, before it is run: arithmetic, memory traffic, time and memory.

The time of a step is that of its products (two operations for each multiplication, at the rate at
which this machine convolves), of the passes that normalization and activation make over activity,
of those that products make over kernels, and of starting operations. The rates are measured by
`measure_machine`, in a second. The memory is that of the activity that the reverse pass needs, of
what is under way in the largest block, and of the weights.
"""

import dataclasses
import functools
import inspect
import math
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import NamedTuple

import keras
import tensorflow as tf

from wna_tf import models, rules
from wna_tf.experiments import build
from wna_tf.experiments.config import Config
from wna_tf.feedback import Direct
from wna_tf.graph.operators import Activation, Affine, Local, Normalization
from wna_tf.graph.program import Program
from wna_tf.graph.recurrence import Recurrence
from wna_tf.graph.tracing import trace
from wna_tf.layers.normalization import normalize
from wna_tf.measures import kernel_input_shape

_FLOAT = 4  # Bytes.
# Reads and writes of an activity: a normalization reads twice and writes once, an activation does
# each once; back a normalization reads twice two tensors and writes, an activation reads two.
_FORWARD, _BACK = {True: 5, False: 2}, {True: 8, False: 3}
_GRAPHS = 40e6  # Bytes that TensorFlow takes for the graphs of a step.

# By least squares from 115 steps of the networks of benchmarks/ on two cores (docs/performance.md).
_PRODUCT = 0.9  # A product in a step, in units of one alone.
_PASS = 1.65  # A pass over activity in a step, in units of one alone, whose memory is warm.
_KERNEL, _KERNEL_BACK = 2.5, 10  # Passes over a kernel for its product, and for its transpose's.
# In the loop over steps of small networks, in units of a product of one number: by hand, from 18
# steps of the networks of the small flagfiles, most within a third.
_BLOCK = 0.12  # What a block starts in a pass.
_NORMALIZATION, _FUSED = 0.4, 4.5  # What a normalization starts in a pass: of features, of images.
_LOOP, _LOOP_BACK = 0.2, 0.35  # What one turn of a loop over time starts, forward and back.
# Small operations that are timed at a time: more would hardly ever be left alone by other work.
_AT_A_TIME = 20
_STEP = 2  # What loss, metrics and optimizer start.


class Block(NamedTuple):
    """An affine map and what follows it, for one example.

    Attributes:
        positions: Rows that the kernel multiplies: places of an image, steps of a sequence.
        fan_in: Inputs of one unit.
        units: Outputs at each position.
        is_hidden: Whether normalization or activation follow.
        normalizes: Whether a normalization follows.
        takes_inputs: Whether nothing below it learns, so that it is sent neither delta nor tangent.
        is_last: Whether no other block is between it and an output.
        turns: Turns of its loop over time, if it is a recurrence.
        inputs: Size of what its kernel multiplies, in a turn.
    """

    positions: int
    fan_in: int
    units: int
    is_hidden: bool = False
    normalizes: bool = False
    takes_inputs: bool = False
    is_last: bool = False
    turns: int = 1
    inputs: int = 0

    @property
    def activity(self) -> int:
        """Number of outputs."""
        return self.positions * self.units

    @property
    def multiplications(self) -> int:
        """Multiplications of a forward pass."""
        return self.activity * self.fan_in


class Passes(NamedTuple):
    """How often a step of a rule runs the products of each block.

    Attributes:
        forward: Products with kernels or their tangents in forward passes.
        carried: Whether a delta is carried through every block but the first.
        learned: Whether every kernel learns; the last one always does.
        further: Products that feedback weights are learned by.
    """

    forward: int
    carried: bool
    learned: bool
    further: float


class Machine(NamedTuple):
    """What this machine does.

    Attributes:
        seconds_per_operation: Seconds of one operation of a wide product.
        narrow: Width at which a product takes twice as long for each operation.
        bandwidth: Bytes a second of normalization, over reads and writes as counted here.
        overhead: Seconds to start a product of one number, and to read it.
    """

    seconds_per_operation: float
    narrow: float
    bandwidth: float
    overhead: float


class Cost(NamedTuple):
    """What a step costs.

    Attributes:
        operations: Additions and multiplications of its products.
        traffic: Bytes that normalization and activation read and write.
        kernels: Bytes of kernels that products read, with what it takes to transpose them.
        starts: Starts of operations, in units of a product of one number.
        memory: Bytes, beside those of a process that has but loaded TensorFlow.
    """

    operations: int
    traffic: int
    kernels: float
    starts: float
    memory: int


def blocks(config: Config, input_shape: Sequence[int], num_outputs: int) -> list[Block]:
    """Returns the blocks of the network of a configuration.

    Args:
        config: The configuration.
        input_shape: Shape of one example.
        num_outputs: Number of outputs; of each time step, in sequences.

    Raises:
        ValueError: If the configuration does not make such a network.
    """
    taken = inspect.signature(models.get(config.model)).parameters
    fields = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name in taken
    }
    same = Config(model=config.model, **fields)
    return list(_read_blocks(same, tuple(input_shape), num_outputs))


@functools.cache
def _read_blocks(
    config: Config, input_shape: tuple[int, ...], num_outputs: int
) -> tuple[Block, ...]:
    def read() -> tuple[Block, ...]:
        with keras.StatelessScope(initialize_variables=False):  # Wide weights fill the memory.
            return tuple(read_blocks(trace(build.network(config, input_shape, num_outputs))))

    # Keras would make these weights with the next network of the same thread.
    with futures.ThreadPoolExecutor(1) as other:
        return other.submit(read).result()


def read_blocks(program: Program) -> list[Block]:
    """Returns the blocks of a network.

    Args:
        program: The network. What every output takes is counted at its fan-in: for a transposed
            convolution with strides that is more than it computes.

    Raises:
        ValueError: If a shape, that of the batch excepted, is not known.
    """
    return [_read_block(program, step) for step in program.affine_maps]


def _read_block(program: Program, step: Affine) -> Block:
    _, *shape = program.shapes[step.outputs[0].index]
    sizes = [size for size in shape if size is not None]
    if len(sizes) < len(shape):
        raise ValueError(
            "Expected a network whose sizes are known, but for the batch. "
            f"Received: {shape} of {step.name!r}"
        )
    shape_of_input = program.shapes[step.inputs[0].index]
    units, is_recurrence = step.units, isinstance(step, Recurrence)
    following = _following(program, step)
    return Block(
        sizes[0] if is_recurrence else math.prod(sizes) // units,
        math.prod(step.kernel.shape) // units,
        units,
        is_hidden=is_recurrence or bool(following),
        normalizes=any(isinstance(local, Normalization) for local in following),
        takes_inputs=program.above(program.variables).isdisjoint(step.inputs),
        is_last=step in program.last_affine_maps,
        turns=sizes[0] if is_recurrence else 1,
        inputs=math.prod(size or 1 for size in kernel_input_shape(step, shape_of_input)),
    )


def _following(program: Program, step: Affine) -> list[Local]:
    """Returns the normalizations and activations that an affine map's output goes through."""
    following: list[Local] = []
    value, *_ = step.outputs
    while True:
        users = [user for user in program.maps if value in user.inputs]
        if len(users) != 1 or not isinstance(users[0], Normalization | Activation):
            return following
        following.append(users[0])
        (value,) = users[0].outputs


def passes(rule: str | dict | rules.Rule) -> Passes:
    """Returns how often a step of a rule runs the products of each block."""
    rule = rules.get(rule)
    networks = 1 + rule.runs_frozen
    tangents = 2 if rule.error == "linearized" else 0
    feedback = rule.feedback
    return Passes(networks + tangents, feedback.carries, feedback.reaches, feedback.products)


def cost(rule: str | dict | rules.Rule, network: Sequence[Block], batch_size: int) -> Cost:
    """Returns what a step of a rule costs.

    Args:
        rule: The rule.
        network: Its blocks.
        batch_size: Examples a step, on one replica.
    """
    work = passes(rule)
    is_linearized = work.forward > 2
    hidden = [block for block in network if block.is_hidden]
    products, kernels, starts = 0.0, 0.0, float(_STEP)
    for block in network:
        forward = work.forward - (is_linearized and block.takes_inputs)
        carried = work.carried and not block.takes_inputs
        learned = work.learned or block.is_last
        made = forward + carried + learned + work.further
        products += made * block.multiplications
        passes_over = _KERNEL * (forward + work.further) + _KERNEL_BACK * carried
        kernels += _FLOAT * block.fan_in * block.units * block.turns * passes_over
        starts += _BLOCK * made
        if block.normalizes:
            normalized = work.forward + work.learned - is_linearized
            starts += normalized * (_FUSED if block.positions > 1 else _NORMALIZATION)
        if block.turns > 1:
            starts += block.turns * (_LOOP * forward + _LOOP_BACK * carried)
    # A pushed tangent takes what a delta takes.
    tangents = 2 * is_linearized
    networks = work.forward - tangents
    back = work.learned + is_linearized
    activity = sum(block.activity for block in hidden)
    over = sum(
        block.activity * (networks * _FORWARD[block.normalizes] + back * _BACK[block.normalizes])
        for block in hidden
    )
    kept = len({rules.get(rule).derivative, rules.get(rule).activity}) if work.learned else 0
    # Beside what is kept, the peak holds what is under way in the largest block: two tensors, one
    # of each network that is not kept, one of the reverse pass, two of each tangent.
    under_way = 2 + (networks - kept) + work.learned + 2 * tangents
    largest = max((block.activity for block in hidden), default=0)
    weights = sum(block.fan_in * block.units for block in network)
    if isinstance(rules.get(rule).feedback, Direct):
        outputs = sum(block.units for block in network if block.is_last)
        weights += activity * outputs // 4  # Its projections, which take no updates.
    stored = kept * sum((1 + block.normalizes) * block.activity for block in hidden)
    tensors = batch_size * (stored + under_way * largest) + 4 * weights
    return Cost(
        round(2 * batch_size * products),
        _FLOAT * batch_size * over,
        kernels,
        starts,
        int(_FLOAT * tensors + _GRAPHS),
    )


def seconds(
    rule: str | dict | rules.Rule,
    network: Sequence[Block],
    batch_size: int,
    machine: Machine,
) -> float:
    """Returns the seconds that a step of a rule takes on a machine; arguments as of `cost`."""
    costs = cost(rule, network, batch_size)
    width = min((block.units for block in network if block.is_hidden), default=machine.narrow)
    slower = 1 + machine.narrow / width
    return (
        _PRODUCT * costs.operations * machine.seconds_per_operation * slower
        + (_PASS * costs.traffic + costs.kernels) / machine.bandwidth
        + costs.starts * machine.overhead
    )


def estimate(config: Config, machine: Machine) -> tuple[float, int] | None:
    """Returns the seconds and the bytes of a step of a run; None if they are not known."""
    shapes = build.dataset(config).shapes
    if shapes is None or config.credit != "reverse":
        return None
    input_shape, target_shape = shapes
    network = blocks(config, input_shape, target_shape[-1])
    given = config.rule, network, config.batch_size
    return seconds(*given, machine), cost(*given).memory


@functools.cache
def this_machine() -> Machine:
    """Returns what this machine does, measured when a process first asks."""
    return measure_machine()


def measure_machine(
    widths: tuple[int, int] = (32, 128),
    rounds: int = 30,
    clock: Callable[[], float] = time.perf_counter,
) -> Machine:
    """Measures what this machine does, in a second.

    Args:
        widths: Two widths at which it convolves.
        rounds: How often; the shortest time counts, which others disturb least.
        clock: Returns seconds; with `time.process_time` rates are those of processor time.
    """
    seconds_per_operation = [_time_convolution(width, rounds, clock) for width in widths]
    (small, large), (low, high) = widths, seconds_per_operation
    # low = wide (1 + narrow / small), high = wide (1 + narrow / large).
    slope = max(low - high, 0) / (1 / small - 1 / large)
    wide = max(high - slope / large, high / 2)
    x = tf.random.normal((50, 32, 32, 64))
    pass_over = tf.function(lambda x: tf.nn.relu(normalize(x, 1e-6)[0]), autograph=False)
    bandwidth = (
        _FORWARD[True] * _FLOAT * 50 * 32 * 32 * 64 / _time(lambda: pass_over(x), rounds, clock)
    )
    return Machine(wide, slope / wide, bandwidth, _time_small_operation(rounds, clock))


def _time_small_operation(rounds: int, clock: Callable) -> float:
    """Returns the seconds around a small operation, which is all that it takes."""
    y = tf.zeros((1, 1))
    start = tf.function(lambda y: [tf.matmul(y + n, y) for n in range(_AT_A_TIME)], autograph=False)
    return _time(lambda: start(y), rounds * 100 // _AT_A_TIME, clock) / _AT_A_TIME


def _time_convolution(width: int, rounds: int, clock: Callable) -> float:
    """Returns the seconds of one operation of a convolution."""
    side = round(16 * (128 / width) ** 0.5)
    x, kernel = tf.random.normal((50, side, side, width)), tf.random.normal((3, 3, width, width))
    convolve = tf.function(lambda: tf.nn.conv2d(x, kernel, 1, "SAME"), autograph=False)
    return _time(convolve, rounds, clock) / (2 * 50 * side**2 * 9 * width**2)


def _time(function: Callable, rounds: int, clock: Callable) -> float:
    """Returns the least seconds of a call, after one that traces."""
    taken = []
    for number in range(rounds + 1):
        start = clock()
        tf.nest.map_structure(lambda tensor: tensor[:1].numpy(), function())
        if number:
            taken.append(clock() - start)
    return min(taken)
