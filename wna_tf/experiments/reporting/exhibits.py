"""Which charts runs make: results, best results, curves and diagnostics."""

import collections
import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from wna_tf.experiments import run_directory
from wna_tf.experiments.reporting import fields, measures
from wna_tf.experiments.reporting.charts import (
    CONTROL,
    MEASURED,
    MOST_CURVES,
    Chart,
    Record,
    charts,
    summarize,
)
from wna_tf.experiments.reporting.measures import Measure

RATE = "learning_rate"
_BLOCK, _SERIES, _EPOCH = "block", "series", "epoch"


def study(runs: Sequence[run_directory.Run], varying: fields.Varying) -> Iterator[Chart]:
    """Makes every chart of runs that have the same main result.

    Args:
        runs: Finished runs, whose configurations have the same fields.
        varying: The fields that vary.
    """
    name, names = measures.main(runs[0]), varying.names
    differ = [key for key in names if len({run.config[key] for run in runs}) > 1]
    numbers = [key for key in differ if key in varying.numbers]
    measure, about = measures.measure(name), _about(runs)
    axes = numbers or differ[:1] or names[:1]
    yield from _against(axes, name, measure.label, about, _results(runs, names), measure)
    if RATE in numbers and len(numbers) > 1:
        runs = best(runs, names)
        names, numbers = ([key for key in keys if key != RATE] for keys in (names, numbers))
        head = f"{measure.label}, best over learning rates,"
        records = _results(runs, names)
        yield from _against(numbers, f"{name}_best", head, about, records, measure)
        rate = Measure("best learning rate", scale="log")
        records = [
            Record(record.keys, None if record.value is None else run.config[RATE])
            for run, record in zip(runs, records, strict=True)
        ]
        yield from _against(numbers, "best_learning_rate", rate.label, about, records, rate)
        about = f", at the best learning rates{about}"
    yield from curves(runs, names, about)
    yield from diagnostics(runs, names, numbers, about)
    yield from times(runs, names, numbers, about)


def best(runs: Sequence[run_directory.Run], names: Sequence[str]) -> list[run_directory.Run]:
    """Returns the runs at the best learning rate of every combination of the other fields.

    Rates at which fewer seeds diverge are better, then those with the better mean result.

    Args:
        runs: Finished runs.
        names: The fields that vary, the learning rate one of them.
    """
    others = [name for name in names if name != RATE]
    sign = 1 if measures.main(runs[0]).endswith("accuracy") else -1
    winners: dict = {}
    for (*other, rate), cell in summarize(_results(runs, names), [*others, RATE]).items():
        score = (-cell.diverged, sign * cell.mean if cell.count else -math.inf)
        if tuple(other) not in winners or score > winners[tuple(other)][0]:
            winners[tuple(other)] = score, rate
    return [
        run
        for run in runs
        if winners[tuple(run.config[name] for name in others)][1] == run.config[RATE]
    ]


def curves(runs: Sequence[run_directory.Run], names: Sequence[str], about: str) -> Iterator[Chart]:
    """Makes the curves of every metric over epochs, of training beside validation."""
    for name in filter(_is_metric(runs), _columns(runs)):
        if name.startswith("val_"):
            continue
        records = [
            record._replace(chance=measures.chance(run, name, series))
            for series, column in (("train", name), ("validation", f"val_{name}"))
            for run in runs
            for record in _track(run, column, _keys(run, names) | {_SERIES: series})
        ]
        title = f"{_capital(name)} over epochs{about}"
        yield from charts(
            f"curves_{name}",
            title,
            records,
            _EPOCH,
            measures.measure(name),
            most=MOST_CURVES,
            panel=(_SERIES,),
        )


