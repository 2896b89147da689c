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
from tests.samples import sample
from wna_tf import caching
from wna_tf.datasets import pipeline
from wna_tf.datasets.batches import Source
from wna_tf.experiments import run_directory, sweeps, training
from wna_tf.experiments.config import Config, Setup
from wna_tf.graph.forward_pass import Remembered

FROZEN = [name for name in wna_tf.rules.names() if wna_tf.rules.get(name).runs_frozen]
SHAPE = (8, 8, 1)


def make_data(examples=50, shape=SHAPE, batch_size=16, targets=4):
    """Batches of 16, 16 and 8, and 10 examples for validation."""
    rng = np.random.default_rng(0)
    x = tf.constant(rng.random((examples, *shape)), keras.config.floatx())
    y = tf.constant(rng.random((examples, targets)), keras.config.floatx())
    source = Source(examples, lambda some, _: (tf.gather(x, some), tf.gather(y, some)))
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
    return learners, (data, caching.cache(learners[1], data, gigabytes))


@pytest.mark.parametrize("rule", FROZEN)
@pytest.mark.parametrize("network", sample([cnn, mlp, residual], [residual]))
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
    cached = caching.cache(learner, data)
    for kernel in learner.trainable_variables:
        kernel.assign_add(tf.ones(kernel.shape))
    (x, outputs), y = next(iter(cached.batches_from(1)))
    plain_x, plain_y = next(iter(data.batches_from(1)))
    np.testing.assert_array_equal(x, plain_x)
    np.testing.assert_array_equal(y, plain_y)
    records = learner.evaluate_networks(x)["initial"].records
    maps = learner.maps_by_key
    assert [maps[key] for key in outputs] == list(maps.values())[:3]
    for key, output in outputs.items():
        np.testing.assert_allclose(output, records[maps[key]].outputs[0], rtol=1e-5, atol=1e-6)


def test_examples_are_evaluated_without_what_is_remembered():
    data = make_data()
    learner = make_learner(mlp(), "linearized", metrics=["mae"])
    cached = caching.cache(learner, data)
    x, _ = next(iter(cached.train))
    np.testing.assert_allclose(learner(x), learner(x.inputs), rtol=1e-5, atol=1e-6)
    assert learner.evaluate(cached.validation, verbose=0) == learner.evaluate(
        data.validation, verbose=0
    )


@pytest.mark.parametrize("rule", ["align_zero", "linearized"])
@pytest.mark.parametrize("batch_size", [16, 10])  # With and without a remainder.
def test_replicas_share_what_is_remembered(rule, batch_size, mirrored):
    histories = []
    for devices in (tf.distribute.get_strategy(), mirrored):
        keras.utils.set_random_seed(1)
        with devices.scope():
            learner = make_learner(mlp(), rule)
        learner.optimizer.learning_rate = 0.01
        cached = caching.cache(learner, make_data(batch_size=batch_size))
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
    (x, outputs), y = next(iter(caching.cache(learner, data).train))
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
@settings(max_examples=20)
def test_what_is_kept_fits_and_costs_most(share):
    data, learner = make_data(), make_learner(mlp(80), "linearized")
    fan_in = {name: step.fan_in for step, name in learner.program.affine_names.items()}
    needed = caching.choose(learner, data)
    assert needed.keys() == fan_in.keys()
    assert sum(needed.values()) == pytest.approx(40 * (3 * 80 + 4) * 4 / 1e9)
    budget = share * sum(needed.values())
    try:
        kept = caching.choose(learner, data, budget)
    except ValueError:
        assert budget < min(needed.values())
        return
    assert sum(kept.values()) <= budget
    for name in needed.keys() - kept.keys():  # Only what is worth at least as much is kept for it.
        room = budget - sum(kept[other] for other in kept if fan_in[other] >= fan_in[name])
        assert needed[name] > room


