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
from wna_tf.callbacks import (
    AlignmentScore,
    Conservation,
    FeedbackAngle,
    KernelChange,
    LinearizationGap,
)
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
    history = fit(make_learner("readout"), AlignmentScore())
    columns = {f"{column}/head" for column in AlignmentScore.columns}
    assert set(history) == {"loss", *columns}
    # On blocks that stay as they are it learns as the companion's head does.
    np.testing.assert_allclose(history["alignment_score/head"], 1, rtol=1e-5)


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

# What tells what they are worth.
OTHERS = {
    "loss",
    *(f"gradient_norm/{name}" for name in MAPS),
    "network_gradient_norm",
    "network_update_angle_frozen",
}


def test_backprop_has_no_angles():
    history = fit(make_learner("backprop", normalize=True), FeedbackAngle(*make_data()), epochs=2)
    angles = {column: values for column, values in history.items() if column not in OTHERS}
    assert set(angles) == {
        *(f"feedback_angle/{name}" for name in MAPS[1:]),
        *(f"update_angle/{name}" for name in MAPS),
        "network_update_angle",
    }
    for name, values in angles.items():
        np.testing.assert_allclose(values, 0, atol=1e-3, err_msg=name)


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
    own = {column for column in angles if column.startswith(("feedback_angle", "update_angle"))}
    assert own == {f"update_angle/{name}" for name in maps}
    np.testing.assert_allclose(angles["update_angle/head"], 0, atol=1e-3)


def test_the_baseline_of_frozen_blocks_is_the_angle_of_readout():
    data = make_data()
    learner = make_learner("backprop", normalize=True)
    fit(learner, epochs=2)
    angles = measure(learner, FeedbackAngle(*data))
    gradients = [update.numpy().astype("float64") for update in learner.updates(*data)]
    squares = [np.sum(gradient**2) for gradient in gradients]
    expected = np.degrees(np.arccos(np.sqrt(sum(squares[-2:]) / sum(squares))))
    assert 20 < expected < 80
    np.testing.assert_allclose(angles["network_update_angle_frozen"], expected, rtol=1e-5)

    initial = [variable.numpy() for variable in learner.initial_weights]
    for variable, array in zip(learner.trainable_variables, initial, strict=True):
        variable.assign(array)
    for name, indices in (("/dense", [0]), ("/head", [4]), ("network_", range(6))):
        before = learner.updates(*data)
        ratio = np.sqrt(
            sum(squares[i] for i in indices) / sum(np.sum(before[i] ** 2.0) for i in indices)
        )
        column = f"gradient_norm{name}" if name[0] == "/" else f"{name}gradient_norm"
        np.testing.assert_allclose(angles[column], ratio, rtol=1e-5, err_msg=name)

    frozen = measure(make_learner("readout", normalize=True), FeedbackAngle(*data))
    np.testing.assert_allclose(
        frozen["network_update_angle"], frozen["network_update_angle_frozen"], rtol=1e-5
    )


@pytest.mark.parametrize("floor", [-1e-3, 1, float("nan")])
def test_a_floor_is_a_part_of_the_first_norm(floor):
    with pytest.raises(ValueError, match=r"Expected 0 <= floor < 1\. Received: floor="):
        FeedbackAngle(floor=floor)


def drive_to_interpolation(learner, data, steps=2500):
    batches = tf.data.Dataset.from_tensors(data).repeat()
    learner.fit(batches, steps_per_epoch=steps, epochs=1, verbose=0)


def in_double_precision(learner):
    """A learner of the same rule at the same weights, to the bit, in float64."""
    before = keras.config.floatx()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        keras.backend.clear_session()
        exact = make_learner(learner.rule)
        for variable, value in zip(exact.weights, learner.weights, strict=True):
            variable.assign(tf.cast(value.value, "float64"))
        return exact
    finally:
        keras.config.set_floatx(before)
        keras.config.set_dtype_policy(before)


def test_an_angle_to_a_gradient_that_is_rounding_is_left_out():
    data = tuple(array[:2].astype("float32") for array in make_data())
    learner = make_learner("align_prop")
    first = measure(learner, FeedbackAngle(*data))
    for name in MAPS:
        assert first[f"gradient_norm/{name}"] == 1
    drive_to_interpolation(learner, data)
    noisy = measure(learner, FeedbackAngle(*data, floor=0))
    exact = measure(in_double_precision(learner), FeedbackAngle(*data, floor=0))
    columns = [f"update_angle/{name}" for name in MAPS]
    assert max(abs(noisy[column] - exact[column]) for column in columns) > 1  # Degrees: rounding.
    masked = measure(learner, FeedbackAngle(*data))
    assert not [column for column in masked if "update_angle" in column]
    assert {f"gradient_norm/{name}" for name in MAPS} | {"network_gradient_norm"} <= set(masked)
    assert 0 < max(masked[f"gradient_norm/{name}"] for name in MAPS) < 1e-3


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


