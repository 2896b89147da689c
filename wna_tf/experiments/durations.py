"""How long a run takes, of which its steps are a part: those of small networks a small one.

What Python and Keras take is told in units of what this machine takes around a small operation
(`costs.Machine.overhead`), from short runs of the small flagfiles' networks (docs/performance.md).
"""

import dataclasses
import math
from collections.abc import Sequence

from wna_tf import callbacks
from wna_tf.callbacks import Sizes
from wna_tf.experiments import build, costs, executors, reuse
from wna_tf.experiments.config import Config, Setup

_START = 36000  # A process, until the library is imported.
_FIGURE = 8000  # A figure of the report, in all its forms.
_BUILD = 3200  # For each affine map: a learner, and the graphs of its steps.
_RUN = 1900  # What every run does: data, weights anew, graphs that are its own, files.
_EPOCH = 78  # Callbacks and the history.
_EVALUATION = 48  # An evaluation, beside its batches.
_DIAGNOSTIC, _MEASUREMENT = 350, 10  # A diagnostic, and what it measures, each epoch.
_PASSES = 2500  # For each affine map: the graph of a diagnostic that passes through the network.
_CHECKPOINT = 300  # A checkpoint, beside its bytes.
_DISK = 5e8  # Bytes that are written in a second.
_FORWARD = "readout"  # The rule whose steps are a forward pass, all but the head's update.
_DIAGNOSED = 0.75  # A forward pass of a diagnostic, in units of such a step.
_SETUP = Setup()


def parts(
    config: Config, machine: costs.Machine, setup: Setup = _SETUP, is_first: bool = True
) -> dict[str, float] | None:
    """Returns the seconds of each part of a run; None if they are not known.

    Args:
        config: The run.
        machine: What it is trained on.
        setup: How it is trained.
        is_first: Whether its process has no learner of its kind yet (see `reuse`).
    """
    shapes = build.dataset(config).shapes
    if shapes is None or config.credit != "reverse":
        return None
    input_shape, target_shape = shapes
    blocks = costs.blocks(config, input_shape, target_shape[-1])
    rule, batches = build.rule(config), build.batches(config)
    steps, batch_size = config.epochs * batches.steps, batches.size
    step = costs.seconds(rule, blocks, batch_size, machine)
    forward = costs.seconds(_FORWARD, blocks, batch_size, machine)
    validation, test = _batches(config, batch_size)
    diagnostics = [callbacks.get(name) for name in config.diagnostics]
    checkpoints = (steps - 1) // setup.checkpoint_every
    weights = 4 * sum(block.fan_in * block.units for block in blocks)
    sizes = [_sizes(block) for block in blocks]
    each_epoch = [diagnostic.passes(sizes, batch_size) for diagnostic in diagnostics]
    each_step = [diagnostic.passes_a_step for diagnostic in diagnostics]
    # Those that pass through the network, not over the weights alone.
    passing = sum(map(bool, map(max, each_epoch, each_step)))
    starts = {
        "build": _BUILD * len(blocks) * is_first,
        "run": _RUN,
        "steps": _EPOCH * config.epochs,
        "evaluation": _EVALUATION * (config.epochs * bool(validation) + 1),
        "diagnostics": len(diagnostics) * (_DIAGNOSTIC + _MEASUREMENT * config.epochs)
        + _PASSES * len(blocks) * passing,
        "checkpoints": _CHECKPOINT * checkpoints,
    }
    measured = config.epochs * sum(each_epoch) + steps * sum(each_step)
    work = {
        "steps": steps * step,
        "evaluation": forward * (config.epochs * validation + test),
        "diagnostics": _DIAGNOSED * forward * measured,
        "checkpoints": weights * (checkpoints + 1) / _DISK,
    }
    return {part: machine.overhead * n + work.get(part, 0) for part, n in starts.items()}


def total(
    configs: Sequence[Config],
    machine: costs.Machine,
    setup: Setup = _SETUP,
    executor: str = "local",
) -> float:
    """Returns the seconds of a sweep and its report, without the runs of which they are not known.

    Several processes share the arithmetic, for which one takes all cores; what Python and Keras do
    takes one core, of which each process has its own.

    Args:
        configs: The runs that are to be trained.
        machine: What they are trained on.
        setup: How each is trained.
        executor: Where they are trained.
    """
    count = executors.count_processes(executor, len(configs))
    shared = machine._replace(overhead=machine.overhead / count)
    if not configs:
        return 0.0
    seconds = machine.overhead * (_START * (1 + (count > 1)) + _FIGURE * _figures(configs))
    known = set()
    for config in configs:
        kind = reuse.kind(config)
        seconds += sum((parts(config, shared, setup, kind not in known) or {}).values())
        known.add(kind)
    return seconds


def _figures(configs: Sequence[Config]) -> int:
    """Returns about how many figures a report has: of results by what makes axes, and of curves."""
    axes = [
        field.name
        for field in dataclasses.fields(Config)
        if field.name != "seed"
        and field.metadata["kind"] in (int, float)
        and len({getattr(config, field.name) for config in configs}) > 1
    ]
    diagnostics = {name for config in configs for name in config.diagnostics}
    return (3 + len(diagnostics)) * (1 + len(axes))


def _sizes(block: costs.Block) -> Sizes:
    return Sizes(
        inputs=block.inputs,
        outputs=block.activity // block.turns,
        kernel=(block.fan_in, block.units),
        turns=block.turns,
        normalizes=block.normalizes,
        is_last=block.is_last,
    )


def _batches(config: Config, batch_size: int) -> tuple[int, int]:
    """Returns the number of batches to validate and to test on, as far as they are known."""
    dataset = build.dataset(config)
    test = dataset.test_size or 0
    size = config.validation_size
    validation = (dataset.validation_size if size is None else size) or test
    return math.ceil(validation / batch_size), math.ceil(test / batch_size)
