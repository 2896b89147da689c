"""Directories that one process at a time may work in."""

import contextlib
import fcntl
import itertools
import os
import pathlib
from collections.abc import Iterator

_LOCK = ".lock"
_ATTEMPTS = 100


class Busy(BlockingIOError):  # noqa: N818 - a state, not a mistake
    """Another process works in the directory."""

    def __init__(self, directory: pathlib.Path):
        super().__init__(
            f"Expected a directory that no other process is working in. Received: {directory}"
        )


@contextlib.contextmanager
def claimed(directory: pathlib.Path) -> Iterator[None]:
    """Makes a directory and keeps other processes out of it.

    The lock is the operating system's, so that it ends with the process, however that ends. What
    is still empty at the end is removed again: a mistake leaves nothing behind.

    Args:
        directory: The directory, which every process must claim by this function.

    Raises:
        Busy: If another process has claimed it.
    """
    missing = [path for path in directory.parents if not path.exists()]
    try:
        with _lock(directory):
            try:
                yield
            finally:
                (directory / _LOCK).unlink(missing_ok=True)  # By its holder alone.
    finally:
        with contextlib.suppress(OSError):  # Not empty, or somebody else's by now.
            for path in (directory, *missing):
                path.rmdir()


@contextlib.contextmanager
def _lock(directory: pathlib.Path) -> Iterator[None]:
    for attempt in itertools.count(1):
        try:
            directory.mkdir(parents=True, exist_ok=True)
            file = (directory / _LOCK).open("a")
        except (FileExistsError, FileNotFoundError):  # Its last holder removed it just now,
            if attempt == _ATTEMPTS:  # unless a file is in the way.
                raise
            continue
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy(directory) from None
            if _is_at(file.fileno(), directory / _LOCK):
                yield
                return


def _is_at(descriptor: int, path: pathlib.Path) -> bool:
    """Returns whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
