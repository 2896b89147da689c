"""The companion of the alignment score against NumPy, restored, and out of the way at the end."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import wna_tf
from tests import oracle
from tests.diagnosed import MAPS, fit, make_data, make_learner
from wna_tf.callbacks import AlignmentScore, FeedbackAngle

pytestmark = pytest.mark.usefixtures("names_from_the_start")


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


def test_a_companion_has_the_scale_of_the_learners_loss():
    learner = make_learner(
        "align_zero", keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.5))
    )
    learner.optimizer.build(learner.trainable_variables)
    learner.optimizer.dynamic_scale.assign(64)  # As after some steps without the score.
    fit(learner, score := AlignmentScore(), epochs=2)
    for ours, theirs in zip(score.companion, learner.trainable_variables, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_companion_does_not_decay_behind_an_optimizer_that_scales_the_loss():
    inner = keras.optimizers.SGD(0.1, weight_decay=0.5)
    learner = make_learner("backprop", keras.optimizers.LossScaleOptimizer(inner))
    x, _ = make_data(16)
    fit(learner, score := AlignmentScore(), data=(x, learner.network(x)))  # Without an error.
    initial = [variable.numpy() for variable in learner.initial_weights]
    for variable, before in zip(score.companion, initial, strict=True):
        np.testing.assert_allclose(variable, before, atol=1e-6)
    assert np.all(np.abs(learner.trainable_variables[0] - 0.95 * initial[0]) < 1e-6)


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
