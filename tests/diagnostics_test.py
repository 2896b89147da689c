"""Linearization and conservation in closed form, and training that diagnostics leave alone."""

import dataclasses
import importlib.util

import numpy as np
import pytest
import tensorflow as tf

from tests.diagnosed import fit, make_data, make_learner, measure
from wna_tf import callbacks
from wna_tf.callbacks import (
    AlignmentScore,
    Conservation,
    FeedbackAngle,
    KernelChange,
    LinearizationGap,
)
from wna_tf.experiments import run_directory, training
from wna_tf.experiments.config import Config, Setup

pytestmark = pytest.mark.usefixtures("names_from_the_start")


def test_the_linearization_gap_is_that_of_finite_differences(double_precision):
    learner = make_learner("backprop", normalize=True, activation="tanh")
    x, _ = make_data()
    history = fit(learner, LinearizationGap(x), epochs=2)
    network, trained = learner.network, [v.numpy() for v in learner.trainable_variables]
    initial = [v.numpy() for v in learner.initial_weights]

    def outputs(time):
        for variable, a, b in zip(learner.trainable_variables, initial, trained, strict=True):
            variable.assign(a + time * (b - a))
        return network(x, training=True).numpy()

    slope = (outputs(1e-5) - outputs(-1e-5)) / 2e-5
    f, f_0 = outputs(1), outputs(0)
    expected = np.linalg.norm(f - f_0 - slope) / np.linalg.norm(f - f_0)
    assert expected > 0.01
    np.testing.assert_allclose(history["linearization_gap"][-1], expected, rtol=1e-6)


def test_a_network_that_does_not_change_has_no_linearization_gap():
    assert not measure(make_learner("backprop"), LinearizationGap(*make_data()))


def test_conservation_is_the_change_of_the_quantities():
    learner = make_learner("feedback_alignment")
    (own_1, own_2), before = learner.feedback_weights[1:], learner.trainable_variables
    before = [variable.numpy().astype("float64") for variable in before]
    history = fit(learner, Conservation())
    after = [variable.numpy().astype("float64") for variable in learner.trainable_variables]
    for name, lower, own in (("dense_to_dense_1", 0, own_1), ("dense_1_to_head", 2, own_2)):
        first, last = (
            np.sum(w[lower] ** 2) / 2 - np.sum(w[lower + 2] * own.numpy()) for w in (before, after)
        )
        np.testing.assert_allclose(history[f"conservation/{name}"], last - first, rtol=1e-5)
    assert not measure(make_learner("readout"), Conservation())
    assert list(measure(make_learner("backprop"), Conservation()).values()) == [0, 0]


def test_a_run_with_diagnostics_is_the_run_without_them(tmp_path):
    config = Config(width=4, depth=1, epochs=2, batch_size=100, data_limit=200, rule="backprop")
    plain = training.train(config, tmp_path / "plain")
    measured = dataclasses.replace(config, diagnostics=callbacks.names())
    run = training.train(measured, tmp_path / "measured", Setup(tensorboard=True))
    for before, row in zip(plain.history, run.history, strict=True):
        assert before | {"seconds": 0} == {key: row[key] for key in before} | {"seconds": 0}
    added = set(run.history[0]) - set(plain.history[0])
    assert added == {
        *(f"{column}/{name}" for column in AlignmentScore.columns for name in ("dense", "head")),
        "feedback_angle/head",
        "update_angle/dense",
        "update_angle/head",
        "gradient_norm/dense",
        "gradient_norm/head",
        "network_update_angle",
        "network_update_angle_frozen",
        "network_gradient_norm",
        "kernel_change",
        "label_alignment",
        "label_alignment_initial",
        "linearization_gap",
        "conservation/dense_to_head",
    }
    for name in added:
        assert run.result[name] == run.history[-1][name]
    assert set(run.result) == set(plain.result) | added
    assert run_directory.read_run(run.directory).history == run.history

    (events,) = (run.directory / "tensorboard").iterdir()
    scalars = {
        (value.tag, event.step): tf.make_ndarray(value.tensor).item()
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
    }
    for row in run.history:
        for name in row.keys() - {"epoch", "seconds"}:
            np.testing.assert_allclose(scalars[name, row["epoch"]], row[name], rtol=1e-6)


def test_diagnostics_take_the_first_validation_batch():
    x, y = make_data()
    learner, taken = make_learner("align_ada"), FeedbackAngle()
    learner.fit(x, y, validation_data=(x[:20], y[:20]), batch_size=8, verbose=0, callbacks=[taken])
    given = FeedbackAngle(x[:8], y[:8])
    assert measure(learner, given) == measure(learner, taken)


@pytest.mark.parametrize("diagnostic", [FeedbackAngle, KernelChange, LinearizationGap])
def test_a_diagnostic_without_a_batch_is_refused(diagnostic):
    with pytest.raises(ValueError, match=rf"Expected {diagnostic.__name__}\(x, y\), or validation"):
        measure(make_learner("backprop"), diagnostic())


def test_tensorboard_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install tensorboard\. Received"):
        training.train(Config(), tmp_path / "run", Setup(tensorboard=True))
    assert not list(tmp_path.iterdir())
