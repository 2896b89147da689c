"""Training that kernels predict: against fit, against small steps, and against itself."""

import keras
import numpy as np
import pytest

import wna_tf
from tests.linearize_test import cnn, draw_inputs, mlp
from wna_tf import ntk

pytestmark = pytest.mark.usefixtures("double_precision")


def problem(make=mlp, train=6, test=4):
    rng = np.random.default_rng(0)
    learner = wna_tf.Learner(make(), "linearized")
    x, others = (draw_inputs(learner.network, size, rng) for size in (train, test))
    y = rng.normal(size=(train, 3))
    predictor = ntk.Predictor(ntk.empirical_ntk(learner, x), learner(x), y)
    other = {"kernel": ntk.empirical_ntk(learner, others, x), "initial": learner(others)}
    rate = x.shape[0] * 3 / predictor.eigenvalues[-1] / 2
    return learner, x, y, others, predictor, other, rate


@pytest.mark.parametrize("momentum", [0.0, 0.75])
@pytest.mark.parametrize("make", [mlp, cnn], ids=lambda make: make.__name__)
def test_descent_is_that_of_fit_on_other_examples_too(make, momentum):
    learner, x, y, others, predictor, other, rate = problem(make)
    learner.compile(keras.optimizers.SGD(rate / 4, momentum=momentum), "mse")
    learner.fit(x, y, batch_size=len(x), epochs=30, verbose=0)
    for inputs, given in ((x, {}), (others, other)):
        predicted = predictor.descend(rate / 4, 30, momentum, **given)
        assert predicted.shape == (31, len(inputs), 3)
        scale = np.abs(predicted).max()
        np.testing.assert_allclose(learner(inputs), predicted[-1], atol=1e-9 * scale)
        np.testing.assert_allclose(predicted[0], given.get("initial", predicted[0]), rtol=1e-12)


def test_flow_is_the_limit_of_small_steps_and_ends_in_regression():
    *_, predictor, other, rate = problem()
    for given in ({}, other):
        flow = predictor.flow([0.0, 7 * rate, 1e9 * rate], **given)
        steps = predictor.descend(rate / 1000, 7000, **given)
        np.testing.assert_allclose(flow[0], steps[0], rtol=1e-12)
        np.testing.assert_allclose(flow[1], steps[-1], rtol=2e-3, atol=1e-3)
        np.testing.assert_allclose(flow[2], predictor.regress(**given), rtol=1e-5, atol=1e-6)


def test_regression_is_that_of_normal_equations():
    learner, x, y, others, predictor, other, _ = problem()
    matrix = np.reshape(ntk.empirical_ntk(learner, x), (18, 18))
    solved = np.linalg.solve(matrix + 0.3 * np.eye(18), (y - learner(x).numpy()).ravel())
    expected = learner(others) + (np.reshape(other["kernel"], (12, 18)) @ solved).reshape(4, 3)
    np.testing.assert_allclose(predictor.regress(0.3, **other), expected, rtol=1e-9)
    np.testing.assert_allclose(predictor.regress(), y, rtol=1e-6)


def test_a_kernel_of_examples_is_that_of_every_output():
    rng = np.random.default_rng(0)
    factor, initial, y = rng.normal(size=(5, 9)), rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    kernel = factor @ factor.T
    full = np.einsum("nm,ck->ncmk", kernel, np.eye(2))
    other = rng.normal(size=(3, 5)), rng.normal(size=(3, 2))
    wide = np.einsum("nm,ck->ncmk", other[0], np.eye(2)), other[1]
    few, all_of_them = (ntk.Predictor(k, initial, y) for k in (kernel, full))
    for call in (
        lambda p, *given: p.descend(0.1, 4, 0.5, *given),
        lambda p, *given: p.flow([0.3, 2.0], *given),
        lambda p, *given: p.regress(0.1, *given),
    ):
        np.testing.assert_allclose(call(few), call(all_of_them), rtol=1e-9)
        np.testing.assert_allclose(call(few, *other), call(all_of_them, *wide), rtol=1e-9)


def test_where_the_kernel_is_zero_nothing_changes():
    predictor = ntk.Predictor(np.diag([2.0, 0.0]), np.ones((2, 1)), np.zeros((2, 1)))
    for outputs in (predictor.descend(0.5, 9)[-1], predictor.flow([50.0])[0], predictor.regress()):
        np.testing.assert_allclose(outputs, [[0], [1]], atol=1e-2)


@pytest.mark.parametrize(
    ("arguments", "given", "message"),
    [
        ((np.eye(3), np.ones((2, 1)), np.ones((2, 1))), {}, "Expected a kernel"),
        ((np.eye(2), np.ones((2, 1)), np.ones((2, 2))), {}, "Expected a kernel"),
        ((np.eye(2), np.ones(2), np.ones(2)), {}, "Expected a kernel"),
        (([[1.0, 2.0], [0.0, 1.0]], np.ones((2, 1)), np.ones((2, 1))), {}, "symmetric"),
        ((np.eye(2), np.ones((2, 1)), np.ones((2, 1))), {"kernel": np.eye(2)}, "Expected both"),
        (
            (np.eye(2), np.ones((2, 1)), np.ones((2, 1))),
            {"kernel": np.ones((3, 3)), "initial": np.ones((3, 1))},
            r"Expected a kernel \(3, 2\)",
        ),
    ],
)
def test_shapes_that_do_not_fit_are_refused(arguments, given, message):
    with pytest.raises(ValueError, match=message):
        ntk.Predictor(*arguments).regress(**given)
