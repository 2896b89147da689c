"""Updates of every rule: against a NumPy oracle, and the facts that must hold."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

import wna_tf
from tests import oracle
from tests.helpers import assert_close, gradients, make_learner, precision, randomize
from tests.oracle import Block

RULES = tuple(oracle.RULES)
pytestmark = pytest.mark.usefixtures("double_precision")


# Chains of blocks, against the NumPy oracle.

BEHIND = {
    "flatten": layers.Flatten,
    "average": layers.GlobalAveragePooling2D,
    "maximum": layers.GlobalMaxPooling2D,
}


def build(blocks, input_shape):
    """The Keras network of a chain."""
    x = inputs = keras.Input(input_shape)
    for block in blocks:
        parameterization = "ntk" if block.ntk else "standard"
        if block.kernel_size is None:
            x = wna_tf.layers.Dense(block.units, parameterization)(x)
        else:
            x = wna_tf.layers.Conv2D(
                block.units,
                block.kernel_size,
                parameterization,
                strides=block.stride,
                padding=block.padding,
            )(x)
        if block.normalize:
            x = wna_tf.layers.BatchStatisticsNormalization()(x)
        if block.activation != "linear":
            x = layers.Activation(block.activation)(x)
        if block.after in BEHIND:
            x = BEHIND[block.after]()(x)
    return keras.Model(inputs, x)


@st.composite
def chains(draw):
    """Up to two convolutions, what makes them a vector, up to two dense blocks, and a head."""
    common = {"ntk": draw(st.booleans())}

    def hidden():
        return common | {
            "units": draw(st.integers(1, 4)),
            "normalize": draw(st.booleans()),
            "activation": draw(st.sampled_from(sorted(oracle.ACTIVATIONS))),
        }

    blocks = [
        Block(
            kernel_size=draw(st.integers(1, 3)),
            stride=draw(st.integers(1, 3)),
            padding=draw(st.sampled_from(["same", "valid"])),
            **hidden(),
        )
        for _ in range(draw(st.integers(0, 2)))
    ]
    input_shape = (draw(st.integers(1, 5)),)
    if blocks:
        (*blocks, last) = blocks
        after = draw(st.sampled_from(sorted(BEHIND)))
        blocks.append(Block(**vars(last) | {"after": after}))
        input_shape = (draw(st.integers(7, 9)), draw(st.integers(7, 9)), draw(st.integers(1, 3)))
        if any(block.padding == "valid" for block in blocks):
            blocks = [Block(**vars(b) | {"stride": min(b.stride, 2)}) for b in blocks]
    blocks += [Block(**hidden()) for _ in range(draw(st.integers(0, 2)))]
    return [*blocks, Block(draw(st.integers(1, 3)), **common)], input_shape


def pairs(variables):
    arrays = [variable.numpy().astype("float64") for variable in variables]
    return list(zip(arrays[::2], arrays[1::2], strict=True))


def check_against_oracle(blocks, input_shape, rules, tolerance, batch=5):
    rng = np.random.default_rng(0)
    network = build(blocks, input_shape)
    variables = network.trainable_variables
    randomize(variables, rng)
    start = [variable.numpy() for variable in variables]
    x = rng.normal(size=(batch, *input_shape))
    y = rng.normal(size=(batch, blocks[-1].units))
    for rule in rules:
        for variable, value in zip(variables, start, strict=True):
            variable.assign(value)
        learner = make_learner(network, rule)
        randomize(variables, rng)
        current, initial = pairs(variables), pairs(learner.initial_weights)
        assert_close(learner.initial_weights, start, 0)
        output = oracle.output(rule, blocks, current, initial, x)
        error = 2 * (output - y) / y.size
        feedback = [variable.numpy().astype("float64") for variable in learner.feedback_weights]
        expected = oracle.updates(rule, blocks, current, initial, feedback, x, error)
        assert_close(learner.updates(x, y), sum(expected, ()), tolerance, rule)
        if rule == "backprop":
            assert_close(gradients(learner, x, y), sum(expected, ()), tolerance, "oracle")


@settings(max_examples=8)
@given(chains())
def test_updates_are_those_of_the_oracle(chain):
    check_against_oracle(*chain, RULES, 1e-8)


DENSE = [Block(6, activation="relu"), Block(5, activation="relu"), Block(3)]
CONVOLUTION = [
    Block(4, 3, 1, activation="relu"),
    Block(4, 3, 2, activation="relu", after="average"),
    Block(3),
]
CHAINS = {
    f"{name}{'_normalized' * normalize}": (
        [Block(**vars(b) | {"normalize": normalize and b.activation == "relu"}) for b in blocks],
        input_shape,
    )
    for name, blocks, input_shape in (
        ("dense", DENSE, (7,)),
        ("convolution", CONVOLUTION, (6, 6, 2)),
    )
    for normalize in (False, True)
}
all_chains = pytest.mark.parametrize("name", CHAINS)


@all_chains
def test_updates_in_single_precision(name):
    with precision("float32"):
        check_against_oracle(*CHAINS[name], RULES, 1e-4, batch=20)


@pytest.mark.parametrize("rule", RULES)
def test_updates_in_half_precision_are_close(rule):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 6)), rng.normal(size=(16, 3))
    updates = []
    for policy in ("float32", "mixed_bfloat16"):
        keras.utils.set_random_seed(0)
        with precision(policy):
            learner = make_learner(build(DENSE, (6,)), rule)
            updates.append(np.concatenate([np.ravel(u) for u in learner.updates(x, y)]))
    assert np.linalg.norm(updates[1] - updates[0]) < 0.05 * np.linalg.norm(updates[0])


# Facts of the rules.


@all_chains
def test_feedback_tied_to_the_weights_is_backprop(name):
    blocks, input_shape = CHAINS[name]
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, *input_shape)), rng.normal(size=(8, 3))
    network = build(blocks, input_shape)
    backprop = make_learner(keras.models.clone_model(network), "backprop", run_eagerly=True)
    tied = make_learner(network, "feedback_alignment", run_eagerly=True)
    backprop.network.set_weights(network.get_weights())
    for _ in range(3):
        for feedback, kernel in zip(
            tied.feedback_weights, network.trainable_variables[::2], strict=True
        ):
            feedback.assign(kernel)
        assert_close(tied.updates(x, y), backprop.updates(x, y))
        for learner in (tied, backprop):
            learner.train_on_batch(x, y)
    assert_close(network.get_weights(), backprop.network.get_weights())


@all_chains
def test_feedback_fixed_at_the_initial_weights_is_align_prop(name):
    blocks, input_shape = CHAINS[name]
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, *input_shape)), rng.normal(size=(8, 3))
    network = build(blocks, input_shape)
    align_prop, fixed = (make_learner(network, r) for r in ("align_prop", "feedback_alignment"))
    for feedback, kernel in zip(
        fixed.feedback_weights, network.trainable_variables[::2], strict=True
    ):
        feedback.assign(kernel)
    randomize(network.trainable_variables, rng)
    assert_close(fixed.updates(x, y), align_prop.updates(x, y))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@all_chains
def test_kolen_pollack_shrinks_what_tells_the_weights_from_the_feedback(name, optimizer):
    blocks, input_shape = CHAINS[name]
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, *input_shape)), rng.normal(size=(8, 3))
    rule = wna_tf.Rule({"name": "mirrored", "decay": 0.1}, "current", "current")
    learner = wna_tf.Learner(build(blocks, input_shape), rule)
    learner.compile(optimizer, "mse", run_eagerly=True)

    def difference():
        kernels = learner.network.trainable_variables[::2]
        return [
            w.numpy() - b.numpy() for w, b in zip(kernels, learner.feedback_weights, strict=True)
        ]

    before = difference()
    for _ in range(3):
        learner.train_on_batch(x, y)
    assert_close(difference(), [0.9**3 * d for d in before])


def test_kolen_pollack_decays_by_updates_that_are_applied():
    x, y = np.random.default_rng(0).normal(size=(2, 6, 4))
    dense = layers.Dense(4, kernel_constraint=keras.constraints.NonNeg())
    network = keras.Sequential([keras.Input((4,)), dense])
    dense.kernel.assign(keras.ops.abs(dense.kernel))
    accumulating = keras.optimizers.SGD(0.1, gradient_accumulation_steps=3)
    overflowing = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1))
    for optimizer in (accumulating, overflowing):
        rule = wna_tf.Rule({"name": "mirrored", "decay": 0.1}, "current", "current")
        learner = wna_tf.Learner(network, rule)
        learner.compile(optimizer, "mse")
        (feedback,) = learner.feedback_weights
        for step in range(6):
            before = [dense.kernel.numpy(), feedback.numpy()]
            is_finite = optimizer is accumulating or step % 3 == 2
            learner.train_on_batch(x, y if is_finite else np.full_like(y, np.inf))
            kernel = dense.kernel.numpy()
            if step % 3 < 2:
                np.testing.assert_array_equal(kernel, before[0])
                np.testing.assert_array_equal(feedback, before[1])
            else:
                assert_close([kernel - feedback.numpy()], [0.9 * (before[0] - before[1])])
                assert kernel.min() >= 0


def dense_relu_network(dense):
    options = {"use_bias": False}
    hidden = [dense(8, activation="relu", **options) for _ in range(2)]
    return keras.Sequential([keras.Input((6,)), *hidden, dense(2, **options)])


@pytest.mark.parametrize("dense", [layers.Dense, wna_tf.layers.Dense], ids=["standard", "ntk"])
@pytest.mark.parametrize("rule", ["backprop", "feedback_alignment", "align_prop"])
def test_conserved_quantities(rule, dense):
    # d/dt 1/2 ||W_l||^2 = <W_l, dW_l> = <z_l, d_l> = <V_{l+1}, dW_{l+1}>. Under NTK
    # parameterization the last two hold factor by factor: z_l and dW_l both have 1/sqrt(fan_in_l),
    # and d_l has the 1/sqrt(fan_in_{l+1}) of dW_{l+1}. So the quantity itself has none.
    rng = np.random.default_rng(0)
    network = dense_relu_network(dense)
    learner = make_learner(network, rule)
    kernels = network.trainable_variables
    start = [kernel.numpy() for kernel in kernels]
    x, y = rng.normal(size=(20, 6)), rng.normal(size=(20, 2))
    feedback = {"feedback_alignment": learner.feedback_weights, "align_prop": start}.get(rule)

    def conserved():
        weights = [kernel.numpy() for kernel in kernels]
        squares = [np.sum(w**2) / 2 for w in weights]
        if feedback is None:
            return -np.diff(squares)
        above = [np.sum(v * w) for v, w in zip(feedback, weights, strict=True)]
        return np.subtract(squares[:-1], above[1:])

    updates = [update.numpy() for update in learner.updates(x, y)]
    growth = [np.sum(w * u) for w, u in zip(start, updates, strict=True)]
    carriers = start if feedback is None else feedback
    above = [np.sum(v * u) for v, u in zip(carriers, updates, strict=True)]
    np.testing.assert_allclose(growth[:-1], above[1:], rtol=1e-9)

    drifts = []
    for steps in (50, 100):
        for kernel, value in zip(kernels, start, strict=True):
            kernel.assign(value)
        learner.optimizer.learning_rate = 5 / steps
        before = conserved()
        for _ in range(steps):
            learner.train_on_batch(x, y)
        drifts.append(conserved() - before)
    assert np.abs(np.subtract(kernels[0], start[0])).max() > 0.05
    np.testing.assert_allclose(drifts[0] / drifts[1], 2, atol=0.3)


@pytest.mark.parametrize("rule", RULES)
def test_a_frozen_layer_stays(rule):
    network = build(DENSE, (7,))
    frozen = network.layers[1]
    frozen.trainable = False
    learner = make_learner(network, rule, run_eagerly=True)
    before = network.get_weights()
    learner.train_on_batch(np.ones((4, 7)), np.ones((4, 3)))
    np.testing.assert_array_equal(frozen.kernel, before[0])
    assert not np.array_equal(network.get_weights()[-1], before[-1])
