"""Who imports whom: the layers of the package."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "wna_tf"

# What a module may import from the package; what is not named may import everything.
ALLOWED = {
    "config": set(),
    "locks": set(),
    "files": {"locks"},
    "results": {"files"},
    "costs": {"config", "datasets", "layers", "models", "rules"},
    "executors": set(),
    "reporting": {"config", "files", "reporting", "results"},
    "layers": {"layers"},
    "models": {"config", "layers", "models"},
    "datasets": {"datasets", "files"},
    "losses": set(),
    "strategies": set(),
    "jacobians": set(),
    "kinds": {"jacobians"},
    "recurrence": {"jacobians", "kinds", "layers"},
    "program": {"jacobians", "kinds", "recurrence"},
    "maps": {"kinds"},
    "expansions": {"kinds", "layers", "maps", "recurrence"},
    "folding": {"kinds"},
    "trace": {"expansions", "folding", "kinds", "maps", "program"},
    "named": set(),
    "errors": {"kinds", "program"},
    "feedback": {"errors", "kinds", "named", "program"},
    "rules": {"feedback"},
    "engine": {"errors", "feedback", "kinds", "program", "rules"},
    "forward": {"engine", "errors", "jacobians", "kinds", "program"},
    "credit": {"engine", "errors", "forward", "kinds", "named", "program", "rules"},
    "linearize": {"engine", "kinds", "program", "trace"},
    "saved_model": {"files"},
    "learner": {
        "credit",
        "errors",
        "feedback",
        "kinds",
        "linearize",
        "losses",
        "maps",
        "program",
        "rules",
        "saved_model",
        "trace",
    },
    "environment": set(),
    "export": {"learner", "results", "saved_model"},
    "frozen": {"datasets", "learner", "program", "recurrence"},
    "scores": {"reporting"},
    "evaluation": {
        "config",
        "datasets",
        "environment",
        "export",
        "files",
        "losses",
        "reporting",
        "results",
        "saved_model",
        "scores",
        "training",
    },
    "measures": {"jacobians", "kinds", "recurrence"},
    "checkpoints": {"files"},
    "resume": {"checkpoints", "datasets", "environment", "learner", "strategies"},
    "callbacks": {"callbacks", "engine", "feedback", "measures", "program", "results", "rules"},
}
# Packages from outside that a module does without.
WITHOUT = {
    "config": {"absl", "keras", "matplotlib", "numpy", "tensorflow"},
    "checkpoints": {"keras", "tensorflow"},
    "results": {"absl", "keras", "tensorflow"},
    "files": {"absl", "keras", "tensorflow"},
    "locks": {"absl", "keras", "tensorflow"},
    "executors": {"absl", "keras", "tensorflow"},
    "reporting": {"absl", "keras", "tensorflow"},
    "scores": {"absl", "keras", "tensorflow"},
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize(
    "path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE))
)
def test_imports_follow_the_arrows(path):
    module = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    names = set(imports(path))
    assert names.isdisjoint({"absl.flags", "absl.app"}), "only main.py knows flags"
    assert WITHOUT.get(module, set()).isdisjoint(name.split(".")[0] for name in names)
    ours = {name.split(".")[1] for name in names if name.startswith("wna_tf.")}
    if module in ALLOWED:
        assert ours <= ALLOWED[module]
