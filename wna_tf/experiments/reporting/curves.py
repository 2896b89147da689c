"""Charts of histories: metrics over epochs, and diagnostics over these or over time."""

import collections
import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from wna_tf.experiments import run_directory
from wna_tf.experiments.reporting import fields, measures
from wna_tf.experiments.reporting.charts import (
    BESIDE,
    EPOCH,
    MEASURED,
    MOST_CURVES,
    TIME,
    TRAIN,
    VALIDATION,
    Chart,
    Record,
    arrange,
    charts,
    without_constants,
)
from wna_tf.experiments.reporting.measures import Measure

_BLOCK, _SERIES = "block", "series"
_MOST_PAIRS = 4  # Of lines for training and for validation in one panel.


def metrics(runs: Sequence[run_directory.Run], names: Sequence[str], about: str) -> Iterator[Chart]:
    """Makes the curves of every metric over epochs, of training and of validation.

    A few lines of both are in one panel, more in two panels beside each other. Panels whose lines
    are all constant are left out, and a note says so.
    """
    for name in _metrics(runs):
        records = [
            record._replace(chance=measures.chance(run, name, series))
            for series, column in ((TRAIN, name), (VALIDATION, f"val_{name}"))
            for run in runs
            for record in _track(run, column, fields.keys(run, names) | {_SERIES: series})
        ]
        if not records:
            continue
        title, measure = f"{_capital(name)} over epochs{about}", measures.measure(name)
        _, lines = arrange(records, EPOCH, MOST_CURVES, panel=(_SERIES,))
        pairs = {tuple(record.keys[key] for key in lines) for record in records}
        place: dict[str, tuple[str, ...]] = {"panel": (_SERIES,)}
        if len(pairs) <= _MOST_PAIRS and _SERIES not in lines:
            place = {"line": (*lines, _SERIES)}
        for chart in charts(
            f"curves_{name}", title, records, EPOCH, measure, most=MOST_CURVES, **place
        ):
            yield without_constants(chart)


def diagnostics(
    runs: Sequence[run_directory.Run],
    names: Sequence[str],
    numbers: Sequence[str],
    about: str,
    in_time: bool = False,
) -> Iterator[Chart]:
    """Makes charts of every other column: its course, and its last value against numbers.

    A column is `name` or `name/block`. `name_error` is its standard error, and `name_shuffled`,
    `name_frozen` and `name_initial` are drawn beside it. Where values are left out, a note says so.

    Args:
        runs: Finished runs.
        names: The fields that vary.
        numbers: Those of them that make axes.
        about: The end of titles.
        in_time: Whether those are made that are drawn over learning rate times epochs, in which
            runs of several rates are compared, or those over epochs.
    """
    metrics = _metrics(runs)
    blocks = collections.defaultdict(list)
    for column in _columns(runs):
        if column.removeprefix("val_") not in metrics:
            head, _, block = column.partition("/")
            blocks[head].append(block)
    attached = {f"{head}_{end}" for head in blocks for end in ("error", *BESIDE)}
    for head in [head for head in blocks if head not in attached]:
        measure = measures.measure(head)
        if measure.in_time == in_time:
            yield from _diagnostic(runs, names, numbers, about, head, blocks)


def _diagnostic(
    runs: Sequence[run_directory.Run],
    names: Sequence[str],
    numbers: Sequence[str],
    about: str,
    head: str,
    blocks: dict[str, list[str]],
) -> Iterator[Chart]:
    """Makes the charts of one diagnostic."""
    measure = measures.measure(head)
    x = TIME if measure.in_time else EPOCH
    tracks = []
    drawn = {head: MEASURED} | {f"{head}_{end}": series for end, series in BESIDE.items()}
    for column, series in drawn.items():
        for block in blocks.get(column, ()):
            name = f"{column}/{block}" if block else column
            of_block = {_BLOCK: block, _SERIES: series}
            tracks += [
                (run, _track(run, name, fields.keys(run, names) | of_block, x)) for run in runs
            ]
    tracks = [(run, track) for run, track in tracks if track]
    records = [record for _, track in tracks for record in track]
    if not records:
        return
    line = (_BLOCK, _SERIES) if len(blocks[head]) > 1 else ()
    note = _left_out(runs, head, blocks[head])
    title = f"{_capital(measure.label)} over {'epochs' if x == EPOCH else fields.axis(x)}{about}"
    # Rates are compared at the same time.
    course = (fields.RATE, _SERIES) if x == TIME and fields.RATE in names else line
    for chart in charts(head, title, records, x, measure, most=MOST_CURVES, line=course):
        yield without_constants(dataclasses.replace(chart, note=note))
    end = math.inf
    label = f"last {measure.label}"
    if x == TIME:  # The last that all runs have reached.
        end = min(track[-1].keys[TIME] for _, track in tracks)
        tracks = [(run, track) for run, track in tracks if track[0].keys[TIME] <= end]
        label = f"{measure.label} at {fields.axis(TIME)} {fields.text(end)}"
    last = [_last(run, track, x, end) for run, track in tracks]
    note = f"{note} Of each the last that is told." if note else ""
    for chart in against(numbers, f"{head}_last", label, about, last, measure, line):
        yield dataclasses.replace(chart, note=note)


def against(
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
        title = f"{_capital(label)} against {fields.plain_name(x)}{about}"
        yield from charts(f"{name}_by_{x}", title, records, x, measure, line=line)


def _last(run: run_directory.Run, track: Sequence[Record], x: str, end: float) -> Record:
    """Returns the last record of a history, up to an end, as a result."""
    last = max((record for record in track if record.keys[x] <= end), key=lambda r: r.keys[x])
    told = {key: value for key, value in last.keys.items() if key != x}
    return last._replace(keys=told)


def _track(
    run: run_directory.Run, column: str, told: dict[str, Any], x: str = EPOCH
) -> list[Record]:
    """Returns a record of each finite value in a column of a run's history.

    A run that diverged has no values there, as it has no result.
    """
    is_finished = measures.is_finished(run)
    head, slash, block = column.partition("/")
    error = f"{head}_error{slash}{block}"

    def place(epoch: float) -> float:
        # Rates times epochs that are equal are so to the bit.
        return int(epoch) if x == EPOCH else float(f"{run.config[fields.RATE] * epoch:.9g}")

    return [
        Record(
            told | {x: place(row[EPOCH])},
            row[column] if is_finished else None,
            row.get(error, 0.0),
        )
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


def _columns(runs: Sequence[run_directory.Run]) -> list[str]:
    """Returns the columns of all histories, without the times."""
    columns = dict.fromkeys(column for run in runs for row in run.history for column in row)
    return [column for column in columns if column not in (EPOCH, "seconds")]


def _metrics(runs: Sequence[run_directory.Run]) -> list[str]:
    """Returns the metrics: loss, accuracy, and those of which there are validation's too."""
    columns = _columns(runs)
    stems = dict.fromkeys(column.removeprefix("val_") for column in columns)
    return [
        name
        for name in stems
        if name in ("loss", "accuracy") or (name in columns and f"val_{name}" in columns)
    ]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:].replace("_", " ")
