"""How the tangent kernel changes, against finite differences; alignment to labels of every form."""

import keras
import numpy as np
import pytest

import wna_tf
from tests.diagnosed import fit, make_data, make_learner, measure
from wna_tf.callbacks import KernelChange


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
