"""Settings: hyper-parameters of a rule's feedback source, as a configuration has them.

A setting is a text `name=value`; those of a run are a sorted tuple, equal values written alike.
"""

import contextlib
import itertools
import math
import re
from collections.abc import Iterable
from typing import Any

KINDS = {bool: "true or false", int: "an integer", float: "a number", str: "a word"}
_TRUTHS = {"true": True, "false": False}
_SETTING = re.compile(r"([^\W\d]\w*)=([\w.+-]+)", re.ASCII)


def parse(text: str) -> list[tuple[str, ...]]:
    """Returns the settings of each run of a grid.

    Args:
        text: A comma list of `name=value`; an item without "=" is another value of the name before
            it. So "decay=0.001,0.01,rate=1,2" is four runs.

    Raises:
        ValueError: If it is none.
    """
    values: dict[str, list[str]] = {}
    name = ""
    for item in text.split(","):
        head, equals, value = item.rpartition("=")
        name = head if equals else name
        values.setdefault(name, []).append(value)
    columns = [
        [f"{name}={value}" if name else value for value in some] for name, some in values.items()
    ]
    return [canonical(some) for some in itertools.product(*columns)]


def canonical(settings: Iterable[str]) -> tuple[str, ...]:
    """Returns settings in the form in which equal ones are the same.

    Raises:
        ValueError: If one is no setting, or a name is there twice.
    """
    read = [_SETTING.fullmatch(some) for some in settings]
    pairs = sorted((match[1], _number(match[2])) for match in read if match)
    if len(pairs) < len(read) or len({name for name, _ in pairs}) < len(pairs):
        raise ValueError(
            "Expected feedback to be name=value, or several of them, each name once. "
            f"Received: feedback={','.join(settings)!r}"
        )
    return tuple(f"{name}={value}" for name, value in pairs)


def split(settings: Iterable[str]) -> dict[str, str]:
    """Returns the values of settings by name, as texts."""
    return dict(some.split("=", 1) for some in settings)


def convert(name: str, value: str, kind: type) -> Any:
    """Returns a value as one of a type.

    Args:
        name: The name of the hyper-parameter, for the message.
        value: A text.
        kind: One of `KINDS`.

    Raises:
        ValueError: If it is none of this type.
    """
    try:
        converted = _TRUTHS[value.lower()] if kind is bool else kind(value)
    except (KeyError, ValueError):
        converted = math.nan
    if isinstance(converted, float) and not math.isfinite(converted):
        raise ValueError(f"Expected {name} to be {KINDS[kind]}. Received: {name}={value}")
    return converted


def plain(value: str) -> int | float | str:
    """Returns the number that a value is, or the value."""
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(value)
    return value


def _number(value: str) -> str:
    """Returns a value as it is written, a number in the shortest form."""
    number = plain(value)
    if isinstance(number, float) and number.is_integer() and abs(number) < 2**53:
        number = int(number)
    if isinstance(number, float) and not math.isfinite(number):
        return value
    return str(number)
