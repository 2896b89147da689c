"""The comparison of precisions: differences of runs that share a seed, and their errors."""

import csv
import pathlib

from benchmarks import precision
from tests.conftest import ROOT
from wna_tf.experiments.config import Config
from wna_tf.experiments.run_directory import Run

ACCURACIES = {("float32", 0): 0.5, ("float32", 1): 0.7}
ACCURACIES |= {("mixed_bfloat16", 0): 0.4, ("mixed_bfloat16", 1): 0.8}


def make_runs(rule):
    for (policy, seed), accuracy in ACCURACIES.items():
        config = Config(rule=rule, width=8, seed=seed, precision=policy)
        result = {"test_accuracy": accuracy, "diverged": 3 if accuracy == 0.8 else None}
        yield Run(pathlib.Path(config.name), config.to_dict(), result, [])


def test_differences_are_those_of_runs_that_share_a_seed():
    rows = precision.compare([*make_runs("readout"), *make_runs("backprop")])
    assert [row["rule"] for row in rows] == ["backprop", "readout"]
    expected = {
        "dataset": "digits",
        "width": 8,
        "seeds": 2,
        "float32": "60.00",
        "float32_error": "10.00",
        "mixed_bfloat16": "60.00",
        "mixed_bfloat16_error": "20.00",
        "difference": "0.00",
        "difference_error": "10.00",
        "diverged": 1,
    }
    assert rows[0] == expected | {"rule": "backprop"}
    assert precision.table(rows, lambda row: row["difference"]).splitlines() == [
        "| rule            | digits, width 8 |",
        "|-----------------|-----------------|",
        "| Backpropagation | 0.00            |",
        "| Readout         | 0.00            |",
    ]


def test_the_page_has_the_numbers_of_its_file():
    with (ROOT / "docs" / "precision.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    page = _cells((ROOT / "docs" / "precision.md").read_text())
    told = precision.table(rows, lambda row: f"{row['difference']} ± {row['difference_error']}")
    _, _, *expected = _cells(told)
    assert expected
    for cells in expected:
        assert cells in [found[: len(cells)] for found in page]


def _cells(text):
    """The cells of the lines of tables."""
    lines = (line for line in text.splitlines() if line.startswith("|"))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
