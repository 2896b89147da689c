"""Choices that have a name and fields: found by name, and written as plain dicts."""

import dataclasses
from collections.abc import Mapping
from typing import Any


def get(identifier: Any, base: type, kinds: Mapping[str, type], argument: str, noun: str) -> Any:
    """Returns a choice.

    Args:
        identifier: A name in `kinds`, a dict of the name and fields, or an instance of `base`.
        base: The class of all choices.
        kinds: Dataclasses by name.
        argument: What the choice is an argument of, for the message.
        noun: What the choice is, for the message.

    Raises:
        ValueError: If it is none of these; the message lists the names.
    """
    if isinstance(identifier, base):
        return identifier
    config = dict(identifier) if isinstance(identifier, dict) else {"name": identifier}
    name = config.pop("name", None)
    kind = kinds.get(name) if isinstance(name, str) else None
    if kind is None or set(config) - {field.name for field in dataclasses.fields(kind)}:
        raise ValueError(
            f"Expected {noun}, one of {', '.join(kinds)}, with its own fields. "
            f"Received: {argument}={identifier!r}"
        )
    return kind(**config)


def serialize(choice: Any) -> dict[str, Any]:
    """Returns a choice as a dict that `get` accepts."""
    return {"name": choice.name} | dataclasses.asdict(choice)
