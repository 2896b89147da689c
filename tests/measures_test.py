"""Measures: golden scores, operators as dense matrices, closed forms, conservation."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import wna_tf
from tests.conftest import SHARED
from wna_tf import measures
from wna_tf.graph.tracing import trace

GOLDEN = SHARED / "golden/alignment_score_kmnist_w16.npz"


def affine_map(layer, input_shape):
    """Returns the first affine map of a layer, and what its kernel acts on."""
    inputs = keras.Input(input_shape)
    program = trace(keras.Model(inputs, layer(inputs)))
    step = program.affine_maps[-1]
    x = tf.zeros([1, *program.shapes[step.inputs[0].index][1:]])
    return step, measures.kernel_input_shape(step, x.shape)


def matrix(step, shape, kernel):
    """The operator of a map as a matrix [inputs, outputs]."""
    basis = tf.reshape(tf.eye(np.prod(shape), dtype=kernel.dtype), [-1, *shape])
    return tf.reshape(step.apply(basis, kernel), [len(basis), -1]).numpy().astype("float64")


def score_of_matrices(a, b):
    lam, sig = a @ a.T, b @ b.T
    return np.sum(lam * sig) / np.sqrt(np.sum(lam**2) * np.sum(sig**2))


def changes(step, seed=0):
    rng = np.random.default_rng(seed)
    a, noise = rng.normal(size=(2, *step.kernel.shape)).astype("float32")
    return tf.constant(1e-6 * a), tf.constant(a + 0.7 * noise)


@pytest.mark.skipif(not GOLDEN.exists(), reason="needs shared/golden")
@pytest.mark.parametrize("cost", [measures.EXACT_COST, 0])
def test_scores_are_those_of_the_public_code(cost, monkeypatch):
    monkeypatch.setattr(measures, "EXACT_COST", cost)
    golden = np.load(GOLDEN)
    network = wna_tf.models.cnn(golden["input_shape"].tolist(), 10, 16, golden["strides"].tolist())
    program = trace(network)
    for index, expected in enumerate(golden["scores"]):
        step = program.affine_maps[index]
        shape = program.shapes[step.inputs[0].index][1:]
        initial, trained, companion = (
            tf.constant(golden[f"layer{index}/kernel_{when}"])
            for when in ("init", "trained", "align")
        )
        value, error = measures.operator_alignment(
            step, shape, trained - initial, companion - initial, probes=600
        )
        assert error == 0 if cost else 0 < error < 5e-3
        assert abs(value - expected) < 5e-3
        control, _ = measures.operator_alignment(
            step, shape, measures.shuffle(trained) - initial, companion - initial
        )
        assert 0 < control < value


@settings(max_examples=12)
@given(
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    channels=st.integers(1, 3),
    filters=st.integers(1, 4),
    kernel_size=st.integers(1, 3),
    stride=st.integers(1, 3),
)
def test_exact_scores_are_those_of_the_operators_matrices(
    height, width, channels, filters, kernel_size, stride
):
    layer = wna_tf.layers.Conv2D(filters, kernel_size, strides=stride, padding="same")
    step, shape = affine_map(layer, (height, width, channels))
    a, b = changes(step)
    value, error = measures.operator_alignment(step, shape, a, b)
    expected = score_of_matrices(matrix(step, shape, 1e6 * a), matrix(step, shape, b))
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    assert error == 0
    assert -1e-6 < value < 1 + 1e-6


@pytest.mark.parametrize("cost", [measures.EXACT_COST, 0])
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (keras.layers.Conv2D(4, 3, dilation_rate=2, padding="same"), (6, 6, 2)),
        (keras.layers.Conv2D(4, 3, groups=2, strides=2), (7, 5, 2)),
        (keras.layers.Conv2DTranspose(3, 3, strides=2, padding="same"), (4, 3, 2)),
        (keras.layers.DepthwiseConv2D(3, padding="same"), (5, 5, 3)),
        (keras.layers.EinsumDense("abc,cd->abd", output_shape=(None, 5)), (4, 6)),
        (keras.layers.Dense(5), (7,)),
        (wna_tf.layers.Recurrent(6), (4, 2)),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_scores_of_any_affine_map(layer, shape, cost, monkeypatch):
    monkeypatch.setattr(measures, "EXACT_COST", cost)
    step, shape = affine_map(layer, shape)
    a, b = changes(step)
    value, error = measures.operator_alignment(step, shape, a, b, probes=400)
    expected = score_of_matrices(matrix(step, shape, 1e6 * a), matrix(step, shape, b))
    is_dense = isinstance(layer, keras.layers.Dense | wna_tf.layers.Recurrent)
    assert (error == 0) == (cost > 0 or is_dense)
    assert abs(value - expected) < 4 * error + 1e-5


def test_the_standard_error_is_that_of_many_estimates(monkeypatch):
    monkeypatch.setattr(measures, "EXACT_COST", 0)
    step, shape = affine_map(wna_tf.layers.Conv2D(3, 3, padding="same"), (6, 6, 2))
    a, b = changes(step)
    score = tf.function(lambda seed: measures.operator_alignment(step, shape, a, b, 50, seed))
    values, errors = np.array([score(tf.constant(seed)) for seed in range(150)]).T
    assert 0.8 < np.mean(errors) / np.std(values) < 1.25
    again, _ = score(tf.constant(3))
    assert again == values[3]


def test_a_network_that_did_not_change_has_no_score():
    step, shape = affine_map(keras.layers.Dense(3), (4,))
    a, b = changes(step)
    assert np.isnan(measures.operator_alignment(step, shape, 0 * a, b).value)


def test_wrong_arguments_are_refused():
    step, shape = affine_map(wna_tf.layers.Conv2D(3, 3), (6, 6, 2))
    a, b = changes(step)
    with pytest.raises(ValueError, match=r"at least 2\. Received: probes=1"):
        measures.operator_alignment(step, shape, a, b, probes=1)
    with pytest.raises(ValueError, match=r"layer 'conv2d.*Received: input_shape=\(None, 6, 2\)"):
        measures.operator_alignment(step, (None, 6, 2), a, b)


def test_shuffling_permutes_the_entries_by_the_seed():
    kernel = tf.reshape(tf.range(24.0), [2, 3, 4])
    first, same, other = (measures.shuffle(kernel, seed).numpy() for seed in (1, 1, 2))
    np.testing.assert_array_equal(np.sort(first, None), np.arange(24))
    np.testing.assert_array_equal(first, same)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, kernel)


@pytest.mark.parametrize("degrees", [0, 1e-6, 30, 90, 150, 180])
def test_angles(degrees):
    radians = np.radians(degrees)
    a, b = np.array([[2.0], [0]]), 3 * np.array([[np.cos(radians)], [np.sin(radians)]])
    np.testing.assert_allclose(measures.angle(a, b), degrees, rtol=1e-9, atol=1e-12)
    assert np.isnan(measures.angle(a, 0 * b))
    parts = [[array[:1], array[1:]] for array in (a, b)]  # Of one vector.
    np.testing.assert_allclose(measures.angle(*parts), degrees, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(measures.norm(parts[1]), 3)


def test_the_linearization_gap_is_the_part_of_the_change_that_is_missed():
    f_0, f = tf.constant([1.0, 0]), tf.constant([4.0, 4])
    assert measures.linearization_gap(f, f, f_0) == 0
    assert measures.linearization_gap(f, f_0, f_0) == 1
    halves = ({"a": f, "b": 2 * f}, {"a": f - [0, 3], "b": 2 * f}, {"a": f_0, "b": 2 * f})
    np.testing.assert_allclose(measures.linearization_gap(*halves), 0.6)


def test_the_change_of_a_kernel_is_relative_to_the_initial_one():
    k, k_0 = np.random.default_rng(0).normal(size=(2, 5, 5))
    expected = np.linalg.norm(k - k_0) / np.linalg.norm(k_0)
    np.testing.assert_allclose(measures.kernel_change(k, k_0), expected, rtol=1e-12)
    assert measures.kernel_change(k_0, k_0) == 0


def test_the_alignment_with_labels_is_a_cosine_of_matrices():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(9, 4)), np.arange(9) % 3
    kernel, one_hot = x @ x.T, np.eye(3)[labels]

    def cosine(y):
        gram = y @ y.T
        return np.sum(kernel * gram) / np.linalg.norm(kernel) / np.linalg.norm(gram)

    numbers = rng.normal(size=(9, 2, 3))
    for targets, num_classes, y in (
        (one_hot - 1 / 3, None, one_hot - 1 / 3),
        (one_hot, None, one_hot - 1 / 3),
        (labels, 3, one_hot - 1 / 3),
        (labels[:, np.newaxis], 4, np.eye(4)[labels] - 1 / 4),
        (numbers, None, numbers.reshape(9, 6)),
        (labels.astype(float), None, labels[:, np.newaxis]),
        (np.eye(1)[0 * labels], None, np.ones((9, 1))),
    ):
        value = measures.label_alignment(kernel, targets, num_classes)
        np.testing.assert_allclose(value, cosine(y), rtol=1e-12)
    y = one_hot - 1 / 3
    np.testing.assert_allclose(measures.label_alignment(y @ y.T, labels, 3), 1, rtol=1e-12)
    with pytest.raises(ValueError, match=r"Received: shapes \(3, 3\) and \(2, 2\)"):
        measures.label_alignment(np.eye(3), np.ones([2, 2]))


def test_the_effective_rank_by_hand():
    np.testing.assert_allclose(measures.effective_rank([2.0, 2.0, 2.0, 0.0, -1e-9]), 3, rtol=1e-12)
    np.testing.assert_allclose(measures.effective_rank([5.0]), 1, rtol=1e-12)


# Conservation (SCIENCE.md, section 3, fact 5).


def drifts(rule, parameterization, rates, time):
    """Drifts of the conserved quantities over a fixed time, [rates, pairs of layers]."""
    x = inputs = keras.Input((5,))
    for units in (8, 7):
        x = wna_tf.layers.Dense(units, parameterization, use_bias=False)(x)
        x = keras.layers.ReLU()(x)
    outputs = wna_tf.layers.Dense(2, parameterization, use_bias=False)(x)
    learner = wna_tf.Learner(keras.Model(inputs, outputs), rule)
    learner.compile("sgd", "mse")
    rng = np.random.default_rng(0)
    x, y = tf.constant(rng.normal(size=(20, 5))), tf.constant(rng.normal(size=(20, 2)))
    feedback = learner.feedback_weights if rule == "feedback_alignment" else learner.initial_weights
    above = [None] * 2 if rule == "backprop" else feedback[1:]

    @tf.function(autograph=False)
    def train(rate, steps):
        def step(index):
            for variable, update in zip(
                learner.trainable_variables, learner.updates(x, y), strict=True
            ):
                variable.assign_sub(rate * update)
            return [index + 1]

        tf.while_loop(lambda index: index < steps, step, [0])

    def quantities():
        kernels = learner.trainable_variables
        triples = zip(kernels[:-1], kernels[1:], above, strict=True)
        return [measures.conserved_quantity(*triple) for triple in triples]

    result = []
    for rate in rates:
        for variable, initial in zip(
            learner.trainable_variables, learner.initial_weights, strict=True
        ):
            variable.assign(initial)
        before = quantities()
        train(tf.constant(rate, tf.float64), tf.constant(round(time / rate)))
        result.append(np.subtract(quantities(), before))
        change = learner.trainable_variables[1] - learner.initial_weights[1]
        assert np.linalg.norm(change) > 0.1
    return np.array(result)


@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
@pytest.mark.parametrize("rule", ["backprop", "align_prop", "feedback_alignment", "align_zero"])
def test_half_the_rate_halves_the_drift_of_what_is_conserved(
    rule, parameterization, double_precision
):
    rate = 0.04 if parameterization == "ntk" else 0.01
    whole, half = drifts(rule, parameterization, (rate, rate / 2), 100 * rate)
    ratio = np.linalg.norm(whole) / np.linalg.norm(half)
    np.testing.assert_allclose(ratio, 1 if rule == "align_zero" else 2, rtol=0.05)


def test_the_score_of_a_layer_is_that_of_its_kernels_changes():
    x, y = np.random.default_rng(0).normal(size=(2, 20, 4)).astype("float32")
    network = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(6, name="hidden"), keras.layers.Dense(4)]
    )
    learner = wna_tf.Learner(network, "backprop")
    learner.compile("sgd", "mse")
    score = wna_tf.callbacks.AlignmentScore()
    history = learner.fit(x, y, epochs=2, verbose=0, callbacks=[score]).history
    for layer in ("hidden", network.layers[0]):
        value, error = measures.alignment_score(learner, layer, score.companion)
        np.testing.assert_allclose(value, history["alignment_score/hidden"][-1], rtol=1e-4)
        assert error == 0
    with pytest.raises(ValueError, match=r"one kernel, of hidden, dense.*Received: layer='none'"):
        measures.alignment_score(learner, "none", score.companion)
