"""Kernels in all their forms, against full Jacobians and updates, by blocks and in files."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import wna_tf
from tests.conftest import SHARED
from tests.linearize_test import (
    attention,
    cnn,
    draw_inputs,
    jacobian,
    many_kinds,
    mlp,
    move,
    normalized_mlp,
    rnn,
    shared,
)
from tests.samples import sample
from wna_tf import ntk, rules
from wna_tf.ntk import blocks, contraction

pytestmark = pytest.mark.usefixtures("double_precision")

GOLDEN = SHARED / "golden" / "ntk_cnn_w16.npz"
sizes = st.integers(1, 4)


@pytest.mark.skipif(not GOLDEN.exists(), reason="needs the golden files")
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-6), ("float32", 1e-5)])
def test_it_is_the_kernel_of_neural_tangents(dtype, tolerance):
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    data = np.load(GOLDEN)
    strides = tuple(int(stride) for stride in data["strides"])
    network = wna_tf.models.cnn((16, 16, 1), 10, 16, strides, normalize=False)
    stored = [data[f"layer{i}/{name}"] for i in range(4) for name in ("kernel", "bias")]
    for variable, value in zip(network.trainable_variables, stored, strict=True):
        variable.assign(np.reshape(value, variable.shape))
    np.testing.assert_allclose(network(data["x"]), data["outputs"], rtol=1e-5, atol=1e-5)
    expected = data["ntk"].transpose(0, 2, 1, 3)
    scale = np.abs(expected).max()
    actual = ntk.empirical_ntk(network, data["x"])
    assert actual.dtype == dtype
    np.testing.assert_allclose(actual, expected, atol=tolerance * scale)


@pytest.mark.parametrize(
    "make", sample([mlp, normalized_mlp, cnn, many_kinds, shared, attention, rnn], (mlp, cnn, rnn))
)
def test_forms_are_parts_of_the_full_kernel(make):
    rng = np.random.default_rng(0)
    network = make()
    x1, x2 = draw_inputs(network, 3, rng), draw_inputs(network, 2, rng)
    full = ntk.empirical_ntk(network, x1, x2)
    diagonal = np.einsum("ncmc->nmc", full)
    scale = np.abs(full).max()
    found = ntk.empirical_ntk(network, x1, x2, output="diagonal")
    np.testing.assert_allclose(found, diagonal, rtol=1e-9, atol=1e-12 * scale)
    found = ntk.empirical_ntk(network, x1, x2, output="trace")
    np.testing.assert_allclose(found, diagonal.mean(-1), rtol=1e-9, atol=1e-12 * scale)


@given(n=sizes, m=sizes, r=sizes, s=sizes, fan_in=sizes, units=sizes, c=sizes, k=sizes, few=sizes)
def test_every_way_to_multiply_factors_gives_the_same(n, m, r, s, fan_in, units, c, k, few):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n, r, fan_in)), rng.normal(size=(m, s, fan_in))
    deltas = rng.normal(size=(c, n, r, units)), rng.normal(size=(k, m, s, units))
    factors = [
        contraction.Factors(tf.constant(p), tf.constant(d))
        for p, d in zip(rows, deltas, strict=True)
    ]
    jacobians = [np.einsum("nrf,cnru->cnfu", p, d) for p, d in zip(rows, deltas, strict=True)]
    expected = np.einsum("cnfu,kmfu->cnkm", *jacobians)
    for entries in (few, 1000):
        for way in contraction.ways(*factors, entries):
            np.testing.assert_allclose(way.compute(), expected, atol=1e-10, err_msg=way.name)
    if c == k:
        merged = contraction.contract(*map(contraction.merge, factors), 1000)
        np.testing.assert_allclose(merged[0, :, 0], np.einsum("cncm->nm", expected), atol=1e-10)


def test_few_places_are_multiplied_by_grams_and_many_by_jacobians():
    def cheapest(places, units, outputs):
        factors = contraction.Factors(
            tf.zeros([20, places, units]), tf.zeros([outputs, 20, places, units])
        )
        return min(contraction.ways(factors, factors, 2**24), key=lambda way: way.cost).name

    assert cheapest(1, 64, 10) == "outer products"
    assert cheapest(4, 64, 10) == "grams"
    assert cheapest(64, 16, 10) == "jacobians"


@pytest.mark.parametrize("output", ["full", "trace", "diagonal"])
@pytest.mark.parametrize("others", [None, 5], ids=["symmetric", "of two"])
def test_blocks_give_what_one_gives(output, others, tmp_path):
    rng = np.random.default_rng(0)
    network = cnn()
    x1 = draw_inputs(network, 7, rng)
    x2 = None if others is None else draw_inputs(network, others, rng)
    whole = ntk.empirical_ntk(network, x1, x2, output=output)
    few = ntk.empirical_ntk(network, x1, x2, output=output, max_gigabytes=1.2e-4)
    np.testing.assert_allclose(few, whole, rtol=1e-12, atol=1e-12 * whole.max())
    path = tmp_path / "kernels" / "kernel.npy"
    kept = ntk.empirical_ntk(network, x1, x2, output=output, max_gigabytes=1.2e-4, filepath=path)
    np.testing.assert_array_equal(kept, few)
    np.testing.assert_array_equal(np.load(path), few)
    assert [each.name for each in path.parent.iterdir()] == ["kernel.npy"]


@pytest.mark.parametrize("sizes", [(1, 3), (3, 2)])
def test_one_example_does_not_hide_that_others_depend_on_each_other(sizes):
    rng = np.random.default_rng(0)
    network = normalized_mlp()
    move(network, rng)
    x1, x2 = (draw_inputs(network, size, rng) for size in sizes)
    ntk.empirical_ntk(network, x1[:1])  # What is found out of it is kept with the network.
    (_, first), (_, second) = jacobian(network, x1), jacobian(network, x2)
    expected = np.einsum("ncp,mkp->ncmk", first, second)
    actual = ntk.empirical_ntk(network, x1, x2)
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-10 * np.abs(expected).max())


def test_graphs_are_written_once():
    network = cnn()
    x = draw_inputs(network, 7, np.random.default_rng(0))
    for _ in range(2):
        ntk.empirical_ntk(network, x, x[:4], max_gigabytes=1.2e-4)
    ((traced),) = vars(network)["_wna_tf_kernels"].values()
    (kernel,) = traced.kernels.values()
    assert kernel.compute.experimental_get_tracing_count() == 1


def test_blocks_go_on_after_an_interruption(tmp_path, monkeypatch):
    network = mlp()
    x = draw_inputs(network, 6, np.random.default_rng(0))
    path = tmp_path / "kernel.npy"
    whole = ntk.empirical_ntk(network, x)
    parts, computed = blocks.Blocks.parts, []

    def some(self, pairs):
        for count, part in enumerate(parts(self, pairs)):
            if count == limit:
                raise KeyboardInterrupt
            computed.append(part[0])
            yield part

    monkeypatch.setattr(blocks.Blocks, "parts", some)
    limit = 2
    with pytest.raises(KeyboardInterrupt):
        ntk.empirical_ntk(network, x, max_gigabytes=1.2e-5, filepath=path)
    assert not path.exists()
    limit = None
    with pytest.raises(ValueError, match="blocks of the same kernel"):
        ntk.empirical_ntk(network, x + 1, max_gigabytes=1.2e-5, filepath=path)
    kernel = ntk.empirical_ntk(network, x, max_gigabytes=1.2e-5, filepath=path)
    assert len(computed) == len(set(computed)) > 3
    np.testing.assert_allclose(kernel, whole, rtol=1e-12)
    with pytest.raises(ValueError, match="that of no file yet"):
        ntk.empirical_ntk(network, x, filepath=path)


def test_replicas_take_blocks_at_the_same_time(mirrored):
    with mirrored.scope():
        learner = wna_tf.Learner(mlp(), "backprop")
    x = draw_inputs(learner.network, 7, np.random.default_rng(0))
    whole = ntk.empirical_ntk(learner, x)
    by_blocks = ntk.empirical_ntk(learner, x, max_gigabytes=1.2e-5)
    np.testing.assert_allclose(by_blocks, whole, rtol=1e-12)


def test_layers_add_up_and_current_weights_are_a_choice():
    rng = np.random.default_rng(0)
    network = many_kinds()
    x = draw_inputs(network, 3, rng)
    learner = wna_tf.Learner(network, "backprop")
    names = [layer.name for layer in network.layers if layer.trainable_variables]
    whole = ntk.empirical_ntk(learner, x)
    parts = [ntk.empirical_ntk(learner, x, layers=some) for some in (names[:2], names[2:])]
    np.testing.assert_allclose(sum(parts), whole, rtol=1e-9, atol=1e-12 * whole.max())
    one = ntk.empirical_ntk(learner, x, layers=[network.get_layer(names[0])], output="trace")
    other = ntk.empirical_ntk(learner, x, layers=names[:1], output="trace")
    np.testing.assert_array_equal(one, other)
    move(network, rng)
    np.testing.assert_allclose(ntk.empirical_ntk(learner, x), whole, rtol=1e-12)
    current = ntk.empirical_ntk(learner, x, weights="current")
    np.testing.assert_allclose(current, ntk.empirical_ntk(network, x), rtol=1e-12)
    assert np.abs(current - whole).max() > 0.1 * np.abs(whole).max()


LINEAR = [name for name in rules.names() if rules.get(name).feedback.is_linear]
OFTEN = ("backprop", "align_ada", "align_zero", "feedback_alignment", "direct_feedback_alignment")


@pytest.mark.parametrize(
    "rule",
    [name if name in OFTEN else pytest.param(name, marks=pytest.mark.slow) for name in LINEAR],
)
@pytest.mark.parametrize("make", [mlp, normalized_mlp], ids=lambda make: make.__name__)
def test_a_rule_s_kernel_is_what_its_updates_do_to_outputs(rule, make):
    rng = np.random.default_rng(0)
    learner = wna_tf.Learner(make(), rule)
    x1, x2 = draw_inputs(learner.network, 3, rng), draw_inputs(learner.network, 2, rng)
    if rule == "linearized":
        _, jacobians = jacobian(learner.network, x1)
        move(learner.network, rng)
    else:
        move(learner.network, rng)
        _, jacobians = jacobian(learner.network, x1)
    learner.compile("sgd", lambda error, outputs: len(x2) * tf.reduce_sum(error * outputs, -1))

    def updates(error):
        return np.concatenate([np.ravel(update) for update in learner.updates(x2, error)])

    expected, without = np.zeros((3, 3, 2, 3)), updates(np.zeros((2, 3)))  # What decays.
    for m in range(2):
        for k in range(3):
            error = np.zeros((2, 3))
            error[m, k] = 1
            expected[:, :, m, k] = jacobians @ (updates(error) - without)
    scale = np.abs(expected).max()
    actual = ntk.rule_ntk(learner, x1, x2)
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-10 * scale)
    trace = ntk.rule_ntk(learner, x1, x2, output="trace")
    np.testing.assert_allclose(
        trace, np.einsum("ncmc->nm", expected) / 3, rtol=1e-9, atol=1e-10 * scale
    )


def test_the_kernel_of_backprop_is_the_tangent_kernel():
    learner = wna_tf.Learner(cnn(), "backprop")
    x = draw_inputs(learner.network, 4, np.random.default_rng(0))
    expected = ntk.empirical_ntk(learner, x)
    np.testing.assert_allclose(ntk.rule_ntk(learner, x), expected, rtol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"output": "mean"}, r"one of full, trace, diagonal\. Received: output='mean'"),
        ({"weights": "initial"}, r"to be 'current'\. Received: weights='initial'"),
        ({"layers": ["no"]}, r"Expected layers of .* Received: 'no'"),
        ({"layers": []}, "Expected weights of a kernel"),
        ({"max_gigabytes": 0.0}, r"above 0\. Received: max_gigabytes=0\.0"),
        ({"max_gigabytes": 1e-9}, r"enough for an example of each side, .* max_gigabytes=1e-09"),
        ({"filepath": "kernel.csv"}, r"end in \.npy.* Received: filepath='kernel.csv'"),
    ],
)
def test_what_is_no_kernel_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ntk.empirical_ntk(mlp(), np.ones((2, 4)), **arguments)


@pytest.mark.parametrize("rule", [name for name in rules.names() if name not in LINEAR])
def test_a_rule_that_is_not_linear_in_the_error_has_no_kernel(rule):
    with pytest.raises(ValueError, match="linear in the error"):
        ntk.rule_ntk(wna_tf.Learner(mlp(), rule), np.ones((2, 4)))


def test_a_network_without_a_rule_has_no_rule_s_kernel():
    with pytest.raises(ValueError, match="Expected a Learner"):
        ntk.rule_ntk(mlp(), np.ones((2, 4)))


def test_a_learner_with_kernels_is_saved_and_cloned(tmp_path):
    learner = wna_tf.Learner(mlp(), "align_ada")
    x = draw_inputs(learner.network, 2, np.random.default_rng(0))
    kernel = ntk.empirical_ntk(learner, x)
    learner.save(tmp_path / "learner.keras")
    loaded = keras.models.load_model(tmp_path / "learner.keras")
    np.testing.assert_allclose(ntk.empirical_ntk(loaded, x), kernel, rtol=1e-12)
