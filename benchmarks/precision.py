"""What mixed_bfloat16 does to the rules: accuracy and time of a step beside those of float32.

    python main.py --flagfile=precision_digits
    python main.py --flagfile=precision_kmnist
    python -m benchmarks.precision checkpoints/precision_digits checkpoints/precision_kmnist \
        --csv docs/precision.csv

A row for each data set, rule and width of sweeps that vary the precision. Columns: mean test
accuracy in percent and its standard error over seeds in both; mean and standard error of the
difference of the two that share a seed, mixed_bfloat16 less float32; how many runs of the latter
diverged. Two tables in Markdown are printed: of the differences; and of the time of a step of a
convolutional network in float32 to that in mixed_bfloat16, in rounds in which both take their turn.
"""

import argparse
import pathlib
import statistics
import sys
from collections.abc import Callable, Sequence
from typing import Any

from wna_tf import files, rules
from wna_tf.experiments import run_directory
from wna_tf.experiments.reporting import tables

BOTH = ("float32", "mixed_bfloat16")
KEYS = ("dataset", "width", "rule")
_STEPS = 4


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
            row[name] = f"{round(statistics.fmean(values), 2) + 0.0:.2f}"  # No -0.00.
            row[f"{name}_error"] = f"{statistics.stdev(values) / len(values) ** 0.5:.2f}"
        row["diverged"] = sum(
            found[*group, seed, BOTH[1]].result["diverged"] is not None for seed in seeds
        )
        rows.append(row)
    return rows


def _in_order(group: tuple[str, int, str]) -> tuple[str, int, int]:
    dataset, width, rule = group
    return dataset, width, rules.names().index(rule)


def time_steps(rule: str, width: int, rounds: int) -> float:
    """Returns the time of a step in float32 to that in mixed_bfloat16.

    Args:
        rule: Name of the rule.
        width: Channels of the network for KMNIST.
        rounds: How often each takes its turn.
    """
    import keras

    from benchmarks import cases

    functions = {}
    for precision in BOTH:
        keras.config.set_dtype_policy(precision)
        batches = cases.repeat(cases.make_batch("kmnist", 100), -1)
        functions[precision] = cases.stepper(
            cases.make_model(rule, "kmnist", width), batches, _STEPS
        )
        functions[precision]()  # The policy holds while graphs are written.
    keras.config.set_dtype_policy(BOTH[0])
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
    parser.add_argument("--rules", nargs="*", default=rules.names(), help="whose steps are timed")
    parser.add_argument("--widths", type=int, nargs="+", default=[64, 256], help="and at which")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of steps")
    options = parser.parse_args()
    runs = [run for folder in options.runs for run in run_directory.read_runs(folder)]
    rows = compare(runs)
    files.write_rows(options.csv, rows)
    print(table(rows, lambda row: f"{row['difference']} ± {row['difference_error']}"))
    times = []
    for rule in options.rules:
        speed_ups = [time_steps(rule, width, options.rounds) for width in options.widths]
        times.append([rules.title(rule), *(f"{speed_up:.2f}" for speed_up in speed_ups)])
        print(*times[-1], file=sys.stderr, flush=True)
    print(tables.markdown([["rule", *(f"width {width}" for width in options.widths)], *times]))


if __name__ == "__main__":
    main()