def dropout(**options):
    dropped = layers.Dropout(0.2, **options)
    return keras.Sequential(
        [keras.Input(SHAPE), layers.Flatten(), dropped, layers.Dense(32), layers.Dense(4)]
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
    [
        dropout,
        lambda: dropout(noise_shape=(1, 64)),
        keras_normalization,
        lambda: wna_tf.models.mlp(SHAPE, 4, 40, statistics="batch"),
    ],
    ids=["dropout", "one_mask", "keras", "ours"],
)
def test_coupled_and_random_networks_are_refused(network):
    with pytest.raises(ValueError, match="makes the same of an example in every batch"):
        caching.cache(make_learner(network(), "align_zero"), make_data())


def test_augmented_examples_are_refused():
    data = make_data()
    plain = data.training.source

    def fetch(positions, seeds):
        x, y = plain.fetch(positions, seeds)
        flipped = 0 if seeds is None else tf.reshape(seeds % 2, [-1, 1, 1, 1])
        return tf.where(flipped == 1, x[:, ::-1], x), y

    source = dataclasses.replace(plain, fetch=fetch)
    with pytest.raises(ValueError, match="without augmentation"):
        caching.cache(make_learner(mlp(), "align_zero"), data.fetched_from(source))


def test_errors_of_files_are_told(monkeypatch):
    data = make_data()
    plain = data.training.source

    def fetch(positions, seeds):
        message = ["Expected image files that can be decoded. Received: photo.jpg"]
        with tf.control_dependencies([tf.debugging.Assert(positions[0] < 20, message)]):
            return plain.fetch(positions, seeds)

    source = dataclasses.replace(plain, fetch=fetch)
    with pytest.raises(ValueError, match=r"^Expected image files .* Received: photo.jpg$"):
        caching.cache(make_learner(mlp(), "align_zero"), data.fetched_from(source))


@pytest.mark.parametrize("network", [lambda: cnn(3), lambda: wna_tf.models.rnn(64)])
def test_networks_with_nothing_worth_keeping_are_refused(network):
    with pytest.raises(ValueError, match="worth keeping"):
        caching.cache(make_learner(network(), "align_zero"), make_data())


def test_too_little_memory_is_refused():
    with pytest.raises(ValueError, match=r"at least 6.4e-06, which layer 'dense"):
        caching.cache(make_learner(mlp(), "align_zero"), make_data(), 1e-6)


@pytest.mark.parametrize("gigabytes", [0, -1.0, float("nan"), float("inf"), "2", True])
def test_memory_is_a_number_above_0(gigabytes):
    with pytest.raises(ValueError, match="cache_gigabytes to be a number above 0"):
        caching.check(gigabytes)


def test_what_was_remembered_for_another_learner_is_refused():
    first, second = (make_learner(mlp(), "align_zero") for _ in range(2))
    x, y = next(iter(caching.cache(first, make_data()).train))
    with pytest.raises(ValueError, match=r"for this learner, .* Received: ones of another"):
        second.updates(x, y)


def test_several_inputs():
    rng = np.random.default_rng(0)
    arrays = {name: tf.constant(rng.random((20, 40)), "float32") for name in ("a", "b")}
    y = tf.constant(rng.random((20, 4)), "float32")

    def fetch(some, _):
        return {name: tf.gather(x, some) for name, x in arrays.items()}, tf.gather(y, some)

    source = Source(20, fetch)
    data = pipeline.split(pipeline.Examples(source, source), 5, 0)
    inputs = {name: keras.Input((40,), name=name) for name in arrays}
    x = layers.Add()([layers.Dense(32, "relu")(part) for part in inputs.values()])
    learner = make_learner(keras.Model(inputs, layers.Dense(4)(x)), "align_zero")
    cached = caching.cache(learner, data)
    (plain, plain_y), (x, y) = (next(iter(some.batches_from(0))) for some in (data, cached))
    expected = learner.updates(plain, plain_y)
    assert len(x.outputs) == 2
    for actual, update in zip(learner.updates(x, y), expected, strict=True):
        np.testing.assert_allclose(actual, update, rtol=1e-5, atol=1e-6)


