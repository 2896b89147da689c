"""Masks of outputs: losses and metrics count what Keras counts."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import wna_tf

RNG = np.random.default_rng(0)
IDS = np.array([[3, 1, 4, 0, 0], [1, 5, 0, 0, 0], [2, 6, 5, 3, 5], [0, 0, 0, 0, 0]])
TAGS = RNG.integers(0, 3, size=(4, 5))
VALUES = RNG.normal(size=(4, 5, 3)).astype("float32")
OF_STEPS = RNG.random((4, 5)).astype("float32")
OF_EXAMPLES = RNG.random((4, 1)).astype("float32")  # As Keras has them beside a mask.


def tagger(heads=1):
    """A network with an output for each step, and if asked for one of the whole sequence."""
    keras.utils.set_random_seed(0)
    ids = keras.Input((5,), dtype="int32")
    x = layers.Embedding(7, 4, mask_zero=True, name="embedding")(ids)
    x = layers.Dense(6, activation="tanh", name="hidden")(x)
    outputs = [layers.Dense(3, activation="softmax", name="tags")(x)]
    if heads == 2:
        outputs.append(layers.Dense(2, name="size")(ops.mean(x, axis=1)))
    return keras.Model(ids, outputs if heads == 2 else outputs[0])


@pytest.fixture
def pair():
    """Makes a learner and the same network alone, compiled alike."""

    def make(rule="backprop", heads=1, **options):
        models = wna_tf.Learner(tagger(heads), rule), tagger(heads)
        for model in models:
            model.compile(keras.optimizers.SGD(0.5), **options)
        return models

    return make


LOSSES = {"mse": VALUES, "sparse_categorical_crossentropy": TAGS}
METRICS = {"mse": ["mae"], "sparse_categorical_crossentropy": ["accuracy"]}


def compare(ours, theirs):
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    "weights", [None, OF_STEPS, OF_EXAMPLES], ids=["none", "steps", "examples"]
)
@pytest.mark.parametrize("loss", LOSSES)
def test_losses_and_metrics_are_those_of_the_network_alone(pair, loss, weights):
    metrics = {"metrics": METRICS[loss], "weighted_metrics": [loss, *METRICS[loss]]}
    learner, network = pair(loss=loss, **metrics)
    options = {"sample_weight": weights, "return_dict": True}
    for _ in range(2):
        compare(*(m.train_on_batch(IDS, LOSSES[loss], **options) for m in (learner, network)))
    for ours, theirs in zip(learner.network.weights, network.weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    compare(*(m.test_on_batch(IDS, LOSSES[loss], **options) for m in (learner, network)))
    options = {"sample_weight": weights, "return_dict": True, "batch_size": 3, "verbose": 0}
    compare(*(m.evaluate(IDS, LOSSES[loss], **options) for m in (learner, network)))


def test_each_output_has_its_own_mask(pair):
    options = {"loss": ["sparse_categorical_crossentropy", "mse"], "metrics": [["accuracy"], None]}
    learner, network = pair(heads=2, **options)
    targets = [TAGS, VALUES[:, 0, :2]]
    for _ in range(2):
        compare(*(m.train_on_batch(IDS, targets, return_dict=True) for m in (learner, network)))
    compare(*(m.evaluate(IDS, targets, return_dict=True, verbose=0) for m in (learner, network)))


def test_what_is_masked_does_not_count_in_the_linearized_network(pair):
    learner, network = pair("linearized", loss="mse", weighted_metrics=["mae"])
    options = {"return_dict": True}
    compare(*(m.test_on_batch(IDS, VALUES, **options) for m in (learner, network)))
    compare(*(m.train_on_batch(IDS, VALUES, **options) for m in (learner, network)))
    learner.train_on_batch(IDS, VALUES)
    differences = learner.predict(IDS, verbose=0) - VALUES
    assert np.abs(learner.network.predict(IDS, verbose=0) - VALUES - differences).max() > 1e-5
    expected = {
        "loss": np.mean(np.square(differences)[IDS != 0]),
        "mae": np.mean(np.abs(differences)[IDS != 0]),
    }
    compare(learner.evaluate(IDS, VALUES, return_dict=True, verbose=0), expected)
    before = learner.test_on_batch(IDS, VALUES, return_dict=True)
    padded = np.where(IDS[..., None] == 0, 100 * VALUES, VALUES)
    compare(learner.test_on_batch(IDS, padded, return_dict=True), before)
    compare(learner.train_on_batch(IDS, padded, return_dict=True), before)


def test_nothing_learns_from_what_is_masked(pair):
    for rule in ("backprop", "align_ada", "feedback_alignment", "linearized"):
        learner, _ = pair(rule, loss="mse")
        padded = np.where(IDS[..., None] == 0, 100 * VALUES, VALUES)
        updates = [learner.updates(IDS, targets) for targets in (VALUES, padded)]
        for update, same in zip(*updates, strict=True):
            assert np.any(update)
            np.testing.assert_allclose(same, update, atol=1e-6)


@pytest.mark.parametrize("rule", ["backprop", "align_ada"])
def test_replicas_count_what_is_left_on_all_of_them(rule, mirrored):
    # Steps that count: 8 and 2 on two replicas, 8 and 2, 2 and none.
    learners = []
    for devices in (tf.distribute.get_strategy(), mirrored):
        with devices.scope():
            learners.append(wna_tf.Learner(tagger(), rule))
            learners[-1].compile(keras.optimizers.SGD(0.5), "sparse_categorical_crossentropy")
    for chosen in ([2, 0, 1, 3], [0, 2, 1], [1, 3]):
        data = tf.data.Dataset.from_tensors((IDS[chosen], TAGS[chosen]))
        for learner in learners:
            learner.fit(data, verbose=0)
    for one, two in zip(*(learner.get_weights() for learner in learners), strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-5, atol=1e-6)
