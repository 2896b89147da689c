"""What the README says a user can do."""

import os
import pathlib
import re
import shlex
import subprocess
import sys
import warnings

import pytest

import wna_tf
from tests.conftest import ROOT
from wna_tf_command import flagfiles

ACTIVATE = pathlib.Path(sys.prefix) / "bin" / "activate"
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_quick_start_is_near_the_top():
    line = README[: README.index("learner.export")].count("\n")
    assert line < 40


def test_python_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for code in blocks("python"):  # A block may use the files of those before it.
            exec(code, {})
    assert (tmp_path / "saved_model").is_dir()
    assert capsys.readouterr().out.rstrip().endswith("shape=(5,), dtype=int64)")


def test_commands_name_what_exists():
    for line in "".join(blocks("bash")).splitlines():
        command, *arguments = shlex.split(line, comments=True)
        if command == "make":
            assert f"\n{arguments[0]}:" in (ROOT / "Makefile").read_text()
        for flagfile in re.findall(r"--flagfile=(\S+)", line):
            assert flagfiles.find(flagfile).is_file()


@pytest.mark.skipif(not ACTIVATE.is_file(), reason="needs a virtual environment")
def test_commands_work_as_they_are_written(tmp_path):
    lines = "".join(blocks("bash")).splitlines()
    (activate,) = (line for line in lines if "activate" in line)
    command = next(line for line in lines if line.startswith("python main.py"))
    assert lines.index(activate) < lines.index(command)
    script = f"{activate.replace('.venv/bin/activate', str(ACTIVATE))}\n{command} --dry_run"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=ROOT,
        env=os.environ | {"PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "steps to do" in done.stdout


def test_the_table_has_every_rule():
    rows = re.findall(r"^\| `(\w+)`", README, re.MULTILINE)
    assert rows == list(wna_tf.rules.names())


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+?)\)", README):
        assert target.startswith("https://") or (ROOT / target).is_file(), target


EXAMPLES = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem == "language_model"))
    for path in sorted((ROOT / "examples").glob("*.py"))
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_run(example, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(example)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.search("accuracy|perplexity", done.stdout)
    assert "UserWarning" not in done.stderr
