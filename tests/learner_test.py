"""The Learner as a Keras model: training, saving and refusals."""

import copy

import keras
import numpy as np
import pytest
import tensorflow as tf

import wna_tf
from tests.samples import rule_families

RULES = wna_tf.rules.names()


def make_data(num_examples=48):
    rng = np.random.default_rng(0)
    x = rng.random((num_examples, 8, 8, 1), dtype="float32")
    return x, keras.ops.convert_to_numpy(keras.ops.one_hot(rng.integers(0, 10, num_examples), 10))


def make_learner(rule, optimizer=None, model=wna_tf.models.mlp, **options):
    network = model((8, 8, 1), 10, 12, **options)
    learner = wna_tf.Learner(network, rule, seed=3)
    learner.compile(
        optimizer or keras.optimizers.SGD(1.0, momentum=0.9), "mse", metrics=["accuracy"]
    )
    return learner


def assert_same_weights(first, second, tolerance=0.0):
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def assert_same_state(first, second):
    for one, other in ((first, second), (first.optimizer, second.optimizer)):
        for a, b in zip(one.variables, other.variables, strict=True):
            np.testing.assert_array_equal(a, b)


def test_fit_evaluate_predict_and_metrics():
    x, y = make_data()
    learner = make_learner("align_ada")
    history = learner.fit(x, y, validation_data=(x, y), epochs=30, batch_size=16, verbose=0).history
    assert set(history) == {"loss", "accuracy", "val_loss", "val_accuracy"}
    assert history["loss"][-1] < 0.2 * history["loss"][0]
    loss, accuracy = learner.evaluate(x, y, verbose=0)
    prediction = learner.predict(x, verbose=0)
    np.testing.assert_allclose(loss, np.mean((prediction - y) ** 2), rtol=1e-5)
    np.testing.assert_allclose(accuracy, np.mean(prediction.argmax(1) == y.argmax(1)), rtol=1e-6)


def test_backprop_trains_exactly_as_keras_does():
    x, y = make_data()
    options = {"batch_size": 20, "epochs": 3, "shuffle": False, "verbose": 0}  # An uneven batch.
    learner = make_learner("backprop")
    plain = keras.models.clone_model(learner.network)
    plain.set_weights(learner.network.get_weights())
    plain.compile(keras.optimizers.SGD(1.0, momentum=0.9), "mse", metrics=["accuracy"])
    ours, theirs = learner.fit(x, y, **options).history, plain.fit(x, y, **options).history
    assert_same_weights(learner.network, plain, 1e-5)
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-5)


@pytest.mark.parametrize("rule", rule_families())
def test_a_saved_learner_goes_on_exactly(rule, tmp_path):
    x, y = make_data()
    learner = make_learner(rule, keras.optimizers.Adam(0.01), depth=1)
    learner.fit(x, y, batch_size=16, verbose=0)
    learner.save(tmp_path / "learner.keras")
    checkpoint = tf.train.Checkpoint(model=learner).save(tmp_path / "checkpoint")
    loaded = keras.models.load_model(tmp_path / "learner.keras")
    assert loaded.rule == learner.rule
    assert_same_weights(loaded, learner)
    for model in (learner, loaded):
        model.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    assert_same_state(loaded, learner)
    tf.train.Checkpoint(model=loaded).restore(checkpoint).assert_consumed()
    loaded.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    assert_same_state(loaded, learner)


def test_the_network_stays_clean_and_is_exported_alone(tmp_path):
    x, y = make_data()
    learner = make_learner("product_feedback_alignment")
    count = len(learner.network.weights)
    learner.fit(x, y, verbose=0)
    own = len(learner.initial_weights) + len(learner.feedback_weights)
    assert len(learner.network.weights) == count == len(learner.weights) - own
    stored = {}
    learner.save_own_variables(stored)
    assert len(stored) == own
    learner.export(tmp_path / "saved_model")
    served = tf.saved_model.load(tmp_path / "saved_model")
    assert len(served.variables) == count
    for size in (1, 5):
        np.testing.assert_allclose(
            served.serve(x[:size])["logits"], learner.predict(x[:size], verbose=0), atol=1e-6
        )


def test_initial_weights_are_those_at_wrapping():
    x, y = make_data()
    learner = make_learner("align_zero")
    before = [variable.numpy() for variable in learner.trainable_variables]
    learner.fit(x, y, verbose=0)
    for initial, value, now in zip(
        learner.initial_weights, before, learner.trainable_variables, strict=True
    ):
        np.testing.assert_array_equal(initial, value)
        # A bias that is normalized away stays as it is.
        assert now.name == "bias" or not np.array_equal(now, value)