def test_a_map_that_merges_the_batch_with_another_axis_is_left_out():
    inputs = keras.Input((2, 40))
    rows = layers.Dense(32)(keras.ops.reshape(inputs, (-1, 40)))
    x = layers.Dense(40)(layers.Dense(40)(inputs))
    x += keras.ops.reshape(keras.ops.sum(rows), (1, 1, 1)) * 0
    network = keras.Model(inputs, layers.Dense(4)(layers.Flatten()(x)))
    kept = caching.choose(make_learner(network, "align_zero"), make_data(shape=(2, 40)))
    assert len(kept) == 2


def test_half_precision(monkeypatch):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        network = mlp()
    finally:
        keras.config.set_dtype_policy("float32")
    data, learner = make_data(), make_learner(network, "align_ada")
    cached = caching.cache(learner, data)
    (plain, plain_y), (x, y) = (next(iter(some.batches_from(0))) for some in (data, cached))
    assert {output.dtype for output in x.outputs.values()} == {tf.bfloat16}
    expected = learner.updates(plain, plain_y)
    for actual, update in zip(learner.updates(x, y), expected, strict=True):
        np.testing.assert_allclose(actual, update, rtol=0.02, atol=1e-3)


def test_a_rule_without_a_frozen_network_needs_no_cache():
    data = make_data()
    assert caching.cache(make_learner(mlp(), "backprop"), data) is data


def test_a_run_with_the_cache_is_one_without_it(tmp_path, capsys):
    config = Config(
        width=40,
        rule="align_zero",
        normalize=False,
        epochs=2,
        learning_rate=1.0,
        diagnostics=("kernel_change",),
    )
    setups = [Setup(), Setup(cache_frozen=True)]
    runs = [
        training.train(config, tmp_path / str(index), setup) for index, setup in enumerate(setups)
    ]
    assert "of the frozen network: 0.00058 GB." in capsys.readouterr().out
    for name in ("loss", "kernel_change", "label_alignment"):
        column = [[row[name] for row in run.history] for run in runs]
        np.testing.assert_allclose(*column, rtol=1e-6, err_msg=name)
    assert runs[0].config == runs[1].config


def test_a_resumed_run_with_the_cache_goes_on_to_the_same_bits(tmp_path, at_step):
    config = Config(width=40, rule="align_zero", normalize=False, epochs=2, learning_rate=1.0)
    setup = Setup(cache_frozen=True, checkpoint_every=10)
    training.train(config, tmp_path / "whole", setup)

    def interrupt():
        raise KeyboardInterrupt

    at_step(15, interrupt)
    with pytest.raises(KeyboardInterrupt):
        training.train(config, tmp_path / "broken", setup)
    at_step(None, None)
    training.train(config, tmp_path / "broken", setup)
    whole, broken = (
        keras.models.load_model(tmp_path / name / run_directory.MODEL)
        for name in ("whole", "broken")
    )
    for first, second in zip(whole.get_weights(), broken.get_weights(), strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_refused_cache_leaves_nothing_behind(tmp_path):
    setup = Setup(cache_frozen=True, cache_gigabytes=1e-9)
    for config, expected in ((Config(), "normalize=False"), (Config(normalize=False), "at least")):
        with pytest.raises(ValueError, match=expected):
            training.train(config, tmp_path / "run", setup)
        assert not (tmp_path / "run" / run_directory.CONFIG).exists()


def test_a_sweep_asks_before_it_trains(tmp_path):
    configs = [Config(rule=rule, normalize=False, epochs=1) for rule in ("backprop", "align_zero")]
    setup = Setup(cache_frozen=True, cache_gigabytes=1e-9)
    with pytest.raises(ValueError, match="cache_gigabytes to be at least"):
        sweeps.sweep(configs, tmp_path / "runs", setup=setup)
    assert not (tmp_path / "runs").exists()
