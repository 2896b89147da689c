"""Every family of KerasHub's backbones: Keras's own gradient, and the first step of the rules."""

import numpy as np
import pytest

import wna_tf
from tests.helpers import precision
from tests.network_cases import Case, check_first_step, check_later_step, check_oracle

keras_hub = pytest.importorskip("keras_hub")
from tests import keras_hub_backbones as hub  # noqa: E402

SLOW = {"BASNetBackbone"}


def case(name):
    """Returns a backbone under a small head, in double precision where the backbone has it."""
    backbone = hub.BACKBONES[name]()
    y = np.random.default_rng(1).normal(size=(hub.BATCH, 3))
    return Case(
        lambda: hub.with_head(hub.BACKBONES[name]()),
        hub.inputs_of(backbone),
        y,
        # In single precision TensorFlow's own sums, in another order, differ by up to 1e-5.
        tolerance=1e-4 if name in hub.FLOAT32_ONLY else 1e-9,
    )


families = pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW))
        for n in hub.BACKBONES
        if n not in hub.REFUSED
    ],
)


@pytest.fixture
def family(name):
    with precision("float32" if name in hub.FLOAT32_ONLY else "float64"):
        yield case(name)


def test_every_family_is_here():
    every = {name for name in dir(keras_hub.models) if name.endswith("Backbone")}
    assert every == set(hub.BACKBONES) | hub.LEFT_OUT


@pytest.mark.parametrize("name", hub.REFUSED)
def test_what_fails_in_a_graph_is_refused_by_name(family, name):
    with pytest.raises(ValueError, match=f"Received: layer '{hub.REFUSED[name]}'"):
        wna_tf.Learner(family.make())


@families
def test_the_oracle_begins_with_the_gradient(family, name):
    check_oracle(family)


@families
def test_backprop_is_the_gradient_and_the_align_rules_begin_with_it(family, name):
    check_first_step(family)


@families
@pytest.mark.parametrize("rule", ["align_zero", "align_ada", "align_prop"])
def test_rules_do_what_the_oracle_says(family, name, rule):
    check_later_step(family, rule)
