"""Settings: hyper-parameters of feedback sources in configurations and grids."""

import pytest

from wna_tf import feedback
from wna_tf.experiments import Config, build, settings


def test_a_list_makes_a_grid():
    decays = [("decay=0.001",), ("decay=0.01",)]
    assert settings.parse("decay=0.001,0.01") == decays
    assert settings.parse("decay=0.001,decay=1e-2") == decays
    assert settings.parse("rate=1,2,decay=0.5,+0.25") == [
        ("decay=0.5", "rate=1"),
        ("decay=0.25", "rate=1"),
        ("decay=0.5", "rate=2"),
        ("decay=0.25", "rate=2"),
    ]


@pytest.mark.parametrize("same", ["0.01", "1e-2", ".01", "1.0e-02", "+0.010"])
def test_equal_settings_give_equal_runs(same):
    config = Config(rule="kolen_pollack", feedback=(f"decay={same}",))
    assert config.feedback == ("decay=0.01",)
    assert config.name == "kolen_pollack_width64_rate1_seed99_decay0.01_{}".format(
        Config(rule="kolen_pollack", feedback=("decay=0.01",)).name[-8:]
    )
    assert Config(feedback=("b=2", "a=1.0")) == Config(feedback=("a=1", "b=2.0"))


def test_what_sets_nothing_keeps_its_name():
    assert Config(rule="kolen_pollack").name == "kolen_pollack_width64_rate1_seed99_bdbfa94f"
    assert Config(rule="kolen_pollack", feedback=()).to_dict()["feedback"] == []


def test_a_rule_without_the_hyper_parameter_is_there_once():
    grid = {
        "rule": ["kolen_pollack", "backprop"],
        "feedback": [("decay=0.1",), ("decay=0.2",)],
        "seed": [1, 2],
    }
    configs = build.expand(grid)
    assert [(c.rule, c.feedback, c.seed) for c in configs] == [
        ("kolen_pollack", ("decay=0.1",), 1),
        ("kolen_pollack", ("decay=0.1",), 2),
        ("kolen_pollack", ("decay=0.2",), 1),
        ("kolen_pollack", ("decay=0.2",), 2),
        ("backprop", (), 1),
        ("backprop", (), 2),
    ]
    assert [build.rule(c).feedback for c in configs[2:5:2]] == [
        feedback.Mirrored(0.2),
        feedback.Current(),
    ]
    with pytest.raises(ValueError, match=r"\(kolen_pollack: decay; backprop: none\)\. Received: "):
        build.expand(grid | {"feedback": [("rate=1",)]})
    with pytest.raises(ValueError, match=r"\(backprop: none\)\. Received: feedback='decay=0.1'"):
        build.check(Config(rule="backprop", feedback=("decay=0.1",)))


@pytest.mark.parametrize(
    "wrong", [("decay",), ("decay=",), ("=1",), ("a=1", "a=2"), ("a=1/2",), ("1a=2",), ("a=1,2",)]
)
def test_what_is_no_setting_is_refused(wrong):
    with pytest.raises(ValueError, match=r"^Expected feedback to be name=value, .* Received: feed"):
        Config(feedback=wrong)


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("2", float, 2.0),
        ("2", int, 2),
        ("true", bool, True),
        ("False", bool, False),
        ("a", str, "a"),
    ],
)
def test_values_have_the_type_of_their_field(value, kind, expected):
    converted = settings.convert("x", value, kind)
    assert converted == expected and type(converted) is kind


@pytest.mark.parametrize(
    ("value", "kind"), [("a", float), ("inf", float), ("1.5", int), ("1", bool), ("", int)]
)
def test_values_of_another_type_are_refused(value, kind):
    with pytest.raises(ValueError, match=f"^Expected x to be .* Received: x={value}$"):
        settings.convert("x", value, kind)
