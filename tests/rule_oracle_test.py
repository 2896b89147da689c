"""Training steps of rules whose feedback is drawn or learns, against a NumPy oracle."""

import collections

import keras
import numpy as np
import pytest
import tensorflow as tf

import wna_tf
from tests import oracle, rule_oracle
from tests.credit_test import build, pairs
from tests.helpers import assert_close, randomize
from tests.oracle import Block
from tests.rule_draws import DRAWING, injected
from wna_tf import feedback, rules

pytestmark = pytest.mark.usefixtures("double_precision")

# A feedback source, and its hyper-parameters.
ROWS = {
    "current": ("current", {}),
    "sign": ("sign", {"scale": "fan_in"}),
    "sign_initial": ("sign", {"scale": "initial"}),
    "sign_magnitude": ("sign_magnitude", {}),
    "sign_redrawn": ("sign_redrawn", {}),
    "direct": ("direct", {}),
    "direct_target": ("direct_target", {}),
    "direct_sign": ("direct_sign", {}),
    "direct_kolen_pollack": ("direct_kolen_pollack", {"rate": 0.7, "decay": 0.0}),
    "direct_kolen_pollack_decay": ("direct_kolen_pollack", {"rate": 0.7, "decay": 0.3}),
    "direct_forward": ("direct_forward", {"rate": 0.7}),
    "mirrored": ("mirrored", {"decay": 0.1}),
    "weight_mirror": ("weight_mirror", {"rate": 0.5, "decay": 0.3, "noise": 0.8, "every": 1}),
    "weight_mirror_every_2": (
        "weight_mirror",
        {"rate": 0.5, "decay": 0.0, "noise": 0.8, "every": 2},
    ),
    "decay": ("layerwise", {"decay": 0.3}),
    "symmetry": ("layerwise", {"symmetry": 0.3}),
    "amplification": ("layerwise", {"amplification": 0.3}),
    "sparsity": ("layerwise", {"sparsity": 0.3}),
    "nullity": ("layerwise", {"nullity": 0.3}),
    "weight_mirror_term": ("layerwise", {"decay": 0.1, "amplification": 0.3, "noise": True}),
    "every_term": (
        "layerwise",
        {
            "decay": 0.1,
            "symmetry": 0.2,
            "amplification": 0.3,
            "sparsity": 0.2,
            "nullity": 0.1,
            "update_forward": True,
            "bias": True,
        },
    ),
    "every_term_of_noise": (
        "layerwise",
        {
            "amplification": 0.3,
            "sparsity": 0.2,
            "nullity": 0.1,
            "update_forward": True,
            "noise": True,
        },
    ),
    "mirrored_term": (
        "layerwise",
        {"decay": 0.1, "symmetry": 0.2, "update_forward": True, "mirrored": True},
    ),
    "product": ("product", {"expand_ratio": 2, "decay": 0.0}),
    "product_decay": ("product", {"expand_ratio": 3, "decay": 0.2}),
}
all_rows = pytest.mark.parametrize("row", ROWS)

# A chain, the shape of its inputs, and the momentum of its training.
CHAINS = {
    "dense": (
        [
            Block(6, ntk=False, activation="tanh"),
            Block(5, ntk=False, activation="softplus"),
            Block(3, ntk=False),
        ],
        (7,),
        0.75,  # Keras rounds it to single precision.
    ),
    "dense_normalized": (
        [
            Block(6, normalize=True, activation="relu"),
            Block(5, normalize=True, activation="tanh"),
            Block(3),
        ],
        (7,),
        0.0,
    ),
    "convolution_normalized": (
        [
            Block(4, 3, normalize=True, activation="relu"),
            Block(5, 3, 2, normalize=True, activation="tanh", after="average"),
            Block(3),
        ],
        (5, 6, 2),
        0.0,
    ),
}
BATCH = 6
STEPS = 3


