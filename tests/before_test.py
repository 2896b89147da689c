"""What version 0.1.0 wrote can be used still: run directories, models, flagfiles."""

import pathlib
import shutil

import keras
import numpy as np
import pytest

import wna_tf
from wna_tf import experiments
from wna_tf.experiments.run_directory import MODEL

BEFORE = pathlib.Path(__file__).parent / "data" / "before"


@pytest.fixture
def runs(tmp_path):
    return shutil.copytree(BEFORE / "runs", tmp_path / "runs")


def test_runs_are_read_reported_and_evaluated_as_they_were(runs):
    read = experiments.read_runs(runs)
    assert [run.config["rule"] for run in read] == ["align_ada", "kolen_pollack"]
    for run in read:
        (evaluated,) = experiments.evaluate(run.directory, "test")
        for ours, theirs in {"accuracy": "test_accuracy", "loss": "test_loss"}.items():
            np.testing.assert_allclose(evaluated.numbers[ours], run.result[theirs], rtol=1e-5)
    assert experiments.report(read, runs)


def test_a_flagfile_names_the_same_runs(runs, command):
    ended = command(f"--flagfile={BEFORE / 'small.flags'}", f"--run_dir={runs}", "--dry_run")
    rows = [line.split(" | ") for line in ended.out.splitlines() if "seed99" in line]
    assert [row[1] for row in rows] == ["finished", "finished"]
    assert {row[0].removeprefix("| ") for row in rows} == {path.name for path in runs.iterdir()}


@pytest.mark.parametrize("rule", ["align_ada", "kolen_pollack"])
def test_a_learner_goes_on(rule):
    (directory,) = BEFORE.glob(f"runs/{rule}_*")
    learner = keras.models.load_model(directory / MODEL)
    assert isinstance(learner, wna_tf.Learner)
    assert learner.rule == wna_tf.rules.get(rule)
    assert int(learner.optimizer.iterations) == 12
    before = [variable.numpy() for variable in learner.trainable_variables]
    train, _, _ = wna_tf.datasets.load("digits", batch_size=100)
    learner.fit(train.take(1), verbose=0)
    assert any(
        np.any(b != v.numpy()) for b, v in zip(before, learner.trainable_variables, strict=True)
    )
