"""Files and directories that are whole or not there, and what is in them: JSON and CSV."""

import contextlib
import csv
import io
import json
import os
import pathlib
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from wna_tf import locks

_HALF = ".wna_tf-"  # What the directories begin with in which something is half-written.
_OLD = ".old"


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives another path of the same name to write to, which becomes `path` when that succeeded.

    It is in a directory of its own beside `path`, that no other process has. What is at `path`
    stays until then. A directory cannot be replaced in one step: whoever is killed between the two
    leaves the old one in its directory, and `clean` puts it back.

    Args:
        path: A file or a directory that is to be made, in a directory that is there.

    Raises:
        OSError: If it cannot be written; the message names it.
    """
    clean(path.parent)
    own = path.with_name(f"{_HALF}{os.getpid()}-{secrets.token_hex(8)}")
    own.mkdir()
    with locks.claimed(own, wait=True):  # For a process that cleans: it could have seen it first.
        try:
            yield own / path.name
            _move(own / path.name, path, own / _OLD)
        except OSError as error:
            if error.filename is None:  # A full disk, say, which does not tell the file.
                raise OSError(f"Expected to write {path}. Received: {error}") from error
            raise
        finally:
            _settle(own)


def check_own(path: pathlib.Path, is_own: Callable[[pathlib.Path], bool], noun: str) -> None:
    """Checks that what is at a path, if anything, may be replaced.

    Args:
        path: A path to be written to.
        is_own: Returns whether what is there was written by this package, all of it.
        noun: What is to be written there, for the message.

    Raises:
        ValueError: If there is something else, or a link; an empty directory is nothing.
    """
    is_empty = path.is_dir() and not any(path.iterdir())
    if path.is_symlink() or (path.exists() and not is_empty and not is_own(path)):
        raise ValueError(
            f"Expected a new {noun}, or one to replace. Received: {path}, which is something else"
        )


def _move(new: pathlib.Path, path: pathlib.Path, aside: pathlib.Path) -> None:
    """Moves what is new to its path, and a directory that is there aside."""
    if not new.is_dir():
        new.replace(path)
        return
    with _moving(path.parent):
        if path.is_dir():
            aside.mkdir()
            path.rename(aside / path.name)
        new.replace(path)


def _moving(directory: pathlib.Path) -> contextlib.AbstractContextManager[None]:
    """Lets one process at a time move what is in a directory: it is not there in between."""
    return locks.claimed(directory / f"{_HALF}move", wait=True)


def is_half_written(path: pathlib.Path) -> bool:
    """Returns whether a path is where something is being written, or was when a process ended."""
    return path.name.startswith(_HALF)


def clean(directory: pathlib.Path) -> None:
    """Removes what killed processes have left half-written, and puts back what they had moved.

    What a living process is writing stays, on whichever machine it is: it holds a lock. So does
    what another user has left, if nobody else may remove it.
    """
    for own in directory.glob(f"{_HALF}*"):
        with contextlib.suppress(locks.Busy, PermissionError), locks.claimed(own):
            _settle(own)


def _settle(own: pathlib.Path) -> None:
    """Puts back what was moved but not replaced, and removes everything else."""
    for old in own.glob(f"{_OLD}/*"):
        with _moving(own.parent):
            if not os.path.lexists(own.parent / old.name):
                old.rename(own.parent / old.name)
    for rest in own.glob("*"):
        if rest.name != locks.NAME:
            remove(rest)


def remove(path: pathlib.Path) -> None:
    """Removes a file, a link or a directory with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def name(text: str) -> str:
    """Returns a text as the name of a file, in letters, digits and "_.+-" alone."""
    return re.sub(r"[^0-9a-zA-Z_.+-]+", "_", text)


def expand(path: str | os.PathLike) -> pathlib.Path:
    """Returns a path in which ~ is a user's directory.

    Raises:
        ValueError: If there is no such user.
    """
    try:
        return pathlib.Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(f"Expected the directory of a user. Received: {path}") from error


def make_directory(path: pathlib.Path) -> None:
    """Makes a directory to write to, and those that it is in.

    Raises:
        OSError: If it cannot be made or written to.
    """
    reason = "no permission"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
    if not (path.is_dir() and os.access(path, os.W_OK)):
        raise OSError(f"Expected a directory that can be written to. Received: {path}: {reason}")


def write_json(path: pathlib.Path, values: Mapping[str, Any]) -> None:
    """Writes a JSON file atomically."""
    with replacing(path) as beside:
        beside.write_text(json.dumps(values, indent=2) + "\n")


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Raises:
        ValueError: If it is damaged; the message names it.
    """
    try:
        values = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:  # Of values within values.
        raise ValueError(f"Expected a JSON file. Received: {path}: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"Expected a JSON object. Received: {path}")
    return values


def write_csv(path: pathlib.Path, head: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a table as CSV, in a directory that is being made."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)


def read_rows(path: pathlib.Path, noun: str) -> list[dict[str, float]]:
    """Reads rows of numbers by column; what is empty is left out.

    Args:
        path: A file that `write_rows` wrote.
        noun: What each row is of, for the message.

    Raises:
        ValueError: If it is damaged; the message names it.
    """
    try:
        text = path.read_bytes().decode()
        rows = [
            {key: float(value) for key, value in row.items() if value != ""}
            for row in csv.DictReader(io.StringIO(text, newline=""))
        ]
    except (ValueError, TypeError, csv.Error) as error:  # A TypeError where a row has no end.
        raise ValueError(f"Expected a CSV file of numbers. Received: {path}: {error}") from error
    if not rows:
        raise ValueError(f"Expected a row for each {noun}. Received: {path}, which has none")
    if not text.endswith("\n"):
        raise ValueError(f"Expected a CSV file of whole lines. Received: {path}, which is cut off")
    return rows


def write_rows(path: pathlib.Path, rows: list[dict[str, float]]) -> None:
    """Writes rows of values by column atomically as CSV; what a row does not have stays empty."""
    head = list(dict.fromkeys(key for row in rows for key in row))
    with replacing(path) as beside:
        write_csv(beside, head, ([row.get(key, "") for key in head] for row in rows))