def make_draws(source, blocks, weights, input_shape, rng):
    """What a source draws, [steps, ...], for each map or direct projection."""
    if source not in DRAWING:
        return []
    _, states = oracle.forward(blocks, weights, np.zeros((BATCH, *input_shape)))
    shapes = {
        "magnitude": [kernel.shape for kernel, _ in weights],
        "perturbation": [state.h.shape for state in states[:-1]],
        "draw": [state.x.shape for state in states],
    }[DRAWING[source]]
    draws = [rng.normal(size=(STEPS, *shape)) for shape in shapes]
    return [np.abs(some) for some in draws] if source == "sign_redrawn" else draws


@pytest.mark.parametrize("name", CHAINS)
@all_rows
def test_training_is_that_of_the_oracle(row, name):
    (source, fields), (blocks, input_shape, momentum) = ROWS[row], CHAINS[name]
    rng = np.random.default_rng(0)
    network = build(blocks, input_shape)
    variables = network.trainable_variables
    draws = make_draws(source, blocks, pairs(variables), input_shape, rng)
    ours = injected(feedback.get({"name": source} | fields), variables[::2], draws)
    learner = wna_tf.Learner(network, wna_tf.Rule(ours, "current", "current"))
    randomize([*variables, *learner.feedback_weights], rng)
    training = rule_oracle.Training(
        rule_oracle.SOURCES[source](**fields),
        blocks,
        pairs(variables),
        [variable.numpy() for variable in learner.feedback_weights],
        rate=0.1,
        momentum=momentum,
    )
    learner.compile(keras.optimizers.SGD(0.1, momentum), "mse", run_eagerly=True)
    for step in range(STEPS):
        x, y = rng.normal(size=(BATCH, *input_shape)), rng.normal(size=(BATCH, blocks[-1].units))
        learner.train_on_batch(x, y)
        training.train_on_batch(x, y, [some[step] for some in draws])
        assert_close(variables, sum(training.weights, ()), name=f"weights, step {step}")
        if training.feedback:
            assert_close(learner.feedback_weights, training.feedback, name=f"feedback, step {step}")
        else:
            assert not learner.feedback_weights


@pytest.mark.parametrize("row", ["current", "sign", "sign_magnitude", "every_term", "product"])
def test_a_step_reads_a_weight_once_before_it_changes(row):
    # TensorFlow's dependency optimization loses the order of a second read and the update, so that
    # a graph takes the new weights for the old ones in some of its steps, and in others not.
    (source, fields), (blocks, input_shape, _) = ROWS[row], CHAINS["dense"]
    rule = wna_tf.Rule(feedback.get({"name": source} | fields), "current", "current")
    learner = wna_tf.Learner(build(blocks, input_shape), rule)
    learner.compile(keras.optimizers.SGD(0.1), "mse")
    batch = tf.zeros((BATCH, *input_shape)), tf.zeros((BATCH, 3))
    graph = tf.function(learner.train_step).get_concrete_function(batch).graph
    operations = graph.get_operations()
    updated = {op.inputs[0].name for op in operations if op.type.startswith("Assign")}
    reads = collections.Counter(
        op.inputs[0].name
        for op in operations
        if op.type == "ReadVariableOp" and op.outputs[0].consumers() and not op.control_inputs
    )
    names = {
        graph.capture(variable.value.handle).name
        for variable in [*learner.network.trainable_variables, *learner.feedback_weights]
    }
    assert {name: reads[name] for name in names & updated if reads[name] > 1} == {}
    assert len(names & updated) >= 6


def is_ours(name):
    return type(feedback.get(name)).__module__.startswith("wna_tf.")


def test_every_source_has_its_oracle():
    by_hand = {source for source, *_ in oracle.RULES.values()}
    ours = {name for name in feedback.names() if is_ours(name)}
    assert ours <= by_hand | set(rule_oracle.SOURCES)
    assert set(rule_oracle.SOURCES) == {source for source, _ in ROWS.values()}


