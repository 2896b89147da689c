"""The Learner on several replicas: what one device does with the whole batch."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import wna_tf
from tests.learner_test import assert_same_weights, make_data, make_learner
from tests.samples import rule_families


def make_twins(strategy, rule, **options):
    """Returns equal learners on one device and on the replicas of a strategy."""
    learners = []
    for devices in (tf.distribute.get_strategy(), strategy):
        keras.utils.set_random_seed(1)
        with devices.scope():
            learners.append(make_learner(rule, **options))
    return learners


@pytest.mark.parametrize("rule", rule_families())
def test_two_replicas_train_as_one(rule, mirrored):
    x, y = make_data(39)
    data = tf.data.Dataset.from_tensor_slices((x, y))
    learners = make_twins(mirrored, rule, depth=1, normalize=False)
    # The last batch cannot be divided: it is of 5, 3 and 2; or of 1, 1 and none.
    for part in (data.take(21), data.skip(22)):
        one, two = (learner.fit(part.batch(16), verbose=0).history for learner in learners)
        assert_same_weights(*learners, 1e-5)
        for name, values in one.items():
            np.testing.assert_allclose(two[name], values, rtol=1e-5)
    _, distributed = learners
    for variable in [*distributed.weights, *distributed.optimizer.variables[1:]]:
        first, second = (copy.numpy() for copy in variable.value.values)
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("num_examples", [21, 17])
def test_replicas_evaluate_a_last_batch_that_cannot_be_divided(num_examples, mirrored):
    x, y = make_data(num_examples)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    learners = make_twins(mirrored, "feedback_alignment", normalize=False)
    one, two = (learner.evaluate(data, verbose=0, return_dict=True) for learner in learners)
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, rtol=1e-5)


@pytest.mark.parametrize("synchronized", [False, True])
def test_a_replica_without_examples_leaves_moving_statistics_finite(synchronized, mirrored):
    x, y = make_data(17)
    with mirrored.scope():
        learner = make_learner("align_prop", synchronized=synchronized)
    learner.fit(tf.data.Dataset.from_tensor_slices((x, y)).batch(16), verbose=0)
    for value in learner.get_weights():
        assert np.isfinite(value).all()


def test_synchronized_replicas_train_normalized_networks_as_one(mirrored):
    x, y = make_data()
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    learners = make_twins(mirrored, "align_ada", synchronized=True)
    for learner in learners:
        learner.fit(data, epochs=2, verbose=0)
    assert_same_weights(*learners, 1e-4)


@pytest.mark.parametrize("rule", ["direct_feedback_alignment", "align_ada"])
@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.LayerNormalization,
        keras.layers.BatchNormalization,
        lambda: keras.layers.GroupNormalization(2),
        lambda: keras.layers.PReLU(keras.initializers.Constant(0.3)),
        lambda: keras.layers.Dropout(0.5),
    ],
)
def test_layers_with_variables_on_replicas(layer, rule, mirrored):
    x, y = make_data()
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
    learners = []
    for devices in (tf.distribute.get_strategy(), mirrored):
        keras.utils.set_random_seed(1)
        with devices.scope():
            hidden = [keras.layers.Flatten(), keras.layers.Dense(6), layer()]
            network = keras.Sequential([keras.Input((8, 8, 1)), *hidden, keras.layers.Dense(10)])
            learners.append(wna_tf.Learner(network, rule))
            learners[-1].compile(keras.optimizers.SGD(0.1), "mse")
        learners[-1].fit(data, epochs=2, verbose=0)
    kind = type(network.layers[2]).__name__
    if kind not in ("BatchNormalization", "Dropout"):  # Of each replica's own part of a batch.
        assert_same_weights(*learners, 1e-5)


def test_replicas_keep_moving_statistics_in_step(mirrored):
    x, y = make_data()
    with mirrored.scope():
        learner = make_learner("align_ada")
    learner.fit(x, y, batch_size=16, verbose=0)
    for variable in learner.network.non_trainable_variables:
        first, second = (part.numpy() for part in variable.value.values)
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("reduction", ["sum", "mean_with_sample_weight"])
def test_losses_that_are_no_means_are_refused_on_replicas(reduction, mirrored):
    with mirrored.scope():
        learner = make_learner("backprop")
        learner.compile("sgd", keras.losses.MeanSquaredError(reduction=reduction))
    with pytest.raises(ValueError, match=f"means over examples .* Received: '{reduction}'"):
        learner.fit(*make_data(10), batch_size=5, verbose=0)
