"""The oldest versions that the package says it takes, which `make test-oldest` installs."""

import importlib.metadata
import os
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
LINES = [
    *(line.partition("#")[0] for line in (ROOT / "requirements.txt").read_text().splitlines()),
    *(line for extra in EXTRAS.values() for line in extra),
]
REQUIREMENTS = {
    requirement.name: requirement
    for requirement in map(Requirement, filter(str.strip, LINES))
    if requirement.name != PROJECT["name"]
}
# What builds the documentation has an environment of its own.
INSTALLED = [
    name for name in REQUIREMENTS if name not in {Requirement(s).name for s in EXTRAS["docs"]}
]


def bounds(name):
    return [some.version for some in REQUIREMENTS[name].specifier if some.operator == ">="]


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_a_requirement_has_one_lower_bound(name):
    assert len(bounds(name)) == 1


@pytest.mark.skipif("WNA_TF_OLDEST" not in os.environ, reason="for make test-oldest")
@pytest.mark.parametrize("name", INSTALLED)
def test_the_lower_bound_is_what_is_installed(name):
    left_out = (ROOT / ".ci" / "oldest_excludes.txt").read_text().splitlines()
    if name in left_out:
        with pytest.raises(importlib.metadata.PackageNotFoundError):
            importlib.metadata.version(name)
    else:
        (bound,) = bounds(name)
        assert Version(importlib.metadata.version(name)) == Version(bound)
