"""Choices that have a name: tables of them, which users add to, and how they are written."""

import dataclasses
import inspect
import re
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Generic, TypeVar

T = TypeVar("T")
_NAME = re.compile(r"\w[\w.-]*", re.ASCII)


class Unknown(ValueError):  # noqa: N818 - what it is, with the noun
    """A name is not in a table.

    Attributes:
        noun: What it would be the name of.
        is_open: Whether users may add to the table.
    """

    def __init__(self, message: str, noun: str, is_open: bool):
        super().__init__(message)
        self.noun = noun
        self.is_open = is_open


def origin(choice: Any) -> tuple[str, str]:
    """Returns the module and the qualified name of a class or function, or of an object's class."""
    named = choice if hasattr(choice, "__qualname__") else type(choice)
    return named.__module__, named.__qualname__


class Table(Generic[T]):
    """Choices by name.

    Args:
        noun: What a choice is, with its article, for messages.
        argument: What a choice is an argument of, for messages.
        choices: The choices that there are from the beginning.
        key: Returns what tells a choice from others of its name; those that agree in it are the
            same one, defined again as by a file that is run twice.
        is_open: Whether users may add to it, for messages.
        others: What else may be named, for messages.
    """

    def __init__(
        self,
        noun: str,
        argument: str,
        choices: Mapping[str, T],
        key: Callable[[T], Hashable] = origin,
        is_open: bool = True,
        others: str = "",
    ):
        self._noun, self._argument, self._is_open = noun, argument, is_open
        self._others = f", or {others}" * bool(others)
        self._choices, self._key = dict(choices), key

    def names(self) -> tuple[str, ...]:
        """Returns every name, in the order of registration."""
        return tuple(self._choices)

    def get(self, name: Any) -> T:
        """Returns a choice.

        Raises:
            Unknown: If there is none of that name; the message lists the names.
        """
        if not isinstance(name, str) or name not in self._choices:
            raise Unknown(
                f"Expected {self._noun}, one of {', '.join(self._choices)}{self._others}. "
                f"Received: {self._argument}={name!r}",
                self._noun,
                self._is_open,
            )
        return self._choices[name]

    def register(self, name: str, choice: T) -> None:
        """Adds a choice, or puts it in the place of what is the same by its key.

        Raises:
            ValueError: If the name is no word for the command line, or that of something else.
        """
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ValueError(
                f"Expected a name of letters, digits, '_', '-' and '.' for {self._noun}. "
                f"Received: {name!r}"
            )
        taken = self._choices.get(name)
        if taken is not None and self._key(taken) != self._key(choice):
            raise ValueError(
                f"Expected a name that {self._noun} does not have yet. "
                f"Received: {name!r}, which is that of {taken!r}"
            )
        self._choices[name] = choice


def get(identifier: Any, base: type, table: Table[Any], argument: str) -> Any:
    """Returns a choice.

    Args:
        identifier: A name in `table`, a dict of the name and fields, or an instance of `base`.
        base: The class of all choices.
        table: Dataclasses by name.
        argument: What the choice is an argument of, for the message.

    Raises:
        ValueError: If it is none of these; the message lists the names, or the fields.
    """
    if isinstance(identifier, base):
        return identifier
    config: dict[str, Any] = (
        dict(identifier) if isinstance(identifier, dict) else {"name": identifier}
    )
    kind = table.get(config.pop("name", None))
    known = field_names(kind)
    if set(config) - set(known):
        raise ValueError(
            f"Expected {argument} with the fields name{''.join(f', {name}' for name in known)}. "
            f"Received: {argument}={identifier!r}"
        )
    return kind(**config)


def serialize(choice: Any) -> dict[str, Any]:
    """Returns a choice as a dict that `get` accepts."""
    return {"name": choice.name} | dataclasses.asdict(choice)


def check_kind(kind: Any, base: type) -> None:
    """Checks a class whose instances are to be found by name, and written as plain dicts.

    Raises:
        ValueError: If it is not a frozen dataclass of this base that has all that the base asks
            for, a `name`, and a default for each field.
    """
    is_kind = inspect.isclass(kind) and issubclass(kind, base) and not inspect.isabstract(kind)
    if is_kind:
        fields = dataclasses.fields(kind)
        annotated = set(inspect.get_annotations(kind)) - {"name"}
        is_kind = (
            "name" in vars(kind)
            and annotated <= {field.name for field in fields}
            and all(
                field.default is not dataclasses.MISSING
                or field.default_factory is not dataclasses.MISSING
                for field in fields
            )
        )
    if not is_kind:
        raise ValueError(
            f"Expected a frozen dataclass of {base.__name__} with its methods, a name of its own, "
            f"and a default for each field. Received: {kind!r}"
        )


def field_names(kind: Any) -> list[str]:
    """Returns the names of the fields of a dataclass, or of an instance."""
    return [field.name for field in dataclasses.fields(kind)]
