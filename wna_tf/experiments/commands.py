"""What the command line does, mode by mode; each prints what a user wants to see."""

import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from wna_tf.experiments import (
    choosing,
    evaluation,
    export,
    kernel_costs,
    kernels,
    reporting,
    run_directory,
    strategies,
)
from wna_tf.experiments.config import Config, FigureStyle, Setup

_STYLE = FigureStyle()


def train(
    configs: Sequence[Config],
    directory: pathlib.Path,
    executor: str,
    setup: Setup,
    choose: Sequence[str] = (),
    style: FigureStyle = _STYLE,
) -> int:
    """Trains a grid, and reports it.

    Args:
        configs: The runs.
        directory: Directory of the runs.
        executor: Where they are trained, see `executors.names`.
        setup: How each is trained.
        choose: Fields whose best values are chosen with the first seed, see `choosing`.
        style: How figures look.

    Returns:
        The status of the process: 1 if a run failed, else 0.

    Raises:
        ValueError: If something else is in the place of the report, the font is not there, or as
            of `choosing.sweep`: nothing is trained then.
        OSError: If the report cannot be written, or another run in the directory is damaged.
    """
    reporting.check(directory, style)
    devices = strategies.get(setup.strategy)
    with strategies.chief_alone_prints(devices):
        runs, failures = choosing.sweep(configs, directory, executor, setup, choose)
        if strategies.is_chief(devices) and any(directory.glob(f"*/{run_directory.RESULT}")):
            try:
                report(directory, {}, style)
            except (OSError, ValueError) as error:
                raise OSError(
                    f"{error} ({len(runs)} runs are finished; --mode=report reports them)"
                ) from error
    if failures:
        names = ", ".join(path.name for path in failures)
        print(f"{len(failures)} runs failed (see their failure.json): {names}", file=sys.stderr)
    return int(bool(failures))


def plan(
    configs: Sequence[Config],
    directory: pathlib.Path,
    executor: str,
    setup: Setup,
    choose: Sequence[str] = (),
) -> None:
    """Lists a grid, and trains nothing."""
    print(choosing.describe(configs, directory, setup, executor, choose))


def report(
    directory: pathlib.Path, given: Mapping[str, list[Any]], style: FigureStyle = _STYLE
) -> None:
    """Reports the runs in a directory.

    Args:
        directory: The directory.
        given: Values by field; only runs that have one of them, in every such field, are shown.
        style: How figures look.
    """
    _report(run_directory.read_runs(directory), directory, given, style)


def evaluate(directory: pathlib.Path, split: str, given: Mapping[str, list[Any]]) -> None:
    """Evaluates finished runs or a SavedModel.

    Args:
        directory: The runs, a run, or a SavedModel.
        split: Examples to evaluate on, one of `evaluation.SPLITS`.
        given: Fields of data and loss that override those of a run, with one value each.
    """
    options = evaluation.choose(given)
    print(evaluation.describe(evaluation.evaluate(directory, split, options)))


def export_runs(directory: pathlib.Path) -> None:
    """Exports finished runs."""
    print(*export.export_runs(directory), sep="\n")


def compute_kernels(
    directory: pathlib.Path,
    examples: int,
    max_gigabytes: float,
    given: Mapping[str, list[Any]],
    is_plan: bool = False,
) -> None:
    """Computes the tangent kernels of finished runs, or tells what that takes.

    Args:
        directory: The runs, or a run.
        examples: Training examples, and test examples.
        max_gigabytes: Memory of a kernel's computation.
        given: Values by field, of which `data_dir` overrides that of the runs.
        is_plan: Whether nothing is computed.
    """
    (data_dir,) = given.get("data_dir", [None])
    if is_plan:
        planned = kernels.plan(directory, examples, data_dir)
        print(kernel_costs.describe(planned, max_gigabytes))
        return
    print(kernels.describe(kernels.compute_kernels(directory, examples, max_gigabytes, data_dir)))


def _report(
    runs: Sequence[run_directory.Run],
    directory: pathlib.Path,
    given: Mapping[str, list[Any]],
    style: FigureStyle,
) -> None:
    main, *others = reporting.report(runs, directory, given, style)
    for exhibit in (main, *(other for other in others[:1] if other.figure.stem.startswith("test"))):
        parts = [exhibit.title, exhibit.table, exhibit.note, f"Figure: {exhibit.figure}"]
        print("", *filter(None, parts), sep="\n\n")
    print(f"Report: {directory / reporting.PAGE}")
