"""Which charts runs make: results on validation and test examples, best results, times."""

import collections
import dataclasses
import itertools
import math
import statistics
from collections.abc import Iterable, Iterator, Sequence

from wna_tf.experiments import run_directory
from wna_tf.experiments.reporting import curves, fields, held, measures
from wna_tf.experiments.reporting.charts import Chart, Record, summarize
from wna_tf.experiments.reporting.measures import Measure

RATE = fields.RATE


def study(runs: Sequence[run_directory.Run], varying: fields.Varying) -> Iterator[Chart]:
    """Makes every chart of runs that have the same main result.

    Args:
        runs: Finished runs, whose configurations have the same fields.
        varying: The fields that vary.
    """
    everything, names = runs, varying.names
    differ = [key for key in names if len({run.config[key] for run in runs}) > 1]
    numbers = [key for key in differ if key in varying.numbers]
    about = _about(runs)
    axes, results = numbers or differ[:1] or names[:1], measures.results(runs)
    timed = curves.diagnostics(everything, names, numbers, about, in_time=True)
    rates = ""
    if RATE in numbers and len(numbers) > 1:
        tried = fields.ordered(run.config[RATE] for run in runs)
        rates = f"learning rate the best of {', '.join(map(fields.text, tried))} on validation"
        results = results[:1]  # Test examples are for the rates that validation has chosen.
        runs = best(runs, names)
        names = [key for key in names if key != RATE]
        numbers = [key for key in numbers if key != RATE]
        yield from _held(runs, _best(numbers, about, runs, names), rates)
        about = f", at the best learning rates{about}"
    yield from _held(
        everything, _main(axes, _about(everything), everything, varying.names, results)
    )
    yield from _held(runs, curves.metrics(runs, names, about), rates)
    yield from _held(runs, curves.diagnostics(runs, names, numbers, about), rates)
    yield from _held(everything, timed)
    yield from _held(runs, _times(runs, names, numbers, about), rates)


def best(runs: Sequence[run_directory.Run], names: Sequence[str]) -> list[run_directory.Run]:
    """Returns the runs at the best learning rate of every combination of the other fields.

    Rates of more seeds are better, as one seed may have chosen the rate of all, then those at which
    fewer seeds diverge, then those with the better mean result.

    Args:
        runs: Finished runs.
        names: The fields that vary, the learning rate one of them.
    """
    others = [name for name in names if name != RATE]
    name = measures.main(runs[0])
    sign = 1 if name.endswith("accuracy") else -1
    scores: dict[tuple, dict[float, tuple[float, ...]]] = collections.defaultdict(dict)
    records = _results(runs, names, name)
    for (*other, rate), cell in summarize(records, [*others, RATE]).items():
        mean = sign * cell.mean if cell.count else -math.inf
        scores[tuple(other)][rate] = (cell.count + cell.diverged, -cell.diverged, mean)
    rates = {other: max(by_rate, key=by_rate.__getitem__) for other, by_rate in scores.items()}
    return [
        run for run in runs if run.config[RATE] == rates[tuple(run.config[name] for name in others)]
    ]


def _held(
    runs: Sequence[run_directory.Run], made: Iterable[Chart], further: str = ""
) -> Iterator[Chart]:
    """Adds to charts of runs what these have in common."""
    told = held.describe(runs, further)
    for chart in made:
        yield dataclasses.replace(chart, held=f"{told} {held.seeds(chart.cells.values())}")


def _main(
    axes: Sequence[str],
    about: str,
    runs: Sequence[run_directory.Run],
    names: Sequence[str],
    results: Sequence[str],
) -> Iterator[Chart]:
    """Makes charts of the main result, and of the same on test examples."""
    for x in axes:
        for name in results:
            measure = measures.measure(name)
            records = _results(runs, names, name)
            made = curves.against([x], name, measure.label, about, records, measure)
            yield from _told(runs, name, made)


def _best(
    axes: Sequence[str], about: str, runs: Sequence[run_directory.Run], names: Sequence[str]
) -> Iterator[Chart]:
    """Makes charts of results at the best learning rates, and of these."""
    for x in axes:
        for name in measures.results(runs):
            measure = measures.measure(name)
            label = f"{measure.label}, best over learning rates,"
            records = _results(runs, names, name)
            made = curves.against([x], f"{name}_best", label, about, records, measure)
            yield from _told(runs, name, made)
    rate = Measure("best learning rate", scale="log")
    rates = [
        Record(record.keys, None if record.value is None else run.config[RATE])
        for run, record in zip(runs, _results(runs, names, measures.main(runs[0])), strict=True)
    ]
    yield from curves.against(axes, "best_learning_rate", rate.label, about, rates, rate)


def _told(runs: Sequence[run_directory.Run], name: str, made: Iterable[Chart]) -> Iterator[Chart]:
    """Adds to charts of a test result where it is of the validation examples."""
    same = name.startswith("test_") and measures.are_tests_validation(runs)
    note = "The test examples are those for validation too." * same
    for chart in made:
        yield dataclasses.replace(chart, note=note)


def _times(
    runs: Sequence[run_directory.Run], names: Sequence[str], numbers: Sequence[str], about: str
) -> Iterator[Chart]:
    """Makes charts of the seconds that an epoch takes, when the first has warmed up."""
    records = [
        Record(fields.keys(run, names), statistics.median(seconds))
        for run in runs
        if (seconds := _epoch_seconds(run))
    ]
    if records:
        measure = Measure("seconds an epoch", scale="log")
        yield from curves.against(
            numbers, "seconds_per_epoch", measure.label, about, records, measure
        )


def _results(runs: Sequence[run_directory.Run], names: Sequence[str], result: str) -> list[Record]:
    """Returns a record of a result of each run."""
    metric, split = measures.origin(result)
    return [
        Record(
            fields.keys(run, names),
            run.result.get(result) if measures.is_finished(run) else None,
            chance=measures.chance(run, metric, split),
        )
        for run in runs
    ]


def _epoch_seconds(run: run_directory.Run) -> list[float]:
    """Returns the seconds that each epoch but the first took."""
    return [b - a for a, b in itertools.pairwise(row["seconds"] for row in run.history)]


def _about(runs: Sequence[run_directory.Run]) -> str:
    """Returns the end of a title: what the runs share."""
    names = ("dataset", "model", fields.RULE)
    values = [{fields.shown(name, run.config[name]) for run in runs} for name in names]
    shared = [value for distinct in values if len(distinct) == 1 for value in distinct]
    return f" ({', '.join(shared)})" if shared else ""
