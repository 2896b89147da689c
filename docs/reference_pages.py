"""The reference of a module as Markdown, from the docstrings of its public names."""

import re

from docs import public_names
from docs.public_names import Name, Section


def page(module: str) -> str:
    """Returns the reference of a module, in the Markdown of MyST."""
    names = map(render, public_names.names(module))
    head = _directive("py:module", module, "")
    return "\n\n".join([head, public_names.docstring(module), *names])


def render(name: Name) -> str:
    """Returns the Markdown of a public name and of its members."""
    parts = [f"Bases: {', '.join(f'`{base}`' for base in name.bases)}"] if name.bases else []
    parts += [_section(name, section) for section in name.sections]
    if name.options:
        parts.append(_parameters(name, "field", name.options))
    parts += map(render, name.members)
    takes = ", ".join(
        parameter.name
        + (f": {parameter.annotation}" if parameter.annotation else "")
        + ("" if parameter.default is None else f" = {parameter.default}")
        for parameter in ([] if name.options else name.parameters)
    )
    signature = "" if name.kind in ("data", "property") else f"({takes})"
    if name.returns and name.kind != "property":
        signature += f" -> {name.returns}"
    options = {"module": name.module}
    if name.kind == "property" and name.returns:
        options["type"] = name.returns
    return _directive(f"py:{name.kind}", name.name + signature, "\n\n".join(parts), **options)


def _section(name: Name, section: Section) -> str:
    if section.title in ("Args", "Attributes"):
        head = "argument" if section.title == "Args" else "attribute"
        return _parameters(name, head, section.items)
    if section.title == "Raises":
        return _table(
            "raises", "when", rows=[[f"`{e}`", when] for e, when in section.items.items()]
        )
    if section.title:
        returned = f"`{name.returns}`" if name.returns else ""
        return _table(section.title.lower(), "", rows=[[returned, " ".join(section.text.split())]])
    return section.text


def _parameters(name: Name, head: str, described: dict[str, str]) -> str:
    known = {parameter.name: parameter for parameter in name.parameters}
    rows = []
    for item, text in described.items():
        found = known.get(item)
        kind = f"`{found.annotation}`" if found and found.annotation else ""
        default = f"`{found.default}`" if found and found.default is not None else ""
        rows.append([f"`{item}`", kind, default, text])
    return _table(head, "type", "default", "meaning", rows=rows)


def _table(*heads: str, rows: list[list[str]]) -> str:
    """Returns a table, without the columns in which nothing stands."""
    kept = [index for index in range(len(heads)) if any(row[index] for row in rows)]
    lines = [list(heads), ["---"] * len(heads), *rows]
    cells = [[line[index].replace("|", r"\|") for index in kept] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def _directive(kind: str, argument: str, content: str, **options: str) -> str:
    """Returns a directive, in a fence that is longer than those in its content."""
    fence = "`" * max([3, *(len(some) + 1 for some in re.findall("`{3,}", content))])
    told = "".join(f":{option}: {value}\n" for option, value in options.items())
    return f"{fence}{{{kind}}} {argument}\n{told}\n{content}\n{fence}"
