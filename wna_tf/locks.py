"""Directories that one process at a time may work in."""

import contextlib
import fcntl
import itertools
import os
import pathlib
from collections.abc import Iterator

NAME = ".lock"  # Of the file in a directory that is claimed.
_ATTEMPTS = 100


class Busy(BlockingIOError):  # noqa: N818 - a state, not a mistake
    """Another process works in the directory."""

    def __init__(self, directory: pathlib.Path):
        super().__init__(
            f"Expected a directory that no other process is working in. Received: {directory}"
        )


@contextlib.contextmanager
def claimed(directory: pathlib.Path, wait: bool = False) -> Iterator[None]:
    """Makes a directory and keeps other processes out of it.

    The lock is the operating system's, so that it ends with the process, however that ends. What
    is still empty at the end is removed again: a mistake leaves nothing behind.

    Args:
        directory: The directory, which every process must claim by this function.
        wait: Whether to wait for the process that has claimed it.

    Raises:
        Busy: If another process has claimed it, and is not waited for.
    """
    missing = [path for path in directory.parents if not path.exists()]
    try:
        with _lock(directory, wait):
            try:
                yield
            finally:
                (directory / NAME).unlink(missing_ok=True)  # By its holder alone.
    finally:
        with contextlib.suppress(OSError):  # Not empty, or somebody else's by now.
            for path in (directory, *missing):
                path.rmdir()


@contextlib.contextmanager
def _lock(directory: pathlib.Path, wait: bool) -> Iterator[None]:
    for attempt in itertools.count(1):
        try:
            directory.mkdir(parents=True, exist_ok=True)
            file = (directory / NAME).open("a")
        except (FileExistsError, FileNotFoundError):  # Its last holder removed it just now,
            if attempt == _ATTEMPTS:  # unless a file is in the way.
                raise
            continue
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                raise Busy(directory) from None
            if _is_at(file.fileno(), directory / NAME):
                yield
                return


def _is_at(descriptor: int, path: pathlib.Path) -> bool:
    """Returns whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
