"""The table of rules: as documented, serializable, and strict about what it is given."""

import dataclasses
import json

import keras
import pytest

import wna_tf
from tests import oracle
from wna_tf import feedback, rules

GOOD = rules.serialize(rules.get("align_ada"))


@pytest.mark.parametrize("name", oracle.RULES)
def test_a_rule_is_its_row_of_the_table(name):
    rule = rules.get(name)
    assert (rule.feedback.name, rule.derivative, rule.activity, rule.error) == oracle.RULES[name]
    assert name in rules.names()


@pytest.mark.parametrize("name", rules.names())
def test_round_trip(name):
    rule = rules.get(name)
    config = rules.serialize(rule)
    assert json.loads(json.dumps(config)) == config
    assert rules.deserialize(config) == rules.get(config) == rules.get(rule) == rule


def test_all_but_the_feedback_is_by_default_the_current_network_s():
    assert rules.Rule("initial") == rules.get("align_prop")
    rule = rules.Rule("initial", "initial", "initial")
    assert rule == rules.get("align_zero")
    config = rules.serialize(rule)
    del config["error"]
    assert rules.deserialize(config) == rule
    assert dataclasses.replace(rule, error="linearized") == rules.get("linearized")


def test_rules_differ_from_each_other():
    assert len({json.dumps(rules.serialize(rules.get(name))) for name in rules.names()}) == len(
        rules.names()
    )


@pytest.mark.parametrize("source", feedback.names())
def test_any_row_is_a_rule(source):
    rule = rules.Rule(source, "initial", "current")
    assert rule == rules.Rule({"name": source}, "initial", "current")
    assert rule.feedback == feedback.get(source) == feedback.get(feedback.get(source))
    assert rules.get(rules.serialize(rule)) == rule


@pytest.mark.parametrize("identifier", ["align_zero", rules.get("align_zero"), GOOD])
def test_a_learner_takes_a_name_a_rule_or_a_dict(identifier):
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    assert wna_tf.Learner(network, identifier).rule == rules.get(identifier)


@pytest.mark.parametrize("wrong", ["hebb", "", "Backprop", None, 3, ["backprop"], 1.5])
def test_unknown_rules_are_refused_with_the_known_ones(wrong):
    with pytest.raises(ValueError, match=r"^Expected a rule, one of ") as error:
        rules.get(wrong)
    assert str(error.value).endswith(f"Received: rule={wrong!r}")
    assert all(name in str(error.value) for name in rules.names())


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {1: 2},
        {"feedback": "current"},
        GOOD | {"rate": 1},
        GOOD | {"derivative": "now"},
        GOOD | {"activity": None},
        GOOD | {"error": "initial"},
        GOOD | {"feedback": "backward"},
        GOOD | {"feedback": None},
        GOOD | {"feedback": {}},
        GOOD | {"feedback": {"name": ["current"]}},
        GOOD | {"feedback": {"name": "current", "scale": 3}},
    ],
    ids=str,
)
def test_malformed_dicts_are_refused(wrong):
    with pytest.raises(ValueError, match=r"^Expected .*Received: "):
        rules.deserialize(wrong)


def test_unknown_feedback_is_refused_with_the_known_sources():
    with pytest.raises(ValueError, match=r"^Expected .* Received: feedback='backward'") as error:
        feedback.get("backward")
    assert all(name in str(error.value) for name in feedback.names())


def test_a_rule_has_the_title_that_it_is_registered_with(monkeypatch):
    monkeypatch.setattr(rules, "_TITLES", dict(rules._TITLES))
    table = rules._TABLE
    monkeypatch.setattr(table, "_choices", dict(table._choices))
    assert len({rules.title(name) for name in rules.names()}) == len(rules.names())
    assert (rules.title("align_ada"), rules.title("elsewhere")) == ("Align-ada", "elsewhere")
    rules.register("mine", rules.get("readout"), title="My rule")
    rules.register("plain", rules.get("readout"))
    rules.register("backprop", rules.get("backprop"))  # Again, as by a file that is run twice.
    titles = [rules.title(name) for name in ("mine", "plain", "backprop")]
    assert titles == ["My rule", "plain", "Backpropagation"]