def diagnostics(
    runs: Sequence[run_directory.Run], names: Sequence[str], numbers: Sequence[str], about: str
) -> Iterator[Chart]:
    """Makes charts of every other column: over epochs, and its last value against numbers.

    A column is `name` or `name/block`. `name_error` is its standard error, and `name_shuffled`
    a control that is drawn beside it.
    """
    columns = itertools.filterfalse(_is_metric(runs), _columns(runs))
    blocks = collections.defaultdict(list)
    for column in columns:
        head, _, block = column.partition("/")
        blocks[head].append(block)
    attached = {f"{head}_{end}" for head in blocks for end in ("error", CONTROL)}
    for head in [head for head in blocks if head not in attached]:
        tracks = [
            (run, _track(run, f"{column}/{block}" if block else column, keys))
            for column, series in ((head, MEASURED), (f"{head}_{CONTROL}", CONTROL))
            for block in blocks.get(column, ())
            for run in runs
            for keys in [_keys(run, names) | {_BLOCK: block, _SERIES: series}]
        ]
        line = (_BLOCK, _SERIES) if len(blocks[head]) > 1 else ()
        measure = measures.measure(head)
        records = [record for _, track in tracks for record in track]
        title = f"{_capital(measure.label)} over epochs{about}"
        yield from charts(head, title, records, _EPOCH, measure, most=MOST_CURVES, line=line)
        last = [
            record if measures.status(run) == "finished" else record._replace(value=None)
            for run, track in tracks
            for record in track[-1:]
        ]
        last = [
            record._replace(keys={k: v for k, v in record.keys.items() if k != _EPOCH})
            for record in last
        ]
        label = f"last {measure.label}"
        yield from _against(numbers, f"{head}_last", label, about, last, measure, line)


def times(
    runs: Sequence[run_directory.Run], names: Sequence[str], numbers: Sequence[str], about: str
) -> Iterator[Chart]:
    """Makes charts of the seconds that an epoch takes, when the first has warmed up."""
    records = [
        Record(_keys(run, names), statistics.median(seconds))
        for run in runs
        if (seconds := _epoch_seconds(run))
    ]
    if records:
        measure = Measure("seconds an epoch", scale="log")
        yield from _against(numbers, "seconds_per_epoch", measure.label, about, records, measure)


def _against(
    axes: Iterable[str],
    name: str,
    label: str,
    about: str,
    records: Sequence[Record],
    measure: Measure,
    line: Sequence[str] = (),
) -> Iterator[Chart]:
    """Makes the charts of records against every field that makes an axis."""
    for x in axes:
        title = f"{_capital(label)} against {x.replace('_', ' ')}{about}"
        yield from charts(f"{name}_by_{x}", title, records, x, measure, line=line)


def _results(runs: Sequence[run_directory.Run], names: Sequence[str]) -> list[Record]:
    """Returns a record of each run's main result."""
    main = measures.main(runs[0])
    return [
        Record(
            _keys(run, names),
            run.result[main] if measures.status(run) == "finished" else None,
            chance=measures.chance(run, *measures.MAIN[main]),
        )
        for run in runs
    ]


def _track(run: run_directory.Run, column: str, keys: dict[str, Any]) -> list[Record]:
    """Returns a record of each finite value in a column of a run's history."""
    head, slash, block = column.partition("/")
    error = f"{head}_error{slash}{block}"
    return [
        Record(keys | {_EPOCH: int(row[_EPOCH])}, row[column], row.get(error, 0.0))
        for row in run.history
        if math.isfinite(row.get(column, math.nan))
    ]


def _epoch_seconds(run: run_directory.Run) -> list[float]:
    """Returns the seconds that each epoch but the first took."""
    return [b - a for a, b in itertools.pairwise(row["seconds"] for row in run.history)]


def _keys(run: run_directory.Run, names: Sequence[str]) -> dict[str, Any]:
    return {name: run.config[name] for name in names}


def _columns(runs: Sequence[run_directory.Run]) -> list[str]:
    """Returns the columns of all histories, without the times."""
    columns = dict.fromkeys(column for run in runs for row in run.history for column in row)
    return [column for column in columns if column not in (_EPOCH, "seconds")]


def _is_metric(runs: Sequence[run_directory.Run]) -> Callable[[str], bool]:
    """Returns whether a column is a metric: those that Keras names, or validation has too."""
    columns = set(_columns(runs))
    stems = {"loss", "accuracy"} | {name for name in columns if f"val_{name}" in columns}
    return lambda column: column.removeprefix("val_") in stems


def _about(runs: Sequence[run_directory.Run]) -> str:
    """Returns the end of a title: what the runs share."""
    values = [{str(run.config[name]) for run in runs} for name in ("dataset", "model", "rule")]
    shared = [value for distinct in values if len(distinct) == 1 for value in distinct]
    return f" ({', '.join(shared)})" if shared else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:].replace("_", " ")
