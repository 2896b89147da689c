"""Grids in two stages: the first seed chooses, and the others are trained at what it chose."""

import itertools
import pathlib

import pytest

from wna_tf.experiments import choosing, run_directory
from wna_tf.experiments.config import Config
from wna_tf.experiments.reporting import exhibits

GRID = [
    Config(rule=rule, width=width, learning_rate=rate, seed=seed)
    for rule, width, rate, seed in itertools.product(
        ("backprop", "align_ada"), (8, 16), (0.5, 1.0, 2.0), (7, 3, 5)
    )
]


def make_run(config, **result):
    return run_directory.Run(pathlib.Path(config.name), config.to_dict(), result, [])


def test_nothing_is_chosen_in_one_stage():
    assert choosing.stages(GRID, ()) == (GRID, [])


def test_the_first_seed_of_the_grid_comes_first():
    first, others = choosing.stages(GRID, ["learning_rate"])
    assert {config.seed for config in first} == {7}
    assert {config.seed for config in others} == {3, 5}
    assert sorted([*first, *others], key=GRID.index) == GRID


def test_each_combination_of_the_others_has_its_own_best():
    best = {("backprop", 8): 0.5, ("backprop", 16): 2.0, ("align_ada", 8): 1.0}
    first, others = choosing.stages(GRID, ["learning_rate"])
    runs = []
    for config in first:
        is_best = best.get((config.rule, config.width)) == config.learning_rate
        runs.append(make_run(config, validation_accuracy=0.8 if is_best else 0.7))
    runs = [run for run in runs if (run.config["rule"], run.config["width"]) in best]
    chosen = itertools.compress(others, choosing.is_chosen(others, ["learning_rate"], runs))
    expected = [
        config for config in others if best.get((config.rule, config.width)) == config.learning_rate
    ]
    assert list(chosen) == expected
    assert len(expected) == 6


@pytest.mark.parametrize("diverged", [{"diverged": True}, {"best_validation_loss": None}])
def test_what_diverged_is_worse_and_a_smaller_loss_is_better(diverged):
    configs = [Config(learning_rate=rate, seed=seed) for rate in (1.0, 2.0, 4.0) for seed in (0, 1)]
    first, others = choosing.stages(configs, ["learning_rate"])
    results = [{"best_validation_loss": 0.3}, {"best_validation_loss": 0.2}]
    results.append({"best_validation_loss": 0.1} | diverged)
    runs = [make_run(config, **result) for config, result in zip(first, results, strict=True)]
    assert choosing.is_chosen(others, ["learning_rate"], runs) == [False, True, False]


def test_runs_that_are_older_than_a_field_choose():
    rates = [Config(learning_rate=rate, seed=seed) for seed in (0, 1) for rate in (1.0, 2.0)]
    runs = [make_run(config, validation_accuracy=config.learning_rate / 4) for config in rates[:2]]
    for run in runs:
        del run.config["num_tangents"]
    assert choosing.is_chosen(rates[2:], ["learning_rate"], runs) == [False, True]


def test_seeds_may_begin_with_files_of_their_own():
    configs = [
        Config(learning_rate=rate, seed=seed, initial_model="{seed}", initial_digest=str(seed))
        for rate in (1.0, 2.0)
        for seed in (0, 1)
    ]
    first, others = choosing.stages(configs, ["learning_rate"])
    runs = [make_run(config, validation_accuracy=config.learning_rate) for config in first]
    assert choosing.is_chosen(others, ["learning_rate"], runs) == [False, True]


@pytest.mark.parametrize("field", ["seed", "epochs", "colour"])
def test_only_what_makes_a_grid_can_be_chosen(field):
    with pytest.raises(ValueError, match=rf"^Expected choose to be some of .*'{field}'"):
        choosing.stages(GRID, [field])


def test_the_whole_way(command, tmp_path):
    flags = [
        "--rule=backprop,readout --learning_rate=0.01,1 --seed=5,1,2 --choose=learning_rate",
        "--data_limit=40 --width=4 --depth=1 --epochs=1 --batch_size=20",
        f"--run_dir={tmp_path / 'runs'}",
    ]
    words = " ".join(flags).split()
    plan = command(*words, "--dry_run")
    assert (plan.status, plan) == (0, "")
    assert "4 runs" in plan.out
    assert "Then 4 runs of other seeds, at the best learning_rate." in plan.out
    done = command(*words)
    assert done.status == 0
    runs = run_directory.read_runs(tmp_path / "runs")
    by_seed = {seed: [run for run in runs if run.config["seed"] == seed] for seed in (5, 1, 2)}
    assert [len(by_seed[seed]) for seed in (5, 1, 2)] == [4, 2, 2]
    for rule in ("backprop", "readout"):
        first = [run for run in by_seed[5] if run.config["rule"] == rule]
        best = max(first, key=lambda run: run.result["validation_accuracy"])
        for seed in (1, 2):
            (rate,) = [r.config["learning_rate"] for r in by_seed[seed] if r.config["rule"] == rule]
            assert rate == best.config["learning_rate"]
    assert "The other seeds, at the best learning_rate:" in done.out


def test_a_report_shows_the_rate_of_all_seeds():
    rates = {1.0: [(0, 0.8), (1, 0.7), (2, 0.7)], 2.0: [(0, 0.79)]}
    runs = [
        make_run(Config(learning_rate=rate, seed=seed), validation_accuracy=accuracy)
        for rate, results in rates.items()
        for seed, accuracy in results
    ]
    shown = exhibits.best(runs, ["learning_rate"])
    assert {run.config["learning_rate"] for run in shown} == {1.0}
