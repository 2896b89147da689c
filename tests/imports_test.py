"""Who imports whom: never upward, never in a circle."""

import ast
import functools
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]

# What stands in a row may import from its own row and from those above it.
ROWS = (
    ("internals", "progress"),
    ("locks", "files", "serialization", "replicas", "layers", "losses", "datasets"),
    ("models", "graph"),
    ("feedback", "measures"),
    ("rules",),
    ("credit",),
    ("callbacks", "linearize", "ntk"),
    ("own_weights", "saved_model", "exports", "steps", "trainer", "learner"),
    ("caching", "pretrained"),
    ("experiments",),
    ("__init__",),
)
# Packages from outside that a module, or a package, does without.
WITHOUT = {
    "files": {"keras", "tensorflow"},
    "locks": {"keras", "tensorflow"},
    "experiments.checkpoints": {"keras", "tensorflow"},
    "experiments.classification": {"keras", "tensorflow"},
    "experiments.config": {"keras", "matplotlib", "numpy", "tensorflow"},
    "experiments.executors": {"keras", "tensorflow"},
    "experiments.options": {"keras", "matplotlib", "numpy", "tensorflow"},
    "experiments.reporting": {"keras", "tensorflow"},
    "experiments.run_directory": {"keras", "tensorflow"},
}


def name_of(path):
    return ".".join(path.relative_to(ROOT / "wna_tf").with_suffix("").parts)


MODULES = {name_of(path): path for path in sorted((ROOT / "wna_tf").rglob("*.py"))}


@functools.cache
def imports(name):
    """What a module imports when it is loaded: full names, with what they may be names in."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def ours(name):
    """The modules of the package that a module imports."""
    found = set()
    for other in imports(name):
        local = other.removeprefix("wna_tf.") if other.startswith("wna_tf.") else None
        for module in (local, f"{local}.__init__"):
            if module in MODULES and module != name:
                found.add(module)
    return found


def row(name):
    (index,) = (i for i, names in enumerate(ROWS) if name.split(".")[0] in names)
    return index


@pytest.mark.parametrize("name", MODULES)
def test_imports_never_go_upward(name):
    for other in ours(name):
        assert row(other) <= row(name), f"{name} imports {other}"


@pytest.mark.parametrize("name", MODULES)
def test_modules_do_without(name):
    packages = {other.split(".")[0] for other in imports(name)}
    for without, unwanted in WITHOUT.items():
        if name == without or name.startswith(f"{without}."):
            assert packages.isdisjoint(unwanted)
    assert imports(name).isdisjoint({"absl.flags", "absl.app"}), "only the command knows flags"


def test_imports_make_no_circle():
    seen, done = [], set()

    def visit(name):
        assert name not in seen, f"a circle: {' -> '.join([*seen, name])}"
        if name not in done:
            seen.append(name)
            for other in sorted(ours(name)):
                # A package is loaded before what is in it, which may be what it loads.
                if not name.startswith(other.removesuffix("__init__")):
                    visit(other)
            seen.pop()
            done.add(name)

    for name in MODULES:
        visit(name)
