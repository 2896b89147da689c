"""What the README says a user can do."""

import os
import re
import shlex
import subprocess
import sys

import pytest

import wna_tf
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_quick_start_is_near_the_top():
    line = README[: README.index("learner.export")].count("\n")
    assert line < 40


def test_python_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for code in blocks("python"):  # A block may use the files of those before it.
        exec(code, {})
    assert (tmp_path / "saved_model").is_dir()
    assert capsys.readouterr().out.rstrip().endswith("shape=(5,), dtype=int64)")


def test_commands_name_what_exists():
    for line in "".join(blocks("bash")).splitlines():
        command, *arguments = shlex.split(line, comments=True)
        if command == "make":
            assert f"\n{arguments[0]}:" in (ROOT / "Makefile").read_text()
        for path in re.findall(r"flags/\S+\.flags", line):
            assert (ROOT / path).is_file()


def test_the_table_has_every_rule():
    rows = re.findall(r"^\| `(\w+)`", README, re.MULTILINE)
    assert rows == list(wna_tf.rules.names())


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+?)\)", README):
        assert target.startswith("https://") or (ROOT / target).is_file(), target


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_examples_run(example, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(example)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