def test_updates_are_what_the_optimizer_receives():
    x, y = make_data()
    learner = make_learner("align_ada", keras.optimizers.SGD(0.5))
    before = [variable.numpy() for variable in learner.trainable_variables]
    updates = learner.updates(x, y)
    learner.train_on_batch(x, y)
    for old, update, new in zip(before, updates, learner.trainable_variables, strict=True):
        np.testing.assert_allclose(old - 0.5 * update, new, atol=1e-6)


def test_readout_trains_the_last_map_alone():
    x, y = make_data()
    *hidden, kernel, bias = make_learner("readout").updates(x, y)
    assert not any(np.any(update) for update in hidden)
    assert np.any(kernel)
    assert np.any(bias)


@pytest.mark.parametrize(
    "loss",
    [keras.losses.CategoricalCrossentropy(from_logits=True), keras.losses.MeanAbsoluteError()],
)
def test_other_losses_and_sample_weights(loss):
    x, y = make_data()
    weights = np.linspace(0, 1, len(x))
    learner = make_learner("backprop")
    learner.compile("sgd", loss)
    with tf.GradientTape() as tape:
        value = learner.compute_loss(x, y, learner.network(x, training=True), sample_weight=weights)
    expected = tape.gradient(value, learner.trainable_variables)
    for update, gradient in zip(learner.updates(x, y, weights), expected, strict=True):
        np.testing.assert_allclose(update, gradient, atol=1e-6)


def test_integer_labels_with_a_sparse_loss():
    x, y = make_data()
    learner = make_learner("align_prop", "adam")
    learner.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = learner.fit(x, y.argmax(1), epochs=15, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]


def test_xla_gives_the_same_training():
    x, y = make_data()
    plain, compiled = make_learner("align_ada"), make_learner("align_ada")
    compiled.set_weights(plain.get_weights())
    compiled.compile(keras.optimizers.SGD(1.0, momentum=0.9), "mse", jit_compile=True)
    for learner in (plain, compiled):
        learner.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    assert_same_weights(compiled, plain, 1e-4)


@pytest.mark.parametrize("shape", [(5,), (), (1, 10)])
def test_labels_of_the_wrong_shape_are_refused(shape):
    x, _ = make_data()
    with pytest.raises(ValueError, match=r"Expected targets .* \(None, 10\) .* Received: targets"):
        make_learner("align_ada").fit(x, np.zeros((len(x), *shape), "float32"), verbose=0)


def test_relaxed_shapes_do_not_hide_labels_of_the_wrong_shape():
    x, y = make_data()
    learner = make_learner("align_ada")
    learner.fit(x, y, batch_size=16, verbose=0)
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match="Expected targets"):
        learner.fit(x, y[:, :1], batch_size=16, verbose=0)


def test_an_unknown_rule_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"one of backprop, .*readout.* Received: rule='hebb'"):
        make_learner("hebb")


