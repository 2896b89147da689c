"""The public names of the package, read from its source, which is not imported.

Public is what a module that `wna_tf` exports has in its `__all__`, or, if it has none, every
function and class that is defined there and has no underscore before its name.
"""

import ast
import dataclasses
import functools
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = "wna_tf"
# `graph` exports nothing by itself: what an expansion writes to, and a learner's `program`.
FURTHER = (
    "wna_tf.graph.maps",
    "wna_tf.graph.operators",
    "wna_tf.graph.program",
    "wna_tf.graph.registry",
)
_TITLES = ("Args", "Attributes", "Returns", "Yields", "Raises")
_ITEM = re.compile(r"(\*{0,2}[\w.]+): (.*)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Parameter:
    """What a function takes, or a field of a class.

    Attributes:
        name: Its name, with the asterisks that it has.
        annotation: Its type as it is written; empty if there is none.
        default: Its default as it is written; None if there is none.
    """

    name: str
    annotation: str
    default: str | None


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a docstring.

    Attributes:
        title: As "Args"; empty for text.
        text: What it says, in Markdown.
    """

    title: str
    text: str

    @property
    def items(self) -> dict[str, str]:
        """What it says of each item, `name: what it is`, on one line."""
        found: list[list[str]] = []
        for line in self.text.splitlines():
            if found and line.startswith(" "):
                found[-1].append(line)
            else:
                found.append([line])
        told = [_ITEM.fullmatch(" ".join(" ".join(lines).split())) for lines in found]
        return {match[1]: match[2] for match in told if match}


@dataclasses.dataclass(frozen=True)
class Name:
    """A public name.

    Attributes:
        module: The module that exports it.
        name: Its name there; that of a member is `Class.member`.
        home: The module that defines it.
        node: Its definition.
        docstring: Its docstring, empty if it has none.
    """

    module: str
    name: str
    home: str
    node: ast.stmt
    docstring: str

    @property
    def kind(self) -> str:
        """What it is, in Sphinx's words."""
        if isinstance(self.node, ast.ClassDef):
            return "class"
        if not isinstance(self.node, ast.FunctionDef):
            return "data"
        if "." not in self.name:
            return "function"
        decorators = [ast.unparse(decorator) for decorator in self.node.decorator_list]
        if {"property", "functools.cached_property"} & set(decorators):
            return "property"
        return next((one for one in ("classmethod", "staticmethod") if one in decorators), "method")

    @property
    def parameters(self) -> list[Parameter]:
        """What it takes: a class what its `__init__` does, or if it has none its fields."""
        if isinstance(self.node, ast.ClassDef):
            if "__init__" in (own := _functions(self.node)):
                return _arguments(own["__init__"])[1:]
            fields = {field.name: field for base in self.parents for field in base.parameters}
            return list((fields | {field.name: field for field in _fields(self.node)}).values())
        if not isinstance(self.node, ast.FunctionDef) or self.kind == "property":
            return []
        return _arguments(self.node)[self.kind in ("method", "classmethod") :]

    @property
    def options(self) -> dict[str, str]:
        """What the fields of a configuration mean, which their help says."""
        body = self.node.body if isinstance(self.node, ast.ClassDef) else []
        return {
            _write(some.target): _write(some.value.args[1])
            for some in body
            if isinstance(some, ast.AnnAssign)
            and isinstance(some.value, ast.Call)
            and _write(some.value.func) == "option"
        }

    @property
    def returns(self) -> str:
        """The type of what it returns as it is written; empty if that is not told."""
        return _write(getattr(self.node, "returns", None))

    @property
    def bases(self) -> list[str]:
        """The bases of a class as they are written."""
        return [_write(base) for base in getattr(self.node, "bases", [])]

    @property
    def parents(self) -> list["Name"]:
        """Its bases that are classes of the package, in the order in which fields come."""
        named = [base for base in reversed(self.bases) if base.isidentifier()]
        found = [_find(self.home, base) for base in named]
        return [base for base in found if base is not None]

    @property
    def members(self) -> list["Name"]:
        """The public methods and properties of a class that say what they do."""
        functions = _functions(self.node) if isinstance(self.node, ast.ClassDef) else {}
        return [
            Name(self.module, f"{self.name}.{name}", self.home, node, ast.get_docstring(node) or "")
            for name, node in functions.items()
            if not name.startswith("_") and ast.get_docstring(node)
        ]

    @property
    def sections(self) -> list[Section]:
        """The parts of its docstring, in order."""
        parts: list[tuple[str, list[str]]] = [("", [])]
        for line in self.docstring.splitlines():
            if line.removesuffix(":") in _TITLES and line.endswith(":"):
                parts.append((line[:-1], []))
            elif parts[-1][0] and line and not line.startswith(" "):
                parts.append(("", [line]))
            else:
                parts[-1][1].append(line.removeprefix("    ") if parts[-1][0] else line)
        found = [Section(title, "\n".join(lines).strip()) for title, lines in parts]
        return [section for section in found if section.text]

    def described(self) -> dict[str, str]:
        """Returns what it says of its parameters and fields, by name."""
        told = {item: text for base in self.parents for item, text in base.described().items()}
        told |= self.options
        for section in self.sections:
            if section.title in ("Args", "Attributes"):
                told |= section.items
        return told


def modules() -> list[str]:
    """Returns the modules with public names: the package, what it exports, and `FURTHER`."""
    exported = [f"{PACKAGE}.{name}" for name in _exports(PACKAGE) if _path(f"{PACKAGE}.{name}")]
    return sorted([PACKAGE, *exported, *FURTHER])


def names(module: str) -> list[Name]:
    """Returns the public names of a module, in alphabetical order, but for those of the package."""
    found = [_resolve(module, name) for name in _exports(module) if not _path(f"{module}.{name}")]
    if module == PACKAGE:
        return found
    # What the package has itself is told there.
    own = {name.node for name in names(PACKAGE)}
    return [name for name in found if name.node not in own]


def docstring(module: str) -> str:
    """Returns the docstring of a module."""
    return ast.get_docstring(_tree(module)) or ""


def _path(module: str) -> pathlib.Path | None:
    place = ROOT.joinpath(*module.split("."))
    files = (place / "__init__.py", place.with_suffix(".py"))
    return next((path for path in files if path.is_file()), None)


@functools.cache
def _tree(module: str) -> ast.Module:
    path = _path(module)
    if path is None:
        raise ValueError(f"Expected a module of {PACKAGE}. Received: {module!r}")
    return ast.parse(path.read_text())


def _exports(module: str) -> list[str]:
    """Returns the names that a module exports, sorted as Ruff sorts them: classes first."""
    for node in _tree(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    defined = [n.name for n in _tree(module).body if isinstance(n, ast.ClassDef | ast.FunctionDef)]
    return sorted(name for name in defined if not name.startswith("_"))


def _resolve(module: str, name: str) -> Name:
    found = _find(module, name)
    if found is None:
        raise ValueError(f"Expected a name of {module}. Received: {name!r}")
    return dataclasses.replace(found, module=module)


def _find(module: str, name: str) -> Name | None:
    """Returns what a name in a module stands for; None if it is not of the package."""
    body = _tree(module).body
    for position, node in enumerate(body):
        if isinstance(node, ast.ImportFrom) and node.module and _path(node.module):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _find(node.module, alias.name)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return Name(module, name, module, node, ast.get_docstring(node) or "")
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if ast.unparse(target) == name:
                told = _string(body[position + 1 : position + 2])
                return Name(module, name, module, node, told)
    return None


def _string(body: list[ast.stmt]) -> str:
    """Returns the text that stands behind an assignment; empty if there is none."""
    for node in body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return str(node.value.value).strip()
    return ""


def _functions(node: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    return {some.name: some for some in node.body if isinstance(some, ast.FunctionDef)}


def _fields(node: ast.ClassDef) -> list[Parameter]:
    return [
        Parameter(_write(some.target), _write(some.annotation), _default(some.value))
        for some in node.body
        if isinstance(some, ast.AnnAssign)
        and not _write(some.target).startswith("_")
        and not _write(some.annotation).startswith("ClassVar")
    ]


def _default(value: ast.expr | None) -> str | None:
    """Returns the default of a field as it is written; an option's is its first argument."""
    if isinstance(value, ast.Call) and _write(value.func) in ("option", "dataclasses.field"):
        keywords = {keyword.arg: keyword.value for keyword in value.keywords}
        value = value.args[0] if value.args else keywords.get("default")
    return None if value is None else ast.unparse(value)


def _arguments(node: ast.FunctionDef) -> list[Parameter]:
    told = node.args
    plain = [*told.posonlyargs, *told.args]
    defaults = [None] * (len(plain) - len(told.defaults)) + list(told.defaults)
    pairs = [("", *pair) for pair in zip(plain, defaults, strict=True)]
    pairs += [("*", told.vararg, None)] if told.vararg else []
    pairs += [("", *pair) for pair in zip(told.kwonlyargs, told.kw_defaults, strict=True)]
    pairs += [("**", told.kwarg, None)] if told.kwarg else []
    return [
        Parameter(stars + arg.arg, _write(arg.annotation), default and ast.unparse(default))
        for stars, arg, default in pairs
    ]


def _write(node: ast.expr | None) -> str:
    """Returns an expression as it is written; a type without the quotes that it may have."""
    if node is None:
        return ""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return ast.unparse(node)
