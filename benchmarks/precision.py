"""What mixed_bfloat16 does to the rules: accuracy and time of a step beside those of float32.

    python main.py --flagfile=precision_digits
    python -m benchmarks.precision checkpoints/precision_digits docs/precision_digits.csv

A row for each rule and width of a sweep that varies the precision. Columns: mean test accuracy in
percent and its standard error over seeds in both; mean and standard error of the difference of the
two that share a seed, mixed_bfloat16 less float32; how many runs of the latter diverged; and the
time of a step in float32 to that in mixed_bfloat16, in rounds in which both take their turn.
"""

import argparse
import dataclasses
import pathlib
import statistics
from collections.abc import Sequence

from wna_tf import files, rules
from wna_tf.experiments import run_directory
from wna_tf.experiments.config import Config, from_dict

BOTH = ("float32", "mixed_bfloat16")
_STEPS = 20


def compare(runs: Sequence[run_directory.Run]) -> list[dict[str, object]]:
    """Returns a row of accuracies for each rule and width.

    Args:
        runs: Finished runs of both precisions, of the same seeds.
    """
    found = {
        tuple(run.config[name] for name in ("rule", "width", "seed", "precision")): run
        for run in runs
    }
    rows = []
    for rule, width in sorted({key[:2] for key in found}, key=_in_order):
        seeds = sorted({key[2] for key in found if key[:2] == (rule, width)})
        accuracies = {
            precision: [
                100 * found[rule, width, seed, precision].result["test_accuracy"] for seed in seeds
            ]
            for precision in BOTH
        }
        differences = [b - a for a, b in zip(*accuracies.values(), strict=True)]
        row: dict[str, object] = {"rule": rule, "width": width, "seeds": len(seeds)}
        for name, values in {**accuracies, "difference": differences}.items():
            row[name] = f"{statistics.fmean(values):.2f}"
            row[f"{name}_error"] = f"{statistics.stdev(values) / len(values) ** 0.5:.2f}"
        row["diverged"] = sum(
            found[rule, width, seed, BOTH[1]].result["diverged"] is not None for seed in seeds
        )
        rows.append(row)
    return rows


def _in_order(key: tuple[str, int]) -> tuple[int, int]:
    return key[1], rules.names().index(key[0])


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=pathlib.Path, help="directory of the runs")
    parser.add_argument("table", type=pathlib.Path, help="file to write")
    parser.add_argument("--rounds", type=int, default=7, help="rounds of steps; 0 for no times")
    options = parser.parse_args()
    runs = run_directory.read_runs(options.runs)
    rows = compare(runs)
    configs = {
        (run.config["rule"], run.config["width"]): Config.from_dict(run.config) for run in runs
    }
    for row in rows:
        if options.rounds:
            config = from_dict(configs[row["rule"], row["width"]])
            ratio = time_steps(config, options.rounds)
            row["speed_up"] = f"{ratio:.2f}"
            print(row["rule"], row["width"], row["speed_up"], flush=True)
    files.write_rows(options.table, rows)


if __name__ == "__main__":
    main()
