"""The command's flagfiles and its help."""

import re

import pytest

from tests.conftest import ROOT
from wna_tf.experiments import build
from wna_tf_command import cli, flagfiles


def test_a_flagfile_is_found_by_its_name_from_anywhere(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    expected = (ROOT / "flags" / "digits_width.flags").read_text().splitlines()
    assert flagfiles.expand(["--flagfile=digits_width", "--epochs=1"]) == [
        *(line for line in expected if line.startswith("--")),
        "--epochs=1",
    ]
    (tmp_path / "digits_width").mkdir()  # The run directory of somebody, say.
    ended = command("--flagfile=digits_width", "--dry_run")
    assert (ended.status, ended) == (0, "")
    assert "63 runs" in ended.out


@pytest.mark.parametrize("written", [["--flagfile={}"], ["-flagfile={}"], ["--flagfile", "{}"]])
def test_a_path_is_taken_before_a_name(written, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits_width").write_text("# Mine.\n\n--width=3\n// Theirs.\n  --epochs=2\n")
    words = [word.format("digits_width") for word in written]
    assert flagfiles.expand(["--seed=1", *words]) == ["--seed=1", "--width=3", "--epochs=2"]


def test_a_flagfile_may_build_on_one_that_has_a_name(tmp_path):
    mine = tmp_path / "mine.flags"
    mine.write_text("--flagfile=digits_width\n--epochs=2\n")
    words = flagfiles.expand([f"--flagfile={mine}", "--", "--flagfile=digits_width"])
    assert words[0] == "--dataset=digits"
    assert words[-3:] == ["--epochs=2", "--", "--flagfile=digits_width"]


def test_an_unknown_name_is_told_with_those_that_are_alike(command):
    ended = command("--flagfile=kmnist_widht")
    assert ended.status == 2
    (line,) = ended.splitlines()
    assert re.match(r"Expected the path of a flagfile, or .* as kmnist_width, .*kmnist_widht", line)


def test_help_names_every_flag_and_flagfile(command):
    ended = command("--help")
    assert (ended.status, ended) == (0, "")
    for name in ("mode", "run_dir", "dry_run", *(field.name for field in cli.FIELDS)):
        assert re.search(rf"^  (-\w,)?--(\[no\])?{re.escape(name)}: ", ended.out, re.MULTILINE), (
            name
        )
    assert set(flagfiles.names()) <= set(re.findall(r"\w+", ended.out))
    assert command("-h").out == ended.out


def test_help_lists_the_choices_of_every_flag_that_has_some(command):
    words = " ".join(command("--help").out.split())
    of = dict(re.findall(r"--(?:\[no\])?(\w+): (.*?)(?= -(?:\w,-)?-|$)", words))
    for name, choices in build.choices().items():
        assert ", ".join(choices) in of[name], name
    assert "reverse, forward" in of["credit"]
    assert "float32, mixed_bfloat16, float64" in of["precision"]
    assert "auto, single, mirrored, multi_worker" in of["strategy"]
    assert "local|processes|ray" in of["executor"]
