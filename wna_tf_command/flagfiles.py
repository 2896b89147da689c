"""Flagfiles: files of flags, by their path or, those of the experiments, by their name."""

import difflib
import pathlib
import re
from collections.abc import Iterable, Sequence

from wna_tf import files

PLACE = pathlib.Path(__file__).with_name("flags")

_DEEPEST = 100


def names() -> list[str]:
    """Returns the name of every flagfile that has one."""
    return sorted(path.stem for path in PLACE.glob("*.flags"))


def find(flagfile: str) -> pathlib.Path:
    """Returns the path of a flagfile.

    Args:
        flagfile: A path, or else one of `names()`.

    Raises:
        ValueError: If it is neither.
    """
    path = files.expand(flagfile)
    if path.exists() and not path.is_dir():
        return path
    if flagfile in names():
        return PLACE / f"{flagfile}.flags"
    alike = difflib.get_close_matches(flagfile, names())
    raise ValueError(
        "Expected the path of a flagfile, or the name of one that --help lists"
        f"{', such as ' * bool(alike)}{', '.join(alike)}. Received: --flagfile={flagfile}"
    )


def expand(words: Iterable[str], within: Sequence[pathlib.Path] = ()) -> list[str]:
    """Returns the words of a command line, with those of each flagfile in its place.

    A line of a flagfile is a word; those that are empty or begin with # or // are comments.

    Args:
        words: The words.
        within: The flagfiles that they are in, of which each includes the next.

    Raises:
        ValueError: If a flagfile is not there, is no text, or includes others without end.
        OSError: If it cannot be read.
    """
    expanded: list[str] = []
    rest = iter(words)
    for word in rest:
        if word == "--":
            return [*expanded, word, *rest]
        directive = re.fullmatch(r"--?flagfile(=(?P<value>.*))?", word, re.DOTALL)
        if not directive:
            expanded.append(word)
            continue
        value = directive["value"]
        path = find(next(rest, "") if value is None else value)
        if path.resolve() in within or len(within) == _DEEPEST:
            raise ValueError(
                "Expected flagfiles that include each other neither in a circle nor by the "
                f"hundred. Received: --flagfile={path}"
            )
        try:
            lines = [line.strip() for line in path.read_text("utf-8").splitlines()]
        except UnicodeDecodeError as error:
            raise ValueError(f"Expected flagfiles of text. Received: {path}") from error
        flags = [line for line in lines if line and not line.startswith(("#", "//"))]
        expanded += expand(flags, [*within, path.resolve()])
    return expanded
