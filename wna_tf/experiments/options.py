"""Fields that declare their help and the values they take: made, parsed and checked."""

import dataclasses
import re
import sys
from collections.abc import Sequence
from typing import Any

from wna_tf.experiments import settings

_LARGEST = 2**31 - 1  # TensorFlow counts many things in 32 bits.
_LONGEST_RANGE = 1000


def option(default: Any, help: str, **metadata: Any) -> Any:
    """Declares a field with its help and what values it takes.

    Args:
        default: Its default; a field whose default is None may stay None.
        help: One line.
        **metadata: `kind` (int, float, str or bool, if the default does not tell), `minimum`,
            `maximum` and `above` (bounds, the last exclusive), `choices`, `lower` (whether a name
            is the same in lower case), `grid` (whether a comma list of values, or of ranges of
            integers, makes a grid of runs), `many` (whether the value is a tuple, which may be
            empty if the default is), `ranges` (whether ranges of integers may be in such a list),
            `most` (how many values it may have), `settings` (whether these are settings, see
            `settings`), `flag` (its flag, if that has another name; None for no flag).
    """
    metadata.setdefault("kind", type(default))
    if metadata["kind"] is int:
        metadata.setdefault("maximum", _LARGEST)
    return dataclasses.field(default=default, metadata={"help": help} | metadata)


def parse(field: dataclasses.Field, text: str) -> list[Any]:
    """Parses what the command line gives for a field.

    Args:
        field: A field that `option` declares.
        text: One value, or a comma list of values if the field takes one, in which 0-4 stands for
            five integers if it makes a grid or takes ranges, or settings; "" is None, or () if the
            default is.

    Returns:
        The field's values: more than one for a grid.

    Raises:
        ValueError: If a value cannot be parsed.
    """
    is_list = {"many", "grid"} & set(field.metadata)
    if text == "" and field.default in (None, ()):
        return [field.default]
    if field.metadata.get("settings"):
        return settings.parse(text)
    try:
        parts = [_span(field, part) for part in (text.split(",") if is_list else [text])]
    except ValueError:
        ranges = f", or a range of at most {_LONGEST_RANGE} as 0-4" * _has_ranges(field)
        raise ValueError(
            f"Expected {field.name} to be {_describe(field)}{ranges}. "
            f"Received: {field.name}={text!r}"
        ) from None
    values = [value for part in parts for value in part]
    if field.metadata.get("lower"):
        values = [value.lower() for value in values]
    return [tuple(values)] if field.metadata.get("many") else values


def check(choices: Any) -> None:
    """Checks that every field has a value as it declares.

    Values that mean the same become the same: equal configurations have equal records.

    Args:
        choices: An instance of a data class whose fields `option` declares.

    Raises:
        ValueError: If a value is of the wrong type or out of range.
    """
    for field in dataclasses.fields(choices):
        value = getattr(choices, field.name)
        if not (value is None and field.default is None):
            values = value if field.metadata.get("many") else (value,)
            _check(field, value, values)
            if field.metadata["kind"] is float:
                floats = tuple(map(float, values))
                same = floats if field.metadata.get("many") else floats[0]
                object.__setattr__(choices, field.name, same)
            if field.metadata.get("lower"):
                object.__setattr__(choices, field.name, value.lower())
            if field.metadata.get("settings"):
                object.__setattr__(choices, field.name, settings.canonical(value))


def _has_ranges(field: dataclasses.Field) -> bool:
    return field.metadata["kind"] is int and bool({"grid", "ranges"} & set(field.metadata))


def _span(field: dataclasses.Field, text: str) -> Sequence[Any]:
    """Returns the value that a text stands for, or the integers of a range, both ends included."""
    ends = re.fullmatch(r"(\d+)-(\d+)", text)
    if not ends or not _has_ranges(field):
        return [field.metadata["kind"](text)]
    span = range(int(ends[1]), int(ends[2]) + 1)
    if not 1 <= span.stop - span.start <= _LONGEST_RANGE:  # Its len() may be too large to tell.
        raise ValueError
    return span


def _describe(field: dataclasses.Field) -> str:
    metadata = field.metadata
    if "choices" in metadata:
        return f"one of {', '.join(metadata['choices'])}"
    noun = {int: "an integer", float: "a number", bool: "true or false", str: "a name"}
    told = [noun[metadata["kind"]]]
    if "maximum" in metadata:
        told.append(f"from {metadata['minimum']} to {metadata['maximum']}")
    elif "minimum" in metadata:
        told.append(f"at least {metadata['minimum']}")
    told += [f"above {metadata['above']}"] if "above" in metadata else []
    told += [f"and at most {metadata['most']} of them"] if "most" in metadata else []
    return " ".join(told)


def _check(field: dataclasses.Field, value: Any, values: Any) -> None:
    """Raises a ValueError unless every one of a field's values is as the field declares."""
    kind, metadata = field.metadata["kind"], field.metadata

    def is_valid(item: Any) -> bool:
        if isinstance(item, bool) != (kind is bool):
            return False
        if not isinstance(item, (int, float) if kind is float else kind):
            return False
        if kind is float and not abs(item) <= sys.float_info.max:  # An integer may be larger.
            return False
        if "choices" in metadata and item not in metadata["choices"]:
            return False
        return not (
            ("minimum" in metadata and item < metadata["minimum"])
            or ("maximum" in metadata and item > metadata["maximum"])
            or ("above" in metadata and item <= metadata["above"])
        )

    is_missing = not values and field.default != ()
    is_list = isinstance(values, tuple) and len(values) <= metadata.get("most", len(values))
    if is_missing or not is_list or not all(map(is_valid, values)):
        raise ValueError(
            f"Expected {field.name} to be {_describe(field)}. Received: {field.name}={value!r}"
        )
