"""Configurations: parsing, grids, validation and records."""

import dataclasses
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wna_tf.experiments import config, options
from wna_tf.experiments.config import Config

FIELDS = {field.name: field for field in dataclasses.fields(Config)}


@given(
    st.builds(
        Config,
        width=st.integers(1, 1000),
        learning_rate=st.floats(1e-6, 100),
        data_limit=st.none() | st.integers(1, 1000),
        strides=st.lists(st.integers(1, 4), min_size=1, max_size=7).map(tuple),
        normalize=st.booleans(),
        diagnostics=st.sampled_from([(), ("conservation",), ("conservation", "feedback_angle")]),
    )
)
def test_a_record_gives_the_configuration_back(original):
    assert config.from_dict(json.loads(json.dumps(original.to_dict()))) == original


def test_names_differ_where_any_field_does():
    names = {Config().name, Config(epochs=3).name, Config(width=3).name, Config(strides=(1,)).name}
    assert len(names) == 4


def test_names_do_not_change_with_fields_at_their_defaults():
    default = hashlib.sha256(b"{}").hexdigest()[:8]
    assert Config().name == f"align_ada_width64_rate1_seed99_{default}"
    assert Config(width=8, learning_rate=0.05).name.startswith("align_ada_width8_rate0.05_seed99_")


def test_equal_configurations_have_equal_names_and_records():
    for whole, same in [
        (Config(learning_rate=2, ridge=3), Config(learning_rate=2.0, ridge=3.0)),
        (Config(learning_rate=1, ridge=0), Config()),
        (Config(optimizer="AdamW"), Config(optimizer="adamw")),
    ]:
        assert whole == same and hash(whole) == hash(same)
        assert whole.name == same.name
        assert json.dumps(whole.to_dict()) == json.dumps(same.to_dict())
    assert config.from_dict({"learning_rate": 2}).name == Config(learning_rate=2.0).name
    # As the command line has always named it.
    assert Config(learning_rate=2.0).name == "align_ada_width64_rate2_seed99_bc9a9812"


def test_comma_lists_make_a_grid():
    grid = {
        name: options.parse(FIELDS[name], text)
        for name, text in [
            ("rule", "backprop,align_ada"),
            ("width", "8,16,8"),
            ("strides", "1,2"),
            ("data_limit", ""),
            ("diagnostics", ""),
        ]
    }
    configs = config.expand(grid)
    assert [(c.rule, c.width) for c in configs] == [
        ("backprop", 8),
        ("backprop", 16),
        ("align_ada", 8),
        ("align_ada", 16),
    ]
    assert {(c.strides, c.data_limit, c.diagnostics) for c in configs} == {((1, 2), None, ())}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("width", 0, "width to be an integer from 1 to 2147483647. Received: width=0"),
        ("width", 2**31, "from 1 to 2147483647. Received: width=2147483648"),
        ("epochs", 10**20, "from 1 to 2147483647. Received: epochs=1"),
        ("depth", 257, "depth to be an integer from 0 to 256. Received: depth=257"),
        ("strides", 257 * (1,), r"2147483647 and at most 256 of them. Received: strides=\(1, 1"),
        ("width", True, "Received: width=True"),
        ("width", 2.0, "Received: width=2.0"),
        ("learning_rate", -1.0, "learning_rate to be a number above 0. Received"),
        ("learning_rate", float("nan"), "Received: learning_rate=nan"),
        ("learning_rate", 10**400, "learning_rate to be a number above 0. Received"),
        ("strides", (), r"Received: strides=\(\)"),
        ("strides", (1, 0), r"Received: strides=\(1, 0\)"),
        ("optimizer", 3, "optimizer to be a name. Received: optimizer=3"),
        ("momentum", 1.5, "momentum to be a number from 0 to 1. Received: momentum=1.5"),
        ("momentum", -0.1, "Received: momentum=-0.1"),
        ("normalize", 1, "normalize to be true or false. Received: normalize=1"),
        ("epochs", None, "Received: epochs=None"),
    ],
)
def test_wrong_values_are_refused(name, value, message):
    with pytest.raises(ValueError, match=message):
        Config(**{name: value})


def test_ranges_of_integers_stand_in_lists():
    def parse(name, text):
        return options.parse(FIELDS[name], text)

    assert parse("seed", "0-4") == [0, 1, 2, 3, 4]
    assert parse("width", "16,64-66,8-8") == [16, 64, 65, 66, 8]
    assert parse("data_limit", "10-11") == [10, 11]
    assert parse("learning_rate", "1e-2,1e-3") == [0.01, 0.001]
    assert parse("seed", "-1") == [-1]  # Which no configuration takes.
    assert len(parse("seed", "1-1000")) == 1000


@pytest.mark.parametrize("text", ["4-0", "0-", "0-4-8", "0-1000", f"0-{10**30}", "0--4"])
def test_ranges_that_are_none_are_refused(text):
    expected = f"or a range of at most 1000 as 0-4. Received: seed='{text}'"
    with pytest.raises(ValueError, match=expected):
        options.parse(FIELDS["seed"], text)


def test_new_grids_leave_names_as_they_are():
    assert Config(depth=2).name == "align_ada_width64_rate1_seed99_c1dd94f9"
    assert Config(model="cnn").name == "align_ada_width64_rate1_seed99_93c21fd2"
    assert Config(optimizer="adam").name == "align_ada_width64_rate1_seed99_dfae2139"


@pytest.mark.parametrize(
    ("name", "text"), [("width", "x"), ("width", "8,"), ("epochs", "3,4"), ("epochs", "3-4")]
)
def test_text_that_is_no_value_is_refused(name, text):
    with pytest.raises(ValueError, match=f"Expected {name} .* Received: {name}='{text}'"):
        options.parse(FIELDS[name], text)


def test_records_with_unknown_fields_are_refused():
    with pytest.raises(ValueError, match="Received: depht"):
        config.from_dict({"depht": 3})


def test_a_style_of_figures_is_parsed_as_flags_are():
    fields = {field.name: field for field in dataclasses.fields(config.FigureStyle)}

    def parse(**texts):
        return config.FigureStyle(
            **{name: options.parse(fields[name], text)[0] for name, text in texts.items()}
        )

    assert parse(figure_size="", figure_font="") == config.FigureStyle()
    assert parse(figure_size="3.25,2").figure_size == (3.25, 2.0)
    for text, font, points in [
        ("serif,8", "serif", 8.0),
        ("8,serif", "serif", 8.0),
        ("7.5", None, 7.5),
        ("Times New Roman", "Times New Roman", 9.0),
    ]:
        style = parse(figure_font=text)
        assert (style.font, style.points) == (font, points)
