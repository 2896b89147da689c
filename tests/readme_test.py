"""What the README says a user can do; `pages_test` runs its code."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

import wna_tf
from docs import make_guides
from tests.conftest import ROOT

ACTIVATE = pathlib.Path(sys.prefix) / "bin" / "activate"
README = (ROOT / "README.md").read_text()


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_quick_start_is_near_the_top():
    line = README[: README.index("learner.export")].count("\n")
    assert line < 40


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


EXAMPLES = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem == "language_model"))
    for path in sorted((ROOT / "examples").glob("*.py"))
    if path.stem not in make_guides.names()  # Those are run by `guides_test`.
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