@pytest.mark.parametrize("before", [True, False])
def test_a_learner_whose_layers_were_frozen_or_unfrozen_is_loaded_as_it_was(tmp_path, before):
    x, y = make_data()
    network = wna_tf.models.mlp((8, 8, 1), 10, 4)
    network.layers[2].trainable = before
    learner = wna_tf.Learner(network, "align_zero")
    learner.compile("sgd", "mse")
    if before:
        learner.fit(x, y, verbose=0)  # Weights that are frozen now may have moved before.
    network.layers[2].trainable = not before
    learner.save(tmp_path / "learner.keras")
    for other in (keras.models.load_model(tmp_path / "learner.keras"), copy.deepcopy(learner)):
        assert [v.path for v in other.initial_weights] != []
        for name in ("initial_weights", "feedback_weights", "trainable_variables", "variables"):
            pairs = zip(getattr(other, name), getattr(learner, name), strict=True)
            for ours, theirs in pairs:
                np.testing.assert_array_equal(ours, theirs)
        if before:
            other.compile("sgd", "mse")
            for ours, theirs in zip(other.updates(x, y), learner.updates(x, y), strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("rule", ["align_zero", "linearized"])
def test_a_scale_that_was_frozen_after_training_is_loaded_as_it_began(rule, tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(6, 4)), rng.normal(size=(6, 2))
    scale = keras.layers.LayerNormalization()
    dense = [keras.layers.Dense(5), scale, keras.layers.Dense(2)]
    learner = wna_tf.Learner(keras.Sequential([keras.Input((4,)), *dense]), rule)
    learner.compile(keras.optimizers.SGD(0.5), "mse")
    learner.fit(x, y, epochs=5, verbose=0)
    scale.trainable = False
    learner.compile(keras.optimizers.SGD(0.5), "mse")
    learner.save(tmp_path / "learner.keras")
    loaded = keras.models.load_model(tmp_path / "learner.keras")
    for network in ("initial", "current"):
        ours, theirs = (some.evaluate_networks(x)[network].outputs[0] for some in (learner, loaded))
        np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-6)
    for ours, theirs in zip(learner.updates(x, y), loaded.updates(x, y), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(
        loaded.predict(x, verbose=0), learner.predict(x, verbose=0), rtol=1e-5
    )


def test_readout_leaves_the_blocks_alone_that_have_a_regularizer():
    l2 = keras.regularizers.L2(0.1)
    hidden, head = (keras.layers.Dense(n, kernel_regularizer=l2) for n in (5, 2))
    learner = wna_tf.Learner(keras.Sequential([keras.Input((4,)), hidden, head]), "readout")
    learner.compile(keras.optimizers.SGD(0.5), "mse")
    before = [keras.ops.convert_to_numpy(layer.kernel) for layer in (hidden, head)]
    learner.train_on_batch(np.ones((3, 4)), np.zeros((3, 2)))
    np.testing.assert_array_equal(hidden.kernel, before[0])
    assert np.all(np.array(head.kernel) != before[1])


class Size(keras.layers.Layer):
    """Measures what passes."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.measured = keras.metrics.Mean(name="size")

    def call(self, inputs):
        self.measured.update_state(keras.ops.mean(keras.ops.abs(inputs)))
        return inputs


def test_a_metric_of_a_layer_is_that_of_keras():
    x, y = np.random.default_rng(0).normal(size=(2, 6, 4))
    sizes = []
    for wrap in (lambda network: network, wna_tf.Learner):
        keras.utils.set_random_seed(0)
        stack = [keras.Input((4,)), keras.layers.Dense(5), Size(), keras.layers.Dense(4)]
        model = wrap(keras.Sequential(stack))
        model.compile(keras.optimizers.SGD(0.0), "mse")
        sizes.append(model.fit(x, y, batch_size=3, verbose=0).history["size"][0])
    assert sizes[0] > 0
    np.testing.assert_allclose(sizes[1], sizes[0], rtol=1e-6)


def test_a_learner_inside_a_network_is_refused():
    inner = wna_tf.Learner(wna_tf.models.mlp((8, 8, 1), 10, 4), "align_zero", name="inner")
    inputs = keras.Input((8, 8, 1))
    network = keras.Model(inputs, keras.layers.Dense(2)(inner(inputs)))
    with pytest.raises(ValueError, match=r"Received: layer 'inner' .*it is a Learner"):
        wna_tf.Learner(network, "backprop")


def test_no_learner_has_the_keys_of_another():
    network = wna_tf.models.mlp((8, 8, 1), 10, 4)
    seen = set()
    for _ in range(5):  # Python gives the address of one that is gone to the next.
        keys = wna_tf.Learner(network).maps_by_key.keys()
        assert seen.isdisjoint(keys)
        seen |= keys


@pytest.mark.parametrize("trained", [[100], [-1], ["kernel"]])
def test_trained_variables_that_are_none_are_refused(trained):
    network = wna_tf.models.mlp((8, 8, 1), 10, 4)
    with pytest.raises(ValueError, match=r"Expected trained to be indices .*Received: trained="):
        wna_tf.Learner(network, trained=trained)


def test_layers_that_are_unfrozen_after_wrapping_are_refused():
    x, y = make_data()
    network = wna_tf.models.mlp((8, 8, 1), 10, 4)
    network.layers[2].trainable = False
    learner = wna_tf.Learner(network)
    network.layers[2].trainable = True
    learner.compile("sgd", "mse")
    with pytest.raises(ValueError, match="wrap the network again"):
        learner.fit(x, y, verbose=0)


@pytest.mark.parametrize("seed", [-1, 1.5, True])
def test_wrong_seeds_are_refused(seed):
    with pytest.raises(ValueError, match=f"Expected seed .* Received: seed={seed}"):
        wna_tf.Learner(wna_tf.models.mlp((8,), 2, 4), seed=seed)


def test_summary_counts_the_network(capsys):
    learner = make_learner("feedback_alignment")
    learner.summary()
    assert f"{learner.network.count_params():,}" in capsys.readouterr().out
