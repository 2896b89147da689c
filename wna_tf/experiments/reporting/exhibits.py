"""Which charts runs make: results, best results, curves and diagnostics."""

import collections
import dataclasses
import itertools
import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from wna_tf.experiments import run_directory
from wna_tf.experiments.reporting import fields, measures
from wna_tf.experiments.reporting.charts import (
    BESIDE,
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
        names = [key for key in names if key != RATE]
        numbers = [key for key in numbers if key != RATE]
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

    Rates of more seeds are better, as one seed may have chosen the rate of all, then those at which
    fewer seeds diverge, then those with the better mean result.

    Args:
        runs: Finished runs.
        names: The fields that vary, the learning rate one of them.
    """
    others = [name for name in names if name != RATE]
    sign = 1 if measures.main(runs[0]).endswith("accuracy") else -1
    scores: dict[tuple, dict[float, tuple[float, ...]]] = collections.defaultdict(dict)
    for (*other, rate), cell in summarize(_results(runs, names), [*others, RATE]).items():
        mean = sign * cell.mean if cell.count else -math.inf
        scores[tuple(other)][rate] = (cell.count + cell.diverged, -cell.diverged, mean)
    rates = {other: max(by_rate, key=by_rate.__getitem__) for other, by_rate in scores.items()}
    return [
        run for run in runs if run.config[RATE] == rates[tuple(run.config[name] for name in others)]
    ]


def curves(runs: Sequence[run_directory.Run], names: Sequence[str], about: str) -> Iterator[Chart]:
    """Makes the curves of every metric over epochs, of training beside validation."""
    for name in _metrics(runs):
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

    A column is `name` or `name/block`. `name_error` is its standard error, and `name_shuffled`,
    `name_frozen` and `name_initial` are drawn beside it. Where values are left out, a note says so.
    """
    metrics = _metrics(runs)
    blocks = collections.defaultdict(list)
    for column in _columns(runs):
        if column.removeprefix("val_") not in metrics:
            head, _, block = column.partition("/")
            blocks[head].append(block)
    attached = {f"{head}_{end}" for head in blocks for end in ("error", *BESIDE)}
    for head in [head for head in blocks if head not in attached]:
        tracks = []
        drawn = {head: MEASURED} | {f"{head}_{end}": series for end, series in BESIDE.items()}
        for column, series in drawn.items():
            for block in blocks.get(column, ()):
                name = f"{column}/{block}" if block else column
                of_block = {_BLOCK: block, _SERIES: series}
                tracks += [(run, _track(run, name, _keys(run, names) | of_block)) for run in runs]
        line = (_BLOCK, _SERIES) if len(blocks[head]) > 1 else ()
        measure = measures.measure(head)
        records = [record for _, track in tracks for record in track]
        title = f"{_capital(measure.label)} over epochs{about}"
        note = _left_out(runs, head, blocks[head])
        for chart in charts(head, title, records, _EPOCH, measure, most=MOST_CURVES, line=line):
            yield dataclasses.replace(chart, note=note)
        last = [_result(run, track[-1]) for run, track in tracks if track]
        label = f"last {measure.label}"
        note = f"{note} Of each the last that is told." if note else ""
        for chart in _against(numbers, f"{head}_last", label, about, last, measure, line):
            yield dataclasses.replace(chart, note=note)


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
            run.result[main] if _is_finished(run) else None,
            chance=measures.chance(run, *measures.MAIN[main]),
        )
        for run in runs
    ]


def _result(run: run_directory.Run, last: Record) -> Record:
    """Returns the last record of a run's history as a result, of which a diverged run has none."""
    keys = {key: value for key, value in last.keys.items() if key != _EPOCH}
    return last._replace(keys=keys, value=last.value if _is_finished(run) else None)


def _is_finished(run: run_directory.Run) -> bool:
    return measures.status(run) == "finished"


def _track(run: run_directory.Run, column: str, keys: dict[str, Any]) -> list[Record]:
    """Returns a record of each finite value in a column of a run's history."""
    head, slash, block = column.partition("/")
    error = f"{head}_error{slash}{block}"
    return [
        Record(keys | {_EPOCH: int(row[_EPOCH])}, row[column], row.get(error, 0.0))
        for row in run.history
        if math.isfinite(row.get(column, math.nan))
    ]


def _left_out(runs: Sequence[run_directory.Run], head: str, blocks: Sequence[str]) -> str:
    """Returns a note of the values that are not told for their reference is too small, or ""."""
    reference = measures.measure(head).reference
    pairs = [
        (row.get(f"{head}/{block}" if block else head), norm)
        for run in runs
        for block in blocks
        for row in run.history
        if math.isfinite(norm := row.get(f"{reference}/{block}" if block else reference, math.nan))
    ]
    norms = [norm for value, norm in pairs if value is None or not math.isfinite(value)]
    if not norms:
        return ""
    return (
        f"{len(norms)} of {len(pairs)} angles are left out: backpropagation's update may be "
        f"rounding there (its norm at most {max(norms):.1g} of the initial one), or the rule's "
        "is zero."
    )


def _epoch_seconds(run: run_directory.Run) -> list[float]:
    """Returns the seconds that each epoch but the first took."""
    return [b - a for a, b in itertools.pairwise(row["seconds"] for row in run.history)]


def _keys(run: run_directory.Run, names: Sequence[str]) -> dict[str, Any]:
    return {name: run.config[name] for name in names}


def _columns(runs: Sequence[run_directory.Run]) -> list[str]:
    """Returns the columns of all histories, without the times."""
    columns = dict.fromkeys(column for run in runs for row in run.history for column in row)
    return [column for column in columns if column not in (_EPOCH, "seconds")]


def _metrics(runs: Sequence[run_directory.Run]) -> list[str]:
    """Returns the metrics: loss, accuracy, and those of which there are validation's too."""
    columns = _columns(runs)
    stems = dict.fromkeys(column.removeprefix("val_") for column in columns)
    return [
        name
        for name in stems
        if name in ("loss", "accuracy") or (name in columns and f"val_{name}" in columns)
    ]


def _about(runs: Sequence[run_directory.Run]) -> str:
    """Returns the end of a title: what the runs share."""
    values = [{str(run.config[name]) for run in runs} for name in ("dataset", "model", "rule")]
    shared = [value for distinct in values if len(distinct) == 1 for value in distinct]
    return f" ({', '.join(shared)})" if shared else ""


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:].replace("_", " ")
