"""The reference of the public names: complete, from docstrings that say what is to be given."""

import importlib
import inspect
import re

import pytest

from docs import public_names, reference_pages
from tests.conftest import ROOT

PAGES = {path: path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md")}
NAMES = {f"{m}.{n.name}": n for m in public_names.modules() for n in public_names.names(m)}
MEMBERS = {f"{n.module}.{m.name}": m for n in NAMES.values() for m in n.members}


def test_every_module_has_a_page_and_nothing_else_has():
    shown = re.findall(r"^```\{reference\} (\S+)$", "".join(PAGES.values()), re.MULTILINE)
    assert sorted(shown) == public_names.modules()


@pytest.mark.parametrize("name", NAMES | MEMBERS)
def test_a_public_name_says_what_it_is_and_what_it_takes(name):
    found = (NAMES | MEMBERS)[name]
    assert found.docstring
    assert [p.name for p in found.parameters if p.name not in found.described()] == []


@pytest.mark.parametrize("module", public_names.modules())
def test_what_is_read_from_the_source_is_what_there_is(module):
    package = importlib.import_module(module)
    for found in public_names.names(module):
        value = getattr(package, found.name)
        if found.kind == "function" or "__init__" in vars(value):
            taken = [parameter.name.lstrip("*") for parameter in found.parameters]
            assert taken == list(inspect.signature(value).parameters)
        if found.kind != "data":
            assert inspect.getdoc(value) == found.docstring


def test_docstrings_become_tables():
    text = reference_pages.render(NAMES["wna_tf.rules.get"])
    assert text.startswith(
        "```{py:function} get(identifier: str | dict | Rule) -> Rule\n:module: wna_tf.rules\n"
    )
    assert r"| `identifier` | `str \| dict \| Rule` | A name, a `Rule`, or" in text
    assert "| `ValueError` | If it is none of these; the message lists the names. |" in text
