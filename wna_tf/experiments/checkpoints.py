"""Checkpoints: all that a training needs to go on, in one file that is whole or known not to be.

A file is a line that names the format, the SHA-256 of everything behind it, a line of JSON, and the
bytes of the arrays. Nothing in it is ever executed or unpickled.
"""

import dataclasses
import hashlib
import json
import math
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from wna_tf import files

_FORMAT = b"wna_tf checkpoint 1\n"
_KEPT = 2  # The last may be damaged.


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The state of a training.

    Attributes:
        step: Number of batches before.
        arrays: Values of variables, by the name of what they belong to.
        plain: State that JSON holds.
        environment: What computed it, by name, in values that JSON holds; nothing where it is not
            known, as in older files.
    """

    step: int
    arrays: Mapping[str, Sequence[np.ndarray]]
    plain: Any = None
    environment: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def write(path: pathlib.Path, run: Mapping[str, Any], checkpoint: Checkpoint) -> None:
    """Writes a checkpoint atomically.

    Args:
        path: The file.
        run: What it is a checkpoint of, in values that JSON holds.
        checkpoint: The state.
    """
    head = {
        "run": run,
        "step": checkpoint.step,
        "plain": checkpoint.plain,
        "environment": checkpoint.environment,
        "arrays": {
            name: [[array.dtype.name, array.shape] for array in arrays]
            for name, arrays in checkpoint.arrays.items()
        },
    }
    parts = [json.dumps(head).encode() + b"\n"]
    parts += [array.tobytes() for arrays in checkpoint.arrays.values() for array in arrays]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    with files.replacing(path) as beside, beside.open("wb") as file:
        file.writelines([_FORMAT, digest.digest(), *parts])


def read(path: pathlib.Path, run: Mapping[str, Any]) -> Checkpoint:
    """Reads what `write` wrote.

    Raises:
        ValueError: If the file is damaged, of another format or of another run.
    """
    content = path.read_bytes()
    if not content.startswith(_FORMAT):
        raise ValueError(
            f"Expected a file that begins with {_FORMAT.decode().strip()!r}. Received: {path}"
        )
    start = len(_FORMAT) + hashlib.sha256().digest_size
    body = memoryview(content)[start:]
    if hashlib.sha256(body).digest() != content[len(_FORMAT) : start]:
        raise ValueError(f"Expected a whole file. Received: {path}, whose checksum is wrong")
    end = content.index(b"\n", start)
    head = json.loads(content[start:end])
    wanted = json.loads(json.dumps(run))
    if head["run"] != wanted:
        keys = sorted(wanted.keys() | head["run"].keys())
        others = [key for key in keys if head["run"].get(key) != wanted.get(key)]
        raise ValueError(
            f"Expected a checkpoint of this run. Received: {path}, of other {', '.join(others)}"
        )

    def arrays(specs: list) -> Iterator[np.ndarray]:
        nonlocal end
        for name, shape in specs:
            dtype = np.dtype(name)
            yield np.frombuffer(content, dtype, math.prod(shape), end + 1).reshape(shape)
            end += math.prod(shape) * dtype.itemsize

    values = {name: list(arrays(specs)) for name, specs in head["arrays"].items()}
    return Checkpoint(head["step"], values, head["plain"], head.get("environment", {}))


class Checkpoints:
    """The last checkpoints of one run, in a directory of their own.

    Args:
        directory: The directory, made when there is something to write.
        run: What tells this run from others, in values that JSON holds.
    """

    def __init__(self, directory: pathlib.Path, run: Mapping[str, Any]):
        self.directory = directory
        self.run = run

    def write(self, checkpoint: Checkpoint) -> None:
        """Writes a checkpoint, and keeps only it and the last one before it.

        Raises:
            OSError: If it cannot be written, or what holds the directory is not there any more.
        """
        self.directory.mkdir(exist_ok=True)
        write(self._path(checkpoint.step), self.run, checkpoint)
        # Those of later steps could not be used, or training would not be here.
        kept = [path for path in self._newest_first() if path <= self._path(checkpoint.step)]
        for path in set(self._newest_first()) - set(kept[:_KEPT]):
            path.unlink()

    def at(self, step: int) -> Checkpoint:
        """Reads the checkpoint of a step.

        Raises:
            ValueError: If it is damaged or of another run.
            FileNotFoundError: If it is not there.
        """
        return read(self._path(step), self.run)

    def newest(self) -> Checkpoint | None:
        """Reads the newest that is usable; a line of the log names each that is not."""
        unusable = 0
        for path in self._newest_first():
            try:
                return read(path, self.run)
            except (ValueError, OSError) as error:
                logging.warning("Left out a checkpoint: %s", error)
                unusable += 1
        if unusable:
            logging.warning("No checkpoint in %s is usable: from the beginning", self.directory)
        return None

    def _path(self, step: int) -> pathlib.Path:
        return self.directory / f"step-{step:012}"

    def _newest_first(self) -> list[pathlib.Path]:
        return sorted(self.directory.glob("step-*"), reverse=True)
