"""Optimizers by name: what each is made of, and which take momentum and a ridge term."""

import dataclasses
import re

import keras
import numpy as np
import pytest

import wna_tf
from tests.command import TINY
from wna_tf.experiments import build, optimizers
from wna_tf.experiments.config import Config

WITH_RIDGE = [
    *("adadelta", "adafactor", "adagrad", "adam", "adamax"),
    *("lamb", "lion", "nadam", "rmsprop", "sgd"),
]


def make_learner():
    return wna_tf.Learner(wna_tf.models.mlp((4,), 3, 5, depth=1, normalize=False), "backprop")


def make(**fields):
    config = Config(**fields)
    optimizers.check(config)
    return optimizers.make(config, make_learner())


@pytest.mark.parametrize("name", optimizers.names())
def test_every_optimizer_is_that_of_keras(name):
    made = make(optimizer=name, learning_rate=0.25)
    ours, theirs = made.get_config(), type(made)(0.25).get_config()
    if name == "adam":
        theirs["epsilon"] = 1e-8
    assert ours | {"name": None} == theirs | {"name": None}
    assert getattr(keras.optimizers, type(made).__name__) is type(made)
    assert type(made).__name__.lower() == name


def test_the_usual_optimizers_are_there_and_no_base_classes():
    assert {"sgd", "adam", "adamw", "rmsprop", "lion", "nadam"} <= set(optimizers.names())
    assert not {"optimizer", "lossscaleoptimizer"} & set(optimizers.names())


@pytest.mark.parametrize("name", ["sgd", "rmsprop"])
def test_momentum_is_the_optimizers(name):
    assert make(optimizer=name, momentum=0.9).momentum == 0.9


@pytest.mark.parametrize("name", sorted({*WITH_RIDGE} & {*optimizers.names()}))
def test_the_ridge_term_shrinks_the_last_kernel_alone(name):
    learner = make_learner()
    optimizer = optimizers.make(Config(optimizer=name, learning_rate=0.5, ridge=0.1), learner)
    before = [variable.numpy() for variable in learner.trainable_variables]
    zeros = [keras.ops.zeros(array.shape) for array in before]
    for _ in range(2):
        optimizer.apply(zeros, learner.trainable_variables)
    assert len(before) == 4
    for index, (variable, array) in enumerate(
        zip(learner.trainable_variables, before, strict=True)
    ):
        expected = array * (0.95**2 if index == 2 else 1)
        np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("name", sorted({*optimizers.names()} - {*WITH_RIDGE}))
@pytest.mark.parametrize("field", [{"ridge": 0.1}, {"ridge_epochs": 3}])
def test_other_optimizers_take_no_ridge_term(name, field):
    with pytest.raises(ValueError, match=rf"rmsprop, sgd, with a ridge .* optimizer='{name}', rid"):
        make(optimizer=name, **field)


@pytest.mark.parametrize("name", ["adamw", "rmsprop"])
def test_a_run_is_trained_with_any(name, tmp_path):
    config = dataclasses.replace(TINY, optimizer=name, learning_rate=0.01)
    run = wna_tf.experiments.train(config, tmp_path / "run")
    assert run.history[-1]["loss"] < run.history[0]["loss"]


FLAGS = {
    "optimizer": (
        "--optimizer=adamwx",
        "an optimizer, one of adadelta, .*, sgd.* optimizer='adamwx'",
    ),
    "momentum": ("--optimizer=adam --momentum=.9", "rmsprop, sgd, with momentum.* momentum=0.9"),
    "ridge": ("--optimizer=adamw --ridge=.1", "with a ridge term. Received: optimizer='adamw'"),
}


@pytest.mark.parametrize("mode", ["--dry_run", "--nodry_run"])
@pytest.mark.parametrize("name", FLAGS)
def test_a_wrong_optimizer_ends_with_one_line(name, mode, tmp_path, command):
    flags, message = FLAGS[name]
    ended = command(*flags.split(), mode, f"--run_dir={tmp_path}/runs")
    assert (ended.status, ended.out) == (2, "")
    (line,) = ended.splitlines()
    assert re.search(message, line), line
    assert not list(tmp_path.iterdir())


def test_a_grid_of_models_and_depths_is_trained(tmp_path, command):
    flags = ["--epochs=1", "--width=4", "--data_limit=20", "--batch_size=10", "--strides=2"]
    ended = command(*flags, "--model=mlp,cnn", "--depth=0,2", "--seed=1-2", f"--run_dir={tmp_path}")
    assert (ended.status, ended) == (0, "")
    runs = wna_tf.experiments.read_runs(tmp_path)
    trained = {(run.config["model"], run.config["depth"], run.config["seed"]) for run in runs}
    assert trained == {(m, d, s) for m in ("mlp", "cnn") for d in (0, 2) for s in (1, 2)}
    assert wna_tf.experiments.report(runs, tmp_path)


def test_a_model_of_a_grid_that_does_not_fit_is_told_before_anything_is_trained(tmp_path, command):
    ended = command("--model=mlp,rnn", f"--run_dir={tmp_path}/runs")
    assert (ended.status, ended.out) == (2, "")
    assert re.match("Expected sequences .* Received: input_shape=", ended)
    assert not list(tmp_path.iterdir())


def test_choices_are_those_that_are_checked():
    for name, some in build.choices().items():
        for choice in some:
            value = (choice,) if name == "diagnostics" else choice
            fitting = {
                "mean_absolute_percentage_error": {"dataset": "teacher"},
                "forward": {"rule": "align_zero"},
            }
            build.check(Config(**fitting.get(choice, {}) | {name: value}))
