"""Diagnostics: the companion against NumPy, known angles, and training that they leave alone."""

import dataclasses
import importlib.util

import keras
import numpy as np
import pytest
import tensorflow as tf

import wna_tf
from tests import oracle
from wna_tf import callbacks
from wna_tf.callbacks import AlignmentScore, Conservation, FeedbackAngle, LinearizationGap
from wna_tf.experiments import run_directory, training
from wna_tf.experiments.config import Config, Setup

ALIGN = ("align_zero", "align_ada", "align_prop")
MAPS = ("dense", "dense_1", "head")


@pytest.fixture(autouse=True)
def _names_from_the_start():
    keras.backend.clear_session()


def make_data(num_examples=32):
    rng = np.random.default_rng(0)
    return rng.normal(size=(num_examples, 6)), rng.normal(size=(num_examples, 3))


def make_learner(rule, optimizer=None, normalize=False, **options):
    network = wna_tf.models.mlp((6,), 3, 8, depth=2, normalize=normalize, **options)
    learner = wna_tf.Learner(network, rule)
    learner.compile(optimizer or keras.optimizers.SGD(0.5), "mse")
    return learner


def fit(learner, *diagnostics, epochs=1, batch_size=16, data=None):
    x, y = data or make_data()
    return learner.fit(
        x,
        y,
        batch_size=batch_size,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=list(diagnostics),
    ).history


def measure(learner, diagnostic):
    """What a diagnostic says of a learner as it is."""
    logs = {}
    diagnostic.set_model(learner)
    diagnostic.on_epoch_end(0, logs)
    return logs


# The companion of the alignment score.


def train_by_numpy(initial, batches, rates, momentum):
    """Backpropagation and its companion, in NumPy: what `(network, companion)` end at."""
    blocks = [oracle.Block(8, activation="relu"), oracle.Block(8, activation="relu")]
    blocks.append(oracle.Block(3))
    weights = {"backprop": initial, "align_zero": initial}
    velocity = {rule: [np.zeros_like(w) for w in initial] for rule in weights}

    def pairs(arrays):
        return list(zip(arrays[::2], arrays[1::2], strict=True))

    for (x, y), rate in zip(batches, rates, strict=True):
        network = pairs(weights["backprop"])
        f, _ = oracle.forward(blocks, network, x)
        error = 2 * (f - y) / f.size
        for rule in weights:
            updates = oracle.updates(rule, blocks, network, pairs(initial), [], x, error)
            flat = [array for pair in updates for array in pair]
            velocity[rule] = [
                momentum * v - rate * u for v, u in zip(velocity[rule], flat, strict=True)
            ]
            weights[rule] = [w + v for w, v in zip(weights[rule], velocity[rule], strict=True)]
    return weights["backprop"], weights["align_zero"]


@pytest.mark.parametrize("replicas", [1, 2])
def test_the_companion_takes_the_align_zero_updates_of_the_learners_error(replicas, request):
    one = tf.distribute.get_strategy()
    with (one if replicas == 1 else request.getfixturevalue("mirrored")).scope():
        learner = make_learner("backprop", keras.optimizers.SGD(0.5, momentum=0.6))
    initial = [variable.numpy() for variable in learner.trainable_variables]
    score = AlignmentScore()
    halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else rate)
    x, y = make_data()
    history = fit(learner, score, halve, epochs=2)
    history |= fit(learner, score)  # Goes on with the same companion.

    batches = [(x[:16], y[:16]), (x[16:], y[16:])] * 3
    rates = [0.5] * 2 + [0.25] * 4
    network, companion = train_by_numpy(initial, batches, rates, 0.6)
    for variables, expected in (
        (learner.trainable_variables, network),
        (score.companion, companion),
    ):
        for variable, array in zip(variables, expected, strict=True):
            np.testing.assert_allclose(variable.numpy(), array, rtol=1e-4, atol=1e-5)
    for index, name in enumerate(MAPS):
        a, b = (w[2 * index] - initial[2 * index] for w in (network, companion))
        lam, sig = a @ a.T, b @ b.T
        expected = np.sum(lam * sig) / np.linalg.norm(lam) / np.linalg.norm(sig)
        np.testing.assert_allclose(history[f"alignment_score/{name}"], expected, rtol=1e-3)
        assert history[f"alignment_score_error/{name}"] == [0]


def test_a_network_that_learns_by_align_zero_is_its_own_companion():
    learner = make_learner("align_zero", keras.optimizers.Adam(0.01), normalize=True)
    history = fit(learner, AlignmentScore(), epochs=2)
    for name in MAPS:
        np.testing.assert_allclose(history[f"alignment_score/{name}"], 1, atol=1e-5)
        assert max(history[f"alignment_score_shuffled/{name}"]) < 0.9


