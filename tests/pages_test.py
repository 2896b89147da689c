"""The code on the pages, README included: every block is run, or says why it is not.

Python is run as it is written, the blocks of a page one after the other. Of commands that train
the plan is made; of others the flags are read. A block that is not run has a comment before it,
`<!-- not run: the reason -->`.
"""

import ast
import re
import shlex
import textwrap
import warnings
from typing import NamedTuple

import pytest
from absl.testing import flagsaver

from docs import make_architecture, public_names
from tests.conftest import ROOT
from wna_tf_command import cli, flagfiles

PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
}
BLOCK = re.compile(r"(?:<!-- not run: (.+) -->\n)?^(`{3,})(.*)\n((?:.*\n)*?)\2$", re.MULTILINE)
OF_SPHINX = ("{include}", "{literalinclude}", "{reference}", "{toctree}")
TRAINING = {"mode", "import", "dry_run", "help"}  # With one of these a command trains nothing.


class Block(NamedTuple):
    page: str
    reason: str  # Why it is not run; empty if it is.
    language: str
    code: str


BLOCKS = [
    Block(page, reason, language.partition(" ")[0], code)
    for page, text in PAGES.items()
    for reason, _, language, code in BLOCK.findall(text)
]


def lines(*pages):
    """The commands of pages, those of blocks that are not run too."""
    return [
        line
        for block in BLOCKS
        if block.language in ("bash", "sh") and (not pages or block.page in pages)
        for line in block.code.splitlines()
    ]


COMMANDS = [line for line in lines() if line.startswith("python main.py")]


def test_every_block_is_of_a_kind_that_is_known():
    pages = {"README.md", "docs/guides/getting_started.md", "docs/networks.md"}
    assert pages <= {b.page for b in BLOCKS}
    fences = re.findall(r"^`{3,}", "".join(PAGES.values()), re.MULTILINE)
    assert len(fences) == 2 * len(BLOCKS)
    for block in BLOCKS:
        if not block.language:  # Equations.
            assert block.page.startswith("docs/rules/")
        else:
            assert block.language in (*OF_SPHINX, "python", "bash", "sh"), block


@pytest.mark.parametrize("page", sorted({b.page for b in BLOCKS if b.language == "python"}))
def test_python_code_runs(page, tmp_path, monkeypatch, capsys, forget):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": page}
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        for block in BLOCKS:
            if (block.page, block.language, block.reason) == (page, "python", ""):
                exec(compile(block.code, page, "exec"), names)
    if page == "docs/evaluation.md":
        assert capsys.readouterr().out.rstrip().endswith("shape=(5,), dtype=int64)")


def test_blocks_that_are_not_run_are_few_and_their_tests_are_there():
    left_out = [block for block in BLOCKS if block.reason]
    assert len(left_out) <= 4
    for block in left_out:
        for test in re.findall(r"tests/\w+\.py", block.reason):
            assert block.page.rpartition("/")[2] in (ROOT / test).read_text()


def test_commands_are_of_programs_that_are_known():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for block in BLOCKS:
        if block.language not in ("bash", "sh") or block.reason:
            continue
        for line in block.code.splitlines():
            program, *words = shlex.split(line, comments=True)
            if program == "make":
                assert words[0] in targets
            elif words[:2] == ["-m", "pytest"]:
                files = [word for word in words if word.endswith(".py")]
                assert all((ROOT / file).is_file() for file in files)
            elif program == "python" and words[0].startswith("examples/"):
                assert (ROOT / words[0]).is_file()
            else:
                assert line in COMMANDS or line.startswith(". .venv/bin/activate")


def test_flags_are_there():
    found = re.findall(r"main\.py ((?:--\S+ ?)+)", "\n".join(lines()))
    assert len(found) > 10
    for words in map(shlex.split, found):
        for name, _, value in (word.removeprefix("--").partition("=") for word in words):
            if name == "flagfile":
                assert flagfiles.find(value).is_file()
            else:
                assert name in cli.FLAGS or name.removeprefix("no") in cli.FLAGS, name


@pytest.mark.parametrize("line", dict.fromkeys(COMMANDS))
def test_commands_can_be_planned(line, command, tmp_path, monkeypatch, forget):
    # Files that another command makes.
    given = re.sub(r"\$\(.*?\)|checkpoints/[^' ]*\*[^' ]*", "FILE", line)
    _, _, *words = shlex.split(given, comments=True)
    names = {word.removeprefix("--").partition("=")[0] for word in words}
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    if not (names & TRAINING or given != line or "--strategy=multi_worker" in words):
        words.append("--dry_run")
    if "--dry_run" in words:
        planned = command(*words)
        assert (planned.status, planned) == (0, "")
        assert "steps to do" in planned.out
    else:
        with flagsaver.flagsaver():
            assert cli.FLAGS(["main.py", *flagfiles.expand(words)])[1:] == []


def test_links_lead_somewhere():
    for page, text in PAGES.items():
        folder = (ROOT / page).parent
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", BLOCK.sub("", text)):
            assert target.startswith("https://") or (folder / target).is_file(), (page, target)


def test_examples_in_docstrings_are_python():
    found = 0
    for module in public_names.modules():
        for name in public_names.names(module):
            for some in (name, *name.members):
                for code in re.findall(r"```python\n(.*?)```", some.docstring, re.DOTALL):
                    ast.parse(textwrap.dedent(code))
                    found += 1
    assert found > 5


def test_the_drawing_is_what_would_be_drawn_now():
    assert make_architecture.PATH.read_text() == make_architecture.draw()
    for rows in (make_architecture.WRAPPED, make_architecture.STEP):
        for box in (box for row in rows for box in row if box.file):
            first, *others = box.file.split(", ")
            for file in (first, *(o if "/" in o else f"graph/{o}" for o in others)):
                assert (ROOT / "wna_tf" / file).exists(), file