# The source, and those of its hyper-parameters that must not be zero, or False.
RULES = {
    "sign_symmetry_random_magnitude": ("sign_redrawn", ()),
    "direct_random_target_projection": ("direct_target", ()),
    "sign_direct_feedback_alignment": ("direct_sign", ()),
    "direct_kolen_pollack": ("direct_kolen_pollack", ("rate",)),
    "forward_direct_feedback_alignment": ("direct_forward", ("rate",)),
    "weight_mirror": ("weight_mirror", ("rate", "noise", "every")),
    "regularized_weight_mirror": ("layerwise", ("decay", "amplification")),
    "symmetric_alignment": ("layerwise", ("decay", "symmetry")),
    "activation_alignment": ("layerwise", ("sparsity", "amplification")),
    "information_alignment": ("layerwise", ("amplification", "nullity", "decay")),
    "regularized_kolen_pollack": ("layerwise", ("decay", "mirrored")),
    "product_feedback_alignment": ("product", ("expand_ratio",)),
}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_has_the_terms_of_its_name(name):
    rule = rules.get(name)
    source, terms = RULES[name]
    assert (rule.feedback.name, rule.derivative, rule.activity) == (source, "current", "current")
    assert rule.error == "current"
    if source == "layerwise":
        possible = {"decay", "symmetry", "amplification", "sparsity", "nullity", "mirrored"}
        assert {term for term in possible if getattr(rule.feedback, term)} == set(terms)
    assert all(getattr(rule.feedback, term) for term in terms)


# The oracle itself.


@pytest.mark.parametrize("name", CHAINS)
def test_derivatives_of_layerwise_terms(name):
    blocks, input_shape, _ = CHAINS[name]
    rng = np.random.default_rng(0)
    source = rule_oracle.Layerwise(0.1, 0.2, 0.3, 0.4, 0.5, bias=True)
    weights = pairs(build(blocks, input_shape).trainable_variables)
    weights = [(w, rng.normal(size=b.shape)) for w, b in weights]
    mirror = [rng.normal(size=w.shape) for w, _ in weights]
    x, y = rng.normal(size=(BATCH, *input_shape)), np.zeros((BATCH, 3))
    _, step = rule_oracle.Training(source, blocks, weights, mirror, 0.1).see(x, y)
    inputs = [state.x for state in step.states]
    for block, x, (w, b), f, (_, by_w, by_f) in zip(
        blocks, inputs, weights, mirror, source.terms(step), strict=True
    ):
        along_w, along_f = rng.normal(size=(2, *w.shape))
        h = 1e-5
        above, below = (
            source.term(block, x, w + s * along_w, f + s * along_f, b)[0] for s in (h, -h)
        )
        slope = np.sum(by_w * along_w) + np.sum(by_f * along_f)
        np.testing.assert_allclose((above - below) / (2 * h), slope, rtol=1e-7)


@pytest.mark.parametrize("name", CHAINS)
def test_perturbations_are_pushed_to_the_output(name):
    blocks, input_shape, _ = CHAINS[name]
    rng = np.random.default_rng(0)
    weights = pairs(build(blocks, input_shape).trainable_variables)
    x = rng.normal(size=(BATCH, *input_shape))
    output, states = oracle.forward(blocks, weights, x)
    draws = [rng.normal(size=state.h.shape) for state in states[:-1]]
    zeros = [np.zeros((*v.shape[1:], 3)) for v in draws]
    source = rule_oracle.DirectForward()
    training = rule_oracle.Training(source, blocks, weights, zeros, 0.1)
    _, step = training.see(x, output, draws)

    def perturbed(size):
        signal = x
        for block, pair, v in zip(blocks, weights, [*draws, 0], strict=True):
            _, (state,) = oracle.forward([block], [pair], signal)
            signal = oracle.AFTER[block.after][0](state.h + size * v)
        return signal

    u = (perturbed(1e-6) - perturbed(-1e-6)) / 2e-6
    _, learned = source.learn(step, [])
    expected = [-np.tensordot(v, u, [[0], [0]]) / BATCH for v in draws]
    assert_close(learned, expected, 1e-6)
