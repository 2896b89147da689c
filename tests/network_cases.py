"""Networks with inputs and targets that rules are compared on, and how they are."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import pytest

import wna_tf
from tests import network_oracle
from tests.network_oracle import assert_updates

ALIGN_RULES = ("align_zero", "align_ada", "align_prop")
RULES = (
    "backprop",
    *ALIGN_RULES,
    "feedback_alignment",
    "sign_symmetry",
    "kolen_pollack",
)
QUICK = ("align_ada", "feedback_alignment")
rules = pytest.mark.parametrize(
    "rule", [pytest.param(rule, marks=[pytest.mark.slow] * (rule not in QUICK)) for rule in RULES]
)


@dataclasses.dataclass
class Case:
    """What makes a network, and one batch of it.

    Attributes:
        make: Makes the network.
        x: Inputs.
        y: Targets.
        loss: Keras loss.
        sample_weight: As Keras's own.
        tolerance: Relative to the norm of each variable's update.
        blocks: Of a chain, for direct feedback: see `network_oracle.Oracle.direct`.
    """

    make: Callable[[], keras.Model]
    x: object
    y: object
    loss: str | keras.Loss = "mse"
    sample_weight: object = None
    tolerance: float = 1e-9
    blocks: tuple = ()

    @property
    def batch(self):
        return self.x, self.y, self.sample_weight


def moved(values, rng, scale=0.2):
    """Returns values some way off, by a fraction of how they spread, or of 1 where they do not."""
    spreads = [np.std(v) if v.size > 1 and np.std(v) > 0 else 0.5 for v in values]
    return [v + scale * s * rng.normal(size=v.shape) for v, s in zip(values, spreads, strict=True)]


def plain(case, network):
    """Returns a network with the weights of another, for Keras alone."""
    twin = case.make()
    twin.compile(keras.optimizers.SGD(0.1), case.loss, jit_compile=False)
    network_oracle.assign(twin.variables, [v.numpy() for v in network.variables])
    return twin


def make_learner(case, rule, network):
    learner = wna_tf.Learner(network, rule)
    learner.compile(keras.optimizers.SGD(0.1), case.loss, run_eagerly=True)
    return learner


def with_random_weights(case):
    """Returns a network of which no gain is 1 and no bias 0."""
    network = case.make()
    rng = np.random.default_rng(1)
    variables = network.trainable_variables
    network_oracle.assign(variables, moved([v.numpy() for v in variables], rng))
    return network


def first_updates(case, network, rule):
    state = [v.numpy() for v in network.variables]
    learner = make_learner(case, rule, network)
    result = learner.updates(*case.batch)
    network_oracle.assign(network.variables, state)
    return learner.trainable_variables, result


def check_oracle(case):
    """Compares the oracle with Keras at the initial weights, where every rule is backprop."""
    network = with_random_weights(case)
    oracle = network_oracle.Oracle(plain(case, network))
    expected = oracle.gradient(oracle.initial, *case.batch)
    tied = [kernel.numpy() for kernel in oracle.kernels(case.x)]
    for rule in RULES:
        if rule != "sign_symmetry":
            updates = oracle.updates(rule, oracle.initial, *case.batch, feedback=tied)
            assert_updates(oracle.variables, updates, expected, case.tolerance, rule)


def check_first_step(case):
    """Compares backprop with Keras's own gradient, and the first step of the align rules."""
    network = with_random_weights(case)
    oracle = network_oracle.Oracle(plain(case, network))
    expected = oracle.gradient(oracle.initial, *case.batch)
    for rule in ("backprop", *ALIGN_RULES):
        assert_updates(*first_updates(case, network, rule), expected, case.tolerance, rule)


def check_later_step(case, rule):
    """Compares a rule with the oracle when the weights have moved."""
    network = with_random_weights(case)
    rng = np.random.default_rng(2)
    oracle = network_oracle.Oracle(plain(case, network))
    learner = make_learner(case, rule, network)
    current = moved(oracle.initial, rng)
    feedback = [rng.normal(size=v.shape) * np.std(v) for v in learner.feedback_weights]
    network_oracle.assign(learner.feedback_weights, feedback)
    if rule in ("direct_feedback_alignment", "readout"):
        expected = oracle.direct(case.blocks, current, *case.batch[:2], feedback or None)
    else:
        expected = oracle.updates(rule, current, *case.batch, feedback=feedback)
    network_oracle.assign(network.trainable_variables, current)
    actual = learner.updates(*case.batch)
    assert_updates(learner.trainable_variables, actual, expected, case.tolerance, rule)
