"""Test accuracies of a sweep, one row for each rule, network and width, as a table.

    python main.py --flagfile=rules_digits
    python -m benchmarks.accuracies checkpoints/rules_digits docs/rules/digits.csv

A row is of the learning rate that validation chose, see `--choose`. Columns: mean accuracy and its
standard error over seeds, in percent; a seed that diverged counts with the accuracy that it has.
"""

import collections
import pathlib
import statistics
import sys
from collections.abc import Mapping, Sequence

from wna_tf import files, rules
from wna_tf.experiments import run_directory
from wna_tf.experiments.reporting import exhibits

GROUP = ("rule", "model", "width")


def summarize(runs: Sequence[run_directory.Run]) -> list[dict[str, object]]:
    """Returns a row for each rule, network and width.

    Args:
        runs: Finished runs, of some learning rates and some seeds.
    """
    tried, chosen = collections.defaultdict(set), collections.defaultdict(list)
    for run in runs:
        tried[tuple(run.config[name] for name in GROUP)].add(run.config[exhibits.RATE])
    for run in exhibits.best(runs, [*GROUP, exhibits.RATE]):
        chosen[tuple(run.config[name] for name in GROUP)].append(run)
    rows = []
    for group in tried:
        of_seeds = chosen[group]
        accuracies = [100 * run.result["test_accuracy"] for run in of_seeds]
        error = statistics.stdev(accuracies) / len(accuracies) ** 0.5 if accuracies[1:] else 0.0
        rows.append(
            dict(zip(GROUP, group, strict=True))
            | {
                "learning_rate": f"{of_seeds[0].config[exhibits.RATE]:g}",
                "chosen_from": " ".join(f"{rate:g}" for rate in sorted(tried[group])),
                "test_accuracy": f"{statistics.fmean(accuracies):.2f}",
                "standard_error": f"{error:.2f}",
                "seeds": len(accuracies),
                "diverged": sum(run.result["diverged"] is not None for run in of_seeds),
            }
        )
    return sorted(rows, key=_in_order)


def _in_order(row: Mapping[str, object]) -> tuple:
    """Orders rows as the table of rules has them, those of rules that are not in it last."""
    names = rules.names()
    rule = str(row["rule"])
    place = names.index(rule) if rule in names else len(names)
    return place, *(row[name] for name in GROUP)


def main(directory: str, table: str) -> None:
    """Writes the table of a directory of runs."""
    rows = summarize(run_directory.read_runs(pathlib.Path(directory)))
    files.write_rows(pathlib.Path(table), rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
