"""The cache of the frozen network: what is trained with it is what is trained without it."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

import wna_tf
from tests.helpers import make_learner
from tests.operations_test import executed
from wna_tf import frozen, training
from wna_tf.config import Config
from wna_tf.datasets import pipeline
from wna_tf.program import Remembered

FROZEN = [name for name in wna_tf.rules.names() if wna_tf.rules.get(name).runs_frozen]
SHAPE = (8, 8, 1)


def make_data(examples=50, shape=SHAPE, batch_size=16, targets=4):
    """Batches of 16, 16 and 8, and 10 examples for validation."""
    rng = np.random.default_rng(0)
    x = tf.constant(rng.random((examples, *shape)), keras.config.floatx())
    y = tf.constant(rng.random((examples, targets)), keras.config.floatx())
    source = pipeline.Source(examples, lambda some, _: (tf.gather(x, some), tf.gather(y, some)))
    return pipeline.split(pipeline.Examples(source, source), batch_size, 10, seed=3)


def cnn(width=6):
    return wna_tf.models.cnn(SHAPE, 4, width, (1, 2, 1), normalize=False)


def mlp(width=40):
    return wna_tf.models.mlp(SHAPE, 4, width, normalize=False)


def residual():
    inputs = keras.Input(SHAPE)
    x = layers.LayerNormalization()(layers.Conv2D(8, 3, padding="same")(inputs))
    x = layers.Add()([x, layers.Conv2D(8, 3, padding="same", activation="tanh")(x)])
    x = layers.MaxPooling2D()(x)
    return keras.Model(inputs, layers.Dense(4, activation="softmax")(layers.Flatten()(x)))


def both(network, rule, data, gigabytes=1.0):
    """Returns equal learners, and the data without and with the cache of the second."""
    learners = [make_learner(keras.models.clone_model(network), rule) for _ in range(2)]
    for learner in learners:
        learner.set_weights(make_learner(network, rule).get_weights())
        learner.optimizer.learning_rate = 0.01
    return learners, (data, frozen.cache(learners[1], data, gigabytes))


@pytest.mark.parametrize("rule", FROZEN)
@pytest.mark.parametrize("network", [cnn, mlp, residual])
def test_a_training_with_the_cache_is_one_without_it(network, rule):
    learners, data = both(network(), rule, make_data())
    histories = [
        learner.fit(some.train, epochs=4, validation_data=some.validation, verbose=0).history
        for learner, some in zip(learners, data, strict=True)
    ]
    for name, values in histories[0].items():
        np.testing.assert_allclose(histories[1][name], values, rtol=1e-6)
    for first, second in zip(*(learner.get_weights() for learner in learners), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-5, atol=1e-6)
    assert histories[0]["loss"][-1] < histories[0]["loss"][0]
    assert not np.array_equal(learners[0].get_weights()[0], network().get_weights()[0])


def test_remembered_outputs_are_those_of_the_initial_weights():
    data = make_data()
    learner = make_learner(mlp(), "align_ada")
    cached = frozen.cache(learner, data)
    for kernel in learner.trainable_variables:
        kernel.assign_add(tf.ones(kernel.shape))
    (x, outputs), y = next(iter(cached.batches_from(1)))
    plain_x, plain_y = next(iter(data.batches_from(1)))
    np.testing.assert_array_equal(x, plain_x)
    np.testing.assert_array_equal(y, plain_y)
    records = learner.evaluate_networks(x)["initial"].records
    assert outputs.keys() == {step.name for step in list(records)} & outputs.keys() != set()
    for step, record in records.items():
        if step.name in outputs:
            np.testing.assert_allclose(outputs[step.name], record.outputs[0], rtol=1e-5, atol=1e-6)


def test_examples_are_evaluated_without_what_is_remembered():
    data = make_data()
    learner = make_learner(mlp(), "linearized", metrics=["mae"])
    cached = frozen.cache(learner, data)
    x, _ = next(iter(cached.train))
    np.testing.assert_allclose(learner(x), learner(x.inputs), rtol=1e-5, atol=1e-6)
    assert learner.evaluate(cached.validation, verbose=0) == learner.evaluate(
        data.validation, verbose=0
    )


def test_replicas_share_what_is_remembered(mirrored):
    histories = []
    for devices in (tf.distribute.get_strategy(), mirrored):
        keras.utils.set_random_seed(1)
        with devices.scope():
            learner = make_learner(mlp(), "align_zero")
        cached = frozen.cache(learner, make_data())
        batches, steps = cached.batches_from(0), cached.steps
        history = learner.fit(batches, steps_per_epoch=steps, epochs=3, verbose=0).history
        histories.append(history["loss"])
    np.testing.assert_allclose(*histories, rtol=1e-5)


def test_diagnostics_see_the_same():
    logs = []
    for learner, data in zip(*both(cnn(), "align_zero", make_data()), strict=True):
        score = wna_tf.callbacks.AlignmentScore()
        logs.append(learner.fit(data.train, epochs=2, verbose=0, callbacks=[score]).history)
    assert any(name.startswith("alignment_score") for name in logs[0])
    for name, values in logs[0].items():
        np.testing.assert_allclose(logs[1][name], values, rtol=1e-4, err_msg=name)


def test_forward_credit_uses_the_cache():
    data = make_data()
    learner = wna_tf.Learner(mlp(), "align_zero", credit=wna_tf.credit.Forward(2))
    learner.compile("sgd", "mse")
    (x, outputs), y = next(iter(frozen.cache(learner, data).train))
    expected = learner.updates(x, y)
    for actual, update in zip(learner.updates(Remembered(x, outputs), y), expected, strict=True):
        np.testing.assert_allclose(actual, update, rtol=1e-4, atol=1e-6)
    wrong = {name: output + 1 for name, output in outputs.items()}
    assert not np.allclose(learner.updates(Remembered(x, wrong), y)[0], expected[0], rtol=1e-2)


@pytest.mark.parametrize("rule", FROZEN)
def test_what_is_remembered_is_not_computed(rule, tmp_path):
    data = make_data(110, (28, 28, 1), 100)
    network = wna_tf.models.cnn((28, 28, 1), 4, 64, (1, 2, 2), normalize=False)
    counts = []
    for learner, some in zip(*both(network, rule, data), strict=True):
        step = iter(some.batches_from(0))
        learner.make_train_function()
        learner.train_function(step)
        run = functools.partial(learner.train_function, step)
        counts.append(executed(run, tmp_path / str(len(counts))))
    convolutions = [
        sum(number for name, number in some.items() if name.endswith("Conv2D")) for some in counts
    ]
    # The images are worth no cache: nine multiplications for each output.
    assert convolutions[0] - convolutions[1] == 2
    backward = [
        sum(number for name, number in some.items() if "Conv2DBackprop" in name) for some in counts
    ]
    assert backward == [5, 5]


@given(st.floats(0.001, 2.0))
@settings(max_examples=20, deadline=None)
def test_what_is_kept_fits_and_costs_most(share):
    data, learner = make_data(), make_learner(mlp(80), "linearized")
    fan_in = {name: step.fan_in for step, name in learner.program.affine_names.items()}
    needed = frozen.choose(learner, data)
    assert needed.keys() == fan_in.keys()
    assert sum(needed.values()) == pytest.approx(40 * (3 * 80 + 4) * 4 / 1e9)
    budget = share * sum(needed.values())
    try:
        kept = frozen.choose(learner, data, budget)
    except ValueError:
        assert budget < min(needed.values())
        return
    assert sum(kept.values()) <= budget
    for name in needed.keys() - kept.keys():  # Only what is worth at least as much is kept for it.
        room = budget - sum(kept[other] for other in kept if fan_in[other] >= fan_in[name])
        assert needed[name] > room


def dropout():
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Flatten(),
            layers.Dropout(0.2),
            layers.Dense(32),
            layers.Dense(4),
        ]
    )


def keras_normalization():
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Conv2D(8, 3),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(32),
            layers.Dense(4),
        ]
    )


@pytest.mark.parametrize(
    "network",
    [dropout, keras_normalization, lambda: wna_tf.models.mlp(SHAPE, 4, 40)],
    ids=["dropout", "keras", "ours"],
)
def test_coupled_and_random_networks_are_refused(network):
    with pytest.raises(ValueError, match="makes the same of an example in every batch"):
        frozen.cache(make_learner(network(), "align_zero"), make_data())


def test_augmented_examples_are_refused():
    data = make_data()
    source = dataclasses.replace(data.training.source, is_augmented=True)
    with pytest.raises(ValueError, match="without augmentation"):
        frozen.cache(make_learner(mlp(), "align_zero"), data.fetched_from(source))


@pytest.mark.parametrize("network", [lambda: cnn(3), lambda: wna_tf.models.rnn(64)])
def test_networks_with_nothing_worth_keeping_are_refused(network):
    with pytest.raises(ValueError, match="worth keeping"):
        frozen.cache(make_learner(network(), "align_zero"), make_data())


def test_too_little_memory_is_refused():
    with pytest.raises(ValueError, match=r"at least 6.4e-06, which layer 'dense"):
        frozen.cache(make_learner(mlp(), "align_zero"), make_data(), 1e-6)


@pytest.mark.parametrize("gigabytes", [0, -1.0, float("nan"), float("inf"), "2", True])
def test_memory_is_a_number_above_0(gigabytes):
    with pytest.raises(ValueError, match="cache_gigabytes to be a number above 0"):
        frozen.check(gigabytes)


def test_outputs_of_another_network_are_refused():
    learner = make_learner(mlp(), "align_zero")
    x = tf.zeros((2, *SHAPE))
    with pytest.raises(ValueError, match="Received: remembered ones of nobody"):
        learner.updates(Remembered(x, {"nobody": x}), tf.zeros((2, 4)))


def test_a_rule_without_a_frozen_network_needs_no_cache():
    data = make_data()
    assert frozen.cache(make_learner(mlp(), "backprop"), data) is data


def test_a_run_with_the_cache_is_one_without_it(tmp_path, capsys):
    config = Config(width=40, rule="align_zero", normalize=False, epochs=2, learning_rate=1.0)
    setups = [training.Setup(), training.Setup(cache_frozen=True)]
    runs = [
        training.train(config, tmp_path / str(index), setup) for index, setup in enumerate(setups)
    ]
    assert "of the frozen network: 0.00058 GB." in capsys.readouterr().out
    loss = [[row["loss"] for row in run.history] for run in runs]
    np.testing.assert_allclose(*loss, rtol=1e-6)
    assert runs[0].config == runs[1].config
