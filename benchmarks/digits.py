"""What every rule reaches on digits: at a rate that validation chose, by seeds of their own.

    nice python -m benchmarks.digits --run_dir=checkpoints/rules_digits

First the grid of `flags/rules_digits.flags` is trained, with one seed. For each rule, network and
width the learning rate is taken at which the validation accuracy after the last epoch is best;
at that rate five runs of other seeds are trained, and their test accuracies go to a table. Any flag
of `main.py` overrides the grid's. Started again, it trains what is not finished. Columns of the
table: mean accuracy and its standard error, in percent; seeds that diverged count with the
accuracy that they have. `python -m docs.make_rules` then draws it, and writes the pages.
"""

import collections
import csv
import dataclasses
import pathlib
import statistics
import sys
from collections.abc import Sequence

from wna_tf import experiments, files
from wna_tf.experiments import config, run_directory
from wna_tf.experiments.reporting import exhibits
from wna_tf_command import cli, flagfiles

TABLE = pathlib.Path("docs/rules/digits.csv")
GROUP = ("rule", "model", "width")
SEEDS = range(100, 105)


def choose(runs: Sequence[run_directory.Run]) -> list[experiments.Config]:
    """Returns a configuration for each seed, at the best rate of each rule, network and width."""
    best = exhibits.best(runs, [*GROUP, exhibits.RATE])
    made = [config.from_dict(run.config) for run in best]
    return [dataclasses.replace(one, seed=seed) for one in made for seed in SEEDS]


def summarize(
    grid: Sequence[run_directory.Run], runs: Sequence[run_directory.Run]
) -> list[dict[str, object]]:
    """Returns a row for each rule, network and width.

    Args:
        grid: The runs by which the rates were chosen.
        runs: Those of the seeds.
    """
    rates, groups = collections.defaultdict(set), collections.defaultdict(list)
    for run in grid:
        rates[tuple(run.config[name] for name in GROUP)].add(run.config[exhibits.RATE])
    for run in runs:
        groups[tuple(run.config[name] for name in GROUP)].append(run)
    rows = []
    for group, of_seeds in groups.items():
        accuracies = [100 * run.result["test_accuracy"] for run in of_seeds]
        rows.append(
            dict(zip(GROUP, group, strict=True))
            | {
                "learning_rate": f"{of_seeds[0].config[exhibits.RATE]:g}",
                "chosen_from": " ".join(f"{rate:g}" for rate in sorted(rates[group])),
                "test_accuracy": f"{statistics.fmean(accuracies):.2f}",
                "standard_error": f"{statistics.stdev(accuracies) / len(accuracies) ** 0.5:.2f}",
                "seeds": len(accuracies),
                "diverged": sum(run.result["diverged"] is not None for run in of_seeds),
            }
        )
    return rows


def main(argv: Sequence[str], table: pathlib.Path = TABLE) -> None:
    """Trains what is not finished, and writes the table."""
    cli.FLAGS([argv[0], *flagfiles.expand(["--flagfile=rules_digits", *argv[1:]])])
    directory, setup = files.expand(cli.FLAGS.run_dir), cli.set_up()
    grid = experiments.sweep(
        experiments.expand(cli.grid(cli.FIELDS)), directory, cli.FLAGS.executor, setup
    )
    of_seeds = experiments.sweep(choose(grid.runs), directory, cli.FLAGS.executor, setup)
    if failures := grid.failures | of_seeds.failures:
        sys.exit(f"{len(failures)} runs failed; the same command tries them again.")
    rows = summarize(grid.runs, of_seeds.runs)
    with files.replacing(table) as beside, beside.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main(sys.argv)
