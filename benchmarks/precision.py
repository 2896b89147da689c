"""What mixed_bfloat16 does to the rules: accuracy and time of a step beside those of float32.

    python main.py --flagfile=precision_digits
    python main.py --flagfile=precision_kmnist
    python -m benchmarks.precision checkpoints/precision_digits checkpoints/precision_kmnist \
        --csv docs/precision.csv

A row for each data set, rule and width of sweeps that vary the precision. Columns: mean test
accuracy in percent and its standard error over seeds in both; mean and standard error of the
difference of the two that share a seed, mixed_bfloat16 less float32; how many runs of the latter
diverged; and the time of a step in float32 to that in mixed_bfloat16, in rounds in which both take
their turn. Two tables in Markdown are printed: of the differences, and of the times.
"""

import argparse
import dataclasses
import pathlib
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any

from wna_tf import files, rules
from wna_tf.experiments import run_directory
from wna_tf.experiments.config import Config, from_dict
from wna_tf.experiments.reporting import tables

BOTH = ("float32", "mixed_bfloat16")
KEYS = ("dataset", "width", "rule")
_STEPS = 20


def compare(runs: Sequence[run_directory.Run]) -> list[dict[str, Any]]:
    """Returns a row of accuracies for each data set, rule and width.

    Args:
        runs: Finished runs of both precisions, of the same seeds.
    """
    found = {tuple(run.config[name] for name in (*KEYS, "seed", "precision")): run for run in runs}
    rows = []
    for group in sorted({key[:3] for key in found}, key=_in_order):
        seeds = sorted({key[3] for key in found if key[:3] == group})
        accuracies = {
            precision: [
                100 * found[*group, seed, precision].result["test_accuracy"] for seed in seeds
            ]
            for precision in BOTH
        }
        differences = [b - a for a, b in zip(*accuracies.values(), strict=True)]
        row: dict[str, Any] = {**dict(zip(KEYS, group, strict=True)), "seeds": len(seeds)}
        for name, values in {**accuracies, "difference": differences}.items():
            row[name] = f"{statistics.fmean(values):.2f}"
            row[f"{name}_error"] = f"{statistics.stdev(values) / len(values) ** 0.5:.2f}"
        row["diverged"] = sum(
            found[*group, seed, BOTH[1]].result["diverged"] is not None for seed in seeds
        )
        rows.append(row)
    return rows


def _in_order(group: tuple[str, int, str]) -> tuple[str, int, int]:
    dataset, width, rule = group
    return dataset, width, rules.names().index(rule)


def time_steps(config: Config, rounds: int) -> float:
    """Returns the time of a step in float32 to that in mixed_bfloat16.

    Args:
        config: The run.
        rounds: How often each takes its turn.
    """
    from benchmarks import cases
    from wna_tf.experiments import build

    functions = {}
    for precision in BOTH:
        data, learner = build.prepare(dataclasses.replace(config, precision=precision))
        functions[precision] = cases.stepper(learner, data.batches_from(0), _STEPS)
    seconds, _ = cases.interleave(functions, rounds)
    return cases.ratios(seconds[BOTH[0]], seconds[BOTH[1]])[1]


def table(rows: Sequence[dict[str, Any]], text: Callable[[dict[str, Any]], str]) -> str:
    """Returns a table in Markdown: a row for each rule, a column for each data set and width.

    Args:
        rows: What `compare` returned.
        text: What is told of one of them.
    """
    cells = {(row["rule"], row["dataset"], row["width"]): text(row) for row in rows}
    columns = dict.fromkeys(key[1:] for key in cells)
    return tables.markdown(
        [
            ["rule", *(f"{dataset}, width {width}" for dataset, width in columns)],
            *(
                [rules.title(rule), *(cells[rule, *column] for column in columns)]
                for rule in dict.fromkeys(row["rule"] for row in rows)
            ),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=pathlib.Path, nargs="+", help="directories of the runs")
    parser.add_argument("--csv", type=pathlib.Path, required=True, help="file to write")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of steps; 0 for no times")
    options = parser.parse_args()
    runs = [run for folder in options.runs for run in run_directory.read_runs(folder)]
    rows = compare(runs)
    configs = {tuple(run.config[name] for name in KEYS): run.config for run in runs}
    for row in rows if options.rounds else ():
        config = from_dict(configs[tuple(row[name] for name in KEYS)])
        row["speed_up"] = f"{time_steps(config, options.rounds):.2f}"
        print(*(row[name] for name in (*KEYS, "speed_up")), file=sys.stderr, flush=True)
    files.write_rows(options.csv, rows)
    print(table(rows, lambda row: f"{row['difference']} ± {row['difference_error']}"))
    if options.rounds:
        print(table(rows, lambda row: row["speed_up"]))


if __name__ == "__main__":
    main()
