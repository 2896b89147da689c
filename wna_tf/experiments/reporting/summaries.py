"""Results of runs as one table, each over seeds."""

from collections.abc import Mapping, Sequence

from wna_tf.experiments import run_directory
from wna_tf.experiments.reporting import fields, tables
from wna_tf.experiments.reporting.charts import Record, summarize
from wna_tf.experiments.reporting.measures import Measure


def over_seeds(
    runs: Sequence[run_directory.Run], shown: Mapping[str, Measure]
) -> tables.Table | None:
    """Returns a table with a row for each combination of what varies: means and standard errors.

    Args:
        runs: Runs; one that lacks a result has diverged.
        shown: The results that make columns, and how they are shown.

    Returns:
        The table; None if there is no more than one seed of anything.
    """
    runs = fields.complete(runs)
    names = fields.varying([run.config for run in runs]).names
    columns = [
        (
            measure,
            summarize(
                [Record(fields.keys(run, names), run.result.get(result)) for run in runs], names
            ),
        )
        for result, measure in shown.items()
    ]
    _, cells = columns[0]
    counts = {group: cell.count + cell.diverged for group, cell in cells.items()}
    if max(counts.values()) == 1:
        return None
    seeds = {group: str(count) for group, count in counts.items()}
    return tables.of_measures(names, {"seeds": seeds}, columns)
