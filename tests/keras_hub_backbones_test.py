"""Every family of KerasHub's backbones: Keras's own gradient, and the first step of the rules."""

import pathlib
import re

import numpy as np
import pytest

import wna_tf
from tests.helpers import precision
from tests.network_cases import Case, check_first_step, check_later_step, check_oracle

keras_hub = pytest.importorskip("keras_hub")
from tests import keras_hub_backbones as hub  # noqa: E402

UNLIKE = {
    "DebertaV3Backbone": "normalizes weights: a map of its own here, a part of their use there",
    "SigLIPBackbone": "multiplies two weights that the oracle tells apart",
    "SwinTransformerBackbone": "has two normalizations behind a map: one block here, two there",
}
"""Where the oracle of align_ada reads a network in another way."""


def case(name):
    """Returns a backbone under a small head, in double precision where the backbone has it."""
    backbone = hub.BACKBONES[name]()
    y = np.random.default_rng(1).normal(size=(hub.BATCH, 3))
    return Case(
        lambda: hub.with_head(hub.BACKBONES[name]()),
        hub.inputs_of(backbone),
        y,
        # Some compute in single precision whatever they are told.
        tolerance=1e-4 if name in hub.FLOAT32_ONLY else 1e-9,
    )


families = pytest.mark.parametrize("name", [n for n in hub.BACKBONES if n not in hub.REFUSED])


@pytest.fixture
def family(name):
    with precision("float32" if name in hub.FLOAT32_ONLY else "float64"):
        yield case(name)


def test_every_family_is_here():
    every = {name for name in dir(keras_hub.models) if name.endswith("Backbone")}
    assert every == set(hub.BACKBONES) | hub.LEFT_OUT


def test_the_table_in_the_documents_has_every_family():
    page = (pathlib.Path(__file__).parents[1] / "docs/networks.md").read_text()
    rows = re.findall(r"^\| (\w+) \| (\d+|refused: .*) \| ", page, re.MULTILINE)
    assert {f"{family}Backbone" for family, _ in rows} == set(hub.BACKBONES)
    refused = {f"{family}Backbone" for family, what in rows if not what.isdigit()}
    assert refused == set(hub.REFUSED)


@pytest.mark.slow
@pytest.mark.parametrize("name", hub.REFUSED)
def test_what_no_rule_has_a_meaning_for_is_refused_by_name(family, name):
    with pytest.raises(ValueError, match=f"Received: layer '{hub.REFUSED[name]}'"):
        wna_tf.Learner(family.make())


@pytest.mark.slow
@families
def test_the_oracle_begins_with_the_gradient(family, name):
    check_oracle(family)


@pytest.mark.slow
@families
def test_backprop_is_the_gradient_and_the_align_rules_begin_with_it(family, name):
    check_first_step(family)


@pytest.mark.slow
@families
@pytest.mark.parametrize("rule", ["align_zero", "align_ada", "align_prop"])
def test_rules_do_what_the_oracle_says(family, name, rule):
    if rule == "align_ada" and name in UNLIKE:
        pytest.skip(UNLIKE[name])
    check_later_step(family, rule)
