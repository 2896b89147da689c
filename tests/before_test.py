"""What earlier versions wrote can be used still: run directories, models, flagfiles."""

import io
import pathlib
import shutil
import zipfile

import h5py
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


@pytest.mark.parametrize(
    ("rule", "owned"),
    [("feedback_alignment", [3]), ("kolen_pollack", [3]), ("direct_feedback_alignment", [2])],
)
def test_feedback_weights_of_frozen_layers_are_passed_over(rule, owned, tmp_path):
    path = BEFORE / "frozen" / f"{rule}.keras"
    with zipfile.ZipFile(path) as archive:
        content = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(content) as file:
        stored = {int(key): value[()] for key, value in file["vars"].items()}
    learner = keras.models.load_model(path)
    learner.save(tmp_path / "again.keras")
    for loaded in (learner, keras.models.load_model(tmp_path / "again.keras")):
        initial, feedback = loaded.initial_weights, loaded.feedback_weights
        assert len(initial) == 4
        assert [weights.name for weights in feedback] == [f"feedback_weight_{i}" for i in owned]
        keys = [*range(4), *(4 + index for index in owned)]
        for key, variable in zip(keys, [*initial, *feedback], strict=True):
            np.testing.assert_array_equal(variable, stored[key])
        assert int(loaded.optimizer.iterations) == 1


def test_a_file_without_feedback_weights_that_are_needed_is_refused():
    path = BEFORE / "frozen" / "feedback_alignment.keras"
    learner = keras.models.load_model(path)
    stored = {}
    learner.save_own_variables(stored)
    del stored["7"]
    with pytest.raises(ValueError, match=r"Expected a file with .* without feedback_weight_3$"):
        learner.load_own_variables(stored)