# The tangent kernel.


def kernel_by_finite_differences(learner, x, training=False):
    """The traced kernel at the current weights."""
    network, rows = learner.network, []
    for variable in learner.trainable_variables:
        value = variable.numpy()
        for index in np.ndindex(value.shape):
            step = np.zeros_like(value)
            step[index] = 1e-6
            ends = []
            for sign in (1, -1):
                variable.assign(value + sign * step)
                ends.append(network(x, training=training).numpy())
            rows.append((ends[0] - ends[1]) / 2e-6)
        variable.assign(value)
    jacobian = np.array(rows)  # [weights, examples, outputs]
    return np.einsum("pnc,pmc->nm", jacobian, jacobian) / jacobian.shape[-1]


@pytest.mark.parametrize("normalize", [False, True])
def test_the_change_of_the_kernel_is_that_of_finite_differences(normalize, double_precision):
    network = wna_tf.models.mlp((6,), 3, 4, depth=1, normalize=normalize, activation="tanh")
    learner = wna_tf.Learner(network, "align_ada")
    learner.compile(keras.optimizers.SGD(0.5), "mse")
    x, y = make_data(8)
    before = kernel_by_finite_differences(learner, x, training=normalize)
    history = fit(learner, KernelChange(x, y), epochs=2, batch_size=4, data=(x, y))
    after = kernel_by_finite_differences(learner, x, training=normalize)
    change = np.linalg.norm(after - before) / np.linalg.norm(before)
    assert change > 0.05
    np.testing.assert_allclose(history["kernel_change"][-1], change, rtol=1e-6)
    gram = y @ y.T
    for column, kernel in (("label_alignment", after), ("label_alignment_initial", before)):
        expected = np.sum(kernel * gram) / np.linalg.norm(kernel) / np.linalg.norm(gram)
        np.testing.assert_allclose(history[column][-1], expected, rtol=1e-6)


def test_the_kernel_of_a_network_that_is_as_it_was_has_not_changed():
    x, y = make_data()
    values = measure(make_learner("backprop", normalize=True), KernelChange(x, y))
    assert values["kernel_change"] == 0
    assert values["label_alignment"] == values["label_alignment_initial"]
    assert set(measure(make_learner("backprop"), KernelChange(x))) == {"kernel_change"}


def test_the_kernel_is_that_of_some_examples_drawn_by_a_seed():
    x, y = make_data()
    learner = make_learner("backprop")
    some = [measure(learner, KernelChange(x, y, 5, seed)) for seed in (0, 0, 1)]
    assert some[0] == some[1] != some[2]
    chosen = np.sort(np.random.default_rng(1).choice(32, 5, replace=False))
    assert measure(learner, KernelChange(x[chosen], y[chosen])) == some[2]


def test_labels_are_classes_and_align_as_their_targets_do():
    x, _ = make_data()
    learner = make_learner("backprop", normalize=True)
    learner.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    labels = np.arange(32) % 3
    forms = (labels, labels[:, np.newaxis], np.eye(3)[labels], np.eye(3)[labels] - 1 / 3)
    values = [measure(learner, KernelChange(x, y))["label_alignment"] for y in forms]
    np.testing.assert_allclose(values, values[0], rtol=1e-6)


def test_the_kernel_of_several_outputs_is_refused_before_training():
    inputs = keras.Input((6,))
    outputs = [wna_tf.layers.Dense(3)(inputs) for _ in range(2)]
    learner = wna_tf.Learner(keras.Model(inputs, outputs), "backprop")
    learner.compile("sgd", ["mse", "mse"])
    x, y = make_data()
    with pytest.raises(ValueError, match=r"one output\. Received: 2 outputs"):
        fit(learner, KernelChange(x, [y, y]), data=(x, [y, y]))
    assert not int(learner.optimizer.iterations)


@pytest.mark.parametrize("examples", [0, 2.0, True])
def test_a_kernel_is_of_an_example_at_least(examples):
    with pytest.raises(ValueError, match=r"at least 1\. Received: examples="):
        KernelChange(examples=examples)


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