def test_a_companion_can_be_saved_and_restored():
    learner, other = (make_learner("align_zero", keras.optimizers.Adam(0.01)) for _ in range(2))
    score, restored = AlignmentScore(), AlignmentScore()
    fit(learner, score)
    restored.set_model(other)
    other.set_weights(learner.get_weights())
    pairs = zip(
        [*restored.variables, *other.optimizer.variables],
        [*score.variables, *learner.optimizer.variables],
        strict=True,
    )
    for variable, value in pairs:
        variable.assign(value)
    fit(learner, score)
    fit(other, restored)
    for a, b in zip(score.variables, restored.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(score.variables) > 3 * len(score.companion)  # Adam's moments are among them.


def test_nothing_observes_when_training_is_over(tmp_path):
    learner = make_learner("backprop")
    seen = []

    def observe(step):
        seen.append(step)

    learner.observers = (observe,)
    count = len(learner.weights)
    fit(learner, AlignmentScore())
    assert learner.observers == (observe,)
    assert seen
    assert len(learner.weights) == count
    path = tf.train.Checkpoint(model=learner).save(tmp_path / "checkpoint")
    tf.train.Checkpoint(model=make_learner("backprop")).restore(path).assert_consumed()


def test_only_maps_that_learn_have_scores():
    assert set(fit(make_learner("readout"), AlignmentScore())) == {
        "loss",
        *(f"{column}/head" for column in AlignmentScore.columns),
    }


def test_scores_of_a_recurrent_network_of_any_number_of_time_steps():
    network = wna_tf.models.rnn(5, (None, 1))
    learner = wna_tf.Learner(network, "backprop")
    learner.compile("sgd", wna_tf.losses.SumSquaredError())
    rng = np.random.default_rng(0)
    data = tuple(rng.random((2, 6, 7, 1)))
    history = fit(learner, AlignmentScore(), FeedbackAngle(*data), data=data, batch_size=3)
    maps = ("recurrent.kernel", "recurrent.recurrent_kernel", "head")
    for name in maps:
        assert 0 <= history[f"alignment_score/{name}"][0] <= 1 + 1e-6
        np.testing.assert_allclose(history[f"update_angle/{name}"], 0, atol=1e-3)


# Angles.


def test_backprop_has_no_angles():
    history = fit(make_learner("backprop", normalize=True), FeedbackAngle(*make_data()), epochs=2)
    assert set(history) - {"loss"} == {
        *(f"feedback_angle/{name}" for name in MAPS[1:]),
        *(f"update_angle/{name}" for name in MAPS),
    }
    for name in set(history) - {"loss"}:
        np.testing.assert_allclose(history[name], 0, atol=1e-3, err_msg=name)


@pytest.mark.parametrize("rule", ALIGN)
def test_the_first_update_of_an_align_rule_is_backpropagations(rule):
    angles = measure(make_learner(rule, normalize=True), FeedbackAngle(*make_data()))
    for name in MAPS:
        np.testing.assert_allclose(angles[f"update_angle/{name}"], 0, atol=0.02, err_msg=name)


@pytest.mark.parametrize(("factor", "degrees"), [(2.0, 0), (-1.0, 180)])
def test_tied_feedback_weights_have_known_angles(factor, degrees):
    learner = make_learner("feedback_alignment")
    kernels = learner.trainable_variables[::2]
    for own, kernel in zip(learner.feedback_weights, kernels, strict=True):
        own.assign(factor * kernel.value)
    angles = measure(learner, FeedbackAngle(*make_data()))
    for name in MAPS[1:]:
        np.testing.assert_allclose(angles[f"feedback_angle/{name}"], degrees, atol=1e-4)
    # Deltas turn their sign at each feedback kernel: none to the head, two to the first map.
    for name, expected in zip(MAPS, (0, degrees, 0), strict=True):
        np.testing.assert_allclose(angles[f"update_angle/{name}"], expected, atol=0.02)


@pytest.mark.parametrize(
    ("rule", "maps"), [("direct_feedback_alignment", MAPS), ("readout", MAPS[2:])]
)
def test_rules_without_kernels_that_carry_deltas_have_update_angles_alone(rule, maps):
    angles = measure(make_learner(rule), FeedbackAngle(*make_data()))
    assert set(angles) == {f"update_angle/{name}" for name in maps}
    np.testing.assert_allclose(angles["update_angle/head"], 0, atol=1e-3)


# The linearization, and what is conserved.


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


# Runs and their files.


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


@pytest.mark.parametrize("diagnostic", [FeedbackAngle, LinearizationGap])
def test_a_diagnostic_without_a_batch_is_refused(diagnostic):
    with pytest.raises(ValueError, match=rf"Expected {diagnostic.__name__}\(x, y\), or validation"):
        measure(make_learner("backprop"), diagnostic())


def test_tensorboard_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install tensorboard\. Received"):
        training.train(Config(), tmp_path / "run", Setup(tensorboard=True))
    assert not list(tmp_path.iterdir())
