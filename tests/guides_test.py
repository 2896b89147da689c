"""The guides: their scripts print what is kept beside the pages, which show all of them."""

import ast
import importlib
import re

import pytest

import wna_tf
from docs import make_guides, make_rules
from tests.conftest import ROOT

FOLDER = make_guides.FOLDER
PAGES = {name: (FOLDER / f"{name}.md").read_text() for name in make_guides.names()}
# Constants of scripts that take long, for a run that prints some of the lines with other numbers.
SHORTENED: dict[str, dict] = {
    "choosing_a_rule": {"EPOCHS": 1, "RULES": ("backprop", "feedback_alignment")},
    "fine_tuning": {"EPOCHS": 2, "RULES": ("backprop", "readout"), "SEEDS": (0,)},
    "reading_alignment": {"EPOCHS": 1},
    "transformers": {"EPOCHS": 1, "RULES": ("align_prop",)},
    "your_own_rule": {"EPOCHS": 1, "SHARES": (0.25,)},
}
# Numbers by themselves: none of `conv2d_1`.
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w])")


def read(text):
    """The lines of an output, each with its words, and its numbers as they are written."""
    return [(NUMBER.sub("#", " ".join(line.split())), NUMBER.findall(line)) for line in text]


def kept(name):
    return (FOLDER / f"{name}.txt").read_text()


@pytest.mark.usefixtures("names_from_the_start")
@pytest.mark.parametrize("name", PAGES)
def test_its_script_prints_what_is_kept(name, tmp_path, monkeypatch, capsys, forget):
    monkeypatch.chdir(tmp_path)
    script = importlib.import_module(f"examples.{name}")
    for constant, value in SHORTENED.get(name, {}).items():
        assert hasattr(script, constant)
        monkeypatch.setattr(script, constant, value)
    script.main()
    printed = read(capsys.readouterr().out.splitlines())
    expected = read(kept(name).splitlines())
    figure = FOLDER / f"{name}.png"
    assert [path.name for path in tmp_path.iterdir()] == [figure.name] * figure.exists()
    if name in SHORTENED:
        rest = iter([words for words, _ in expected])
        assert all(words in rest for words, _ in printed)
        return
    assert [words for words, _ in printed] == [words for words, _ in expected]
    for (words, found), (_, wanted) in zip(printed, expected, strict=True):
        for ours, theirs in zip(found, wanted, strict=True):
            assert is_near(ours, theirs), (words, ours, theirs)


def is_near(ours, theirs):
    """Whether two numbers are the same on two machines.

    What is counted is written without a point, and is the same. What is measured after some epochs
    differs with the number of threads and the processor's instructions, since sums are made in
    another order: by .003 of accuracy, one image of 297, with one thread and without oneDNN. Where
    rates are large that grows with the steps; .05 leaves room, and a tenth for other units.
    """
    if "." not in theirs:
        return ours == theirs
    return float(ours) == pytest.approx(float(theirs), rel=0.1, abs=0.05)


@pytest.mark.parametrize("name", PAGES)
def test_numbers_that_its_page_quotes_are_in_the_output(name):
    known = set(NUMBER.findall(kept(name)))
    quoted = NUMBER.findall(" ".join(re.findall(r"\*\*(.+?)\*\*", PAGES[name], re.DOTALL)))
    assert quoted and set(quoted) <= known, set(quoted) - known


@pytest.mark.parametrize("name", PAGES)
def test_its_page_shows_its_script_and_what_it_made(name):
    tree = ast.parse((make_guides.EXAMPLES / f"{name}.py").read_text())
    defined = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert set(defined) - {"main"} <= set(shown(PAGES[name])) <= set(defined)
    assert f"```{{literalinclude}} {name}.txt\n:language: text\n" in PAGES[name]
    assert (f"]({name}.png)" in PAGES[name]) == (FOLDER / f"{name}.png").exists()


def test_the_table_of_rules_has_what_was_measured():
    rows = re.findall(r"^\| \[`(\w+)`\].*$", PAGES["choosing_a_rule"], re.MULTILINE)
    assert rows == list(wna_tf.rules.names())
    cost = {(r["network"], r["width"], r["rule"]): r["ratio"] for r in make_rules.read("cost.csv")}
    reached = {(r["model"], r["width"], r["rule"]): r for r in make_rules.read("digits.csv")}
    for name in rows:
        (line,) = re.findall(rf"^\| \[`{name}`\].*$", PAGES["choosing_a_rule"], re.MULTILINE)
        measured = [cost[network, "128", name] for network in ("digits", "kmnist")]
        for model, width in (("mlp", "32"), ("mlp", "128"), ("cnn", "32"), ("cnn", "128")):
            measured.append(f"{float(reached[model, width, name]['test_accuracy']):.1f}")
        assert [cell.strip() for cell in line.split("|")][6:-1] == measured


def shown(page):
    """The names of a script that a page includes."""
    return re.findall(r"^:pyobject: (\w+)$", page, re.MULTILINE)


def test_all_are_in_the_contents_in_one_order():
    (listed,) = re.findall(
        r":caption: Guides\n:hidden:\n\n(.*?)```", (ROOT / "docs/index.md").read_text(), re.DOTALL
    )
    first, *others = listed.split()
    assert first == "guides/README"
    assert others[-1] == "moving"
    assert sorted(others[:-1]) == [f"guides/{name}" for name in make_guides.names()]
    links = re.findall(r"^- .*?\]\((\S+?)\.md\)", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert [f"guides/{link}" for link in links[:-1]] == others[:-1]
    assert links[-1] == "../moving"


def test_a_guide_that_is_not_there_is_told():
    with pytest.raises(ValueError, match=r"Expected guides, of .* Received: nothing"):
        make_guides.main(["nothing"])
