"""What takes long goes through `progress`: each stage tells how far it is."""

import re

import keras
import numpy as np
import pytest
from absl.testing import flagsaver

import wna_tf
from tests.clock import Clock
from tests.command import TINY, flags_of
from wna_tf import caching, callbacks, datasets, measures, progress, steps
from wna_tf_command import cli


@pytest.fixture
def told(monkeypatch, capsys):
    """Returns what was told of stages, each part of which takes 40 seconds."""
    monkeypatch.setattr(progress, "time", Clock(40.0))

    def lines():
        stages = [line.partition(": ") for line in capsys.readouterr().err.splitlines()]
        return {(stage, rest.split(",")[0]) for stage, colon, rest in stages if colon}

    return lines


def write_images(directory):
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            (directory / part / name).mkdir(parents=True)
            for index in range(3):
                image = np.full([4, 4, 3], 80 * index, np.uint8)
                keras.utils.save_img(directory / part / name / f"{index}.png", image, scale=False)


def test_listing_checking_and_decoding_of_image_files(tmp_path, told):
    write_images(tmp_path)
    datasets.load("image_folder", 2, data_dir=tmp_path, skip_corrupt=True)
    train = tmp_path / "train"
    assert told() >= {
        (f"Listing {train}", "1/2 folders"),
        (f"Checking images of {train}", "2 folders in 0:02:00"),
        ("Decoding images", "6/6 images"),
        ("Decoding images", "6 images in 0:01:20"),
    }
    assert datasets.training_size("image_folder", tmp_path) == 6
    assert (f"Listing {train}", "2/2 folders") in told()


@pytest.fixture(scope="module")
def data():
    return datasets.load("digits", 300, data_limit=600)


@pytest.fixture(scope="module")
def learner(data):
    network = wna_tf.models.mlp(data.input_shape, 10, 40, depth=2, normalize=False)
    made = wna_tf.Learner(network, "align_zero")
    made.compile(keras.optimizers.SGD(0.1), "mse", metrics=["accuracy"])
    return made


def test_the_cache_of_the_frozen_network(learner, data, told):
    caching.cache(learner, data)
    stage = "Cache of the frozen network"
    assert told() == {
        (stage, "1/2 batches"),
        (stage, "2/2 batches"),
        (stage, "2 batches in 0:02:00"),
    }


@pytest.mark.parametrize("verbose", [0, 2])
def test_alignment_scores_in_epochs_unless_fit_is_silent(verbose, learner, data, told):
    learner.fit(data.train, epochs=1, verbose=verbose, callbacks=[callbacks.AlignmentScore()])
    stages = told()
    assert {("Alignment scores", f"{n}/3 layers") for n in (1, 2, 3)} <= stages or not verbose
    assert not stages or verbose


def test_the_alignment_score_of_a_layer(learner, told, monkeypatch):
    (step, name), *_ = learner.program.affine_names.items()
    monkeypatch.setattr(measures, "_CHUNK_ENTRIES", 64 * 20)
    other = [variable + 1.0 for variable in learner.trainable_variables]
    monkeypatch.setattr(learner, "weight_values", _moved(learner))
    measures.alignment_score(learner, name, other)
    assert (f"Alignment of {step.name}", "2/2 chunks") in told()


def _moved(learner):
    current, initial = learner.weight_values()
    moved = {key: value + 0.5 for key, value in current.items()}
    return lambda: (moved, initial)


def test_the_evaluation_at_the_end_of_a_run_but_not_within_epochs(learner, data, told):
    learner.predict(data.test, verbose=0)
    evaluation = steps.Evaluation(learner, data.test)
    evaluation.evaluate()
    batches = int(data.test.cardinality())
    assert ("Evaluation", f"{batches}/{batches} batches") in told()
    evaluation.evaluate(keras.callbacks.CallbackList(model=learner))
    assert not told()


@pytest.mark.slow
def test_modes_tell_of_their_runs_and_nothing_with_verbose_0(runs, capsys, monkeypatch):
    monkeypatch.setattr(progress, "time", Clock(40.0))
    for mode, stages in {
        "evaluate": [
            rf"Evaluation of {TINY.name}: 1/\d+ batches, 0.025 batches/s, \S+ left",
            "Evaluation: 1/1 runs, .* 0:00:00 left",
        ],
        "export": ["Export: 1/1 runs, 0.025 runs/s, 0:00:00 left"],
        "report": [
            "Reading: 1/1 runs, 0.025 runs/s, 0:00:00 left",
            r"Report: 1/\d figures, 0.025 figures/s, \S+ left",
        ],
    }.items():
        for verbose, is_told in ((1, True), (0, False)):
            cli_run(f"--mode={mode}", f"--run_dir={runs}", f"--verbose={verbose}")
            err = capsys.readouterr().err
            for stage in stages:
                assert bool(re.search(f"^{stage}$", err, re.MULTILINE)) == is_told, (stage, err)


def cli_run(*words):
    with flagsaver.flagsaver():
        cli.run(["main.py", *words])


@pytest.mark.parametrize("verbose", [0, 1])
def test_a_run_tells_its_steps_unless_verbose_is_0(verbose, tmp_path, command, monkeypatch):
    monkeypatch.setattr(progress, "time", Clock(40.0))
    ended = command(*flags_of(TINY, tmp_path), f"--verbose={verbose}")
    assert ended.status == 0
    assert ("epoch 1/3, step 1/4: " in ended.out) == verbose
    assert ("Evaluation: " in ended) == verbose
    assert TINY.name in ended.out and "3/3 - " in ended.out
