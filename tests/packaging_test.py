"""The package that others install: what is in it, and that it works away from the checkout."""

import importlib.metadata
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import pytest

import wna_tf
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ("wna_tf", "wna_tf_command")
FLAGFILES = {f"wna_tf_command/flags/{path.name}" for path in (ROOT / "flags").iterdir()}


def modules(root):
    """The modules of the packages, as a wheel names them."""
    return {
        path.relative_to(root).as_posix()
        for name in PACKAGES
        for path in root.glob(f"{name}/**/*.py")
    }


def run(*command, **options):
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def has_builder():
    """Whether there is what builds packages, in the versions that it takes."""
    try:
        importlib.metadata.version("build")
        return int(importlib.metadata.version("setuptools").split(".")[0]) >= 77
    except importlib.metadata.PackageNotFoundError:
        return False


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """An sdist, and the wheel that is built from it."""
    if not has_builder():
        pytest.skip("needs build and setuptools>=77")
    directory = tmp_path_factory.mktemp("packaging")
    unwanted = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "checkpoints")
    tree = shutil.copytree(ROOT, directory / "tree", symlinks=True, ignore=unwanted)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", directory, cwd=tree)
    (sdist,), (wheel,) = directory.glob("*.tar.gz"), directory.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def installed(archives, tmp_path_factory):
    """The directory of programs of an environment that the wheel is installed in."""
    directory = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", directory)
    (packages,) = directory.glob("lib/python*/site-packages")
    # What it requires is taken from the environment of the tests, but for the package itself.
    others = [path for path in sys.path if path and pathlib.Path(path).name == "site-packages"]
    (packages / "others.pth").write_text("\n".join(others))
    python = directory / "bin" / "python"
    run(
        python, "-m", "pip", "install", "--no-deps", "--no-index", "--ignore-installed", archives[1]
    )
    return python.parent


def test_the_wheel_has_every_module_and_flagfile_and_no_more(archives):
    with zipfile.ZipFile(archives[1]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == modules(ROOT) | FLAGFILES | {"wna_tf/py.typed"}


def test_the_wheel_tells_its_licence_and_its_command(archives):
    with zipfile.ZipFile(archives[1]) as wheel:
        files = {pathlib.PurePath(name).name: wheel.read(name) for name in wheel.namelist()}
    assert files["LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert files["entry_points.txt"].decode().split() == [
        *("[console_scripts]", "wna_tf", "=", "wna_tf_command:main")
    ]
    metadata = files["METADATA"].decode().splitlines()
    assert {"License-Expression: Apache-2.0", "Author: the wna_tf authors"} <= set(metadata)
    assert f"Version: {PROJECT['version']}" in metadata


def test_the_sdist_has_what_its_tests_need(archives):
    with tarfile.open(archives[0]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    here = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("*.py")}
    texts = {"CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "Makefile", "main.py"}
    assert here | texts | modules(ROOT) | {"flags/digits_width.flags", "docs/bad_input.md"} <= names


def test_the_version_is_that_of_the_changelog():
    (newest, *_) = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest == PROJECT["version"] == wna_tf.__version__


def test_the_command_plans_from_anywhere(installed, tmp_path):
    assert "--rule: " in run(installed / "wna_tf", "--help", cwd=tmp_path)
    table = run(installed / "wna_tf", "--flagfile=digits_width", "--dry_run", cwd=tmp_path)
    assert "63 runs" in table
    assert not list(tmp_path.iterdir())


@pytest.mark.slow  # Three processes that load TensorFlow.
def test_the_command_trains_as_the_checkout_does(installed, tmp_path):
    flags = ["--flagfile=digits_width", "--epochs=1", "--width=4", "--seed=99"]
    flags.append("--rule=backprop,align_ada")
    run(installed / "wna_tf", *flags, "--run_dir=there", cwd=tmp_path)
    place = run(installed / "python", "-c", "import wna_tf; print(wna_tf.__file__)", cwd=tmp_path)
    assert pathlib.Path(place.strip()).is_relative_to(installed.parent)
    run(sys.executable, ROOT / "main.py", *flags, f"--run_dir={tmp_path / 'here'}", cwd=ROOT)
    ours, theirs = (wna_tf.experiments.read_runs(tmp_path / name) for name in ("here", "there"))
    assert len(ours) == 2
    for a, b in zip(ours, theirs, strict=True):
        assert a.result | {"seconds": 0} == b.result | {"seconds": 0}
    assert (tmp_path / "there" / "report.html").is_file()
