"""Kernels by blocks of examples, in memory or in a file whose blocks outlive an interruption."""

import dataclasses
import functools
import itertools
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from wna_tf import files, progress

Pair = tuple[int, int]
Part = tuple[Pair, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Blocks:
    """A kernel that is computed block by block.

    Attributes:
        compute: Graphs of the kernel of two blocks of inputs, the second None if it is the first.
        x1: Inputs, [examples1, ...] each.
        x2: Inputs, [examples2, ...] each; None for `x1`.
        at_a_time: Examples of a block.
        outputs: Sizes of the axes behind each examples' axis: `((C,), (C,))` of a full kernel.
        dtype: That of the kernel.
        is_symmetric: Whether blocks below the diagonal are those above it, transposed.
        strategy: Its replicas compute blocks at the same time.
    """

    compute: Any
    x1: list[tf.Tensor]
    x2: list[tf.Tensor] | None
    at_a_time: int
    outputs: tuple[tuple[int, ...], tuple[int, ...]]
    dtype: str
    is_symmetric: bool
    strategy: tf.distribute.Strategy

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the kernel."""
        behind, last = self.outputs
        return (_length(self.x1), *behind, _length(self._other), *last)

    @property
    def pairs(self) -> list[Pair]:
        """The first examples of every block that is computed, on both sides."""
        rows, columns = (range(0, _length(x), self.at_a_time) for x in (self.x1, self._other))
        mirrored = self.is_symmetric and self.x2 is None
        return [(i, j) for i, j in itertools.product(rows, columns) if i <= j or not mirrored]

    @property
    def _other(self) -> list[tf.Tensor]:
        return self.x1 if self.x2 is None else self.x2

    def parts(self, pairs: Sequence[Pair]) -> Iterator[Part]:
        """Yields the kernel of some blocks, each as numbers with the place where they begin."""
        yield from progress.track(self._compute(pairs), "Kernel", "blocks", len(pairs))

    def _compute(self, pairs: Sequence[Pair]) -> Iterator[Part]:
        if self.x2 is None and len(self.pairs) == 1:  # Its two ends are one.
            yield from ((pair, self._numbers(self._at_once(self.x1, None))) for pair in pairs)
            return
        count = self.strategy.num_replicas_in_sync
        for begin in range(0, len(pairs), count):
            group = pairs[begin : begin + count]
            yield from zip(group, self._on_replicas(group), strict=True)

    def _on_replicas(self, group: Sequence[Pair]) -> list[np.ndarray]:
        sizes = [min(self.at_a_time, _length(x)) for x in (self.x1, self._other)]

        def blocks(pair: Pair) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
            return _take(self.x1, pair[0], sizes[0]), _take(self._other, pair[1], sizes[1])

        if self.strategy.num_replicas_in_sync == 1:
            found = [self._at_once(*blocks(pair)) for pair in group]
        else:
            given = self.strategy.experimental_distribute_values_from_function(
                lambda context: blocks(group[min(context.replica_id_in_sync_group, len(group) - 1)])
            )
            found = self.strategy.experimental_local_results(self._run(given))[: len(group)]
        parts = []
        for (i, j), tensor in zip(group, found, strict=True):
            rows, columns = _length(self.x1) - i, _length(self._other) - j
            part = np.moveaxis(self._numbers(tensor), self._axes, (0, 1))[:rows, :columns]
            parts.append(np.moveaxis(part, (0, 1), self._axes))
        return parts

    def _numbers(self, tensor: tf.Tensor) -> np.ndarray:
        return tensor.numpy().astype(self.dtype, copy=False)

    def _at_once(self, x1: list[tf.Tensor], x2: list[tf.Tensor] | None) -> tf.Tensor:
        # Written before it is called: TensorFlow warns where the calls of many models write graphs.
        self.compute.get_concrete_function(x1, x2)
        return self.compute(x1, x2)

    @functools.cached_property
    def _run(self) -> Callable:
        run = functools.partial(self.strategy.run, self.compute)
        return tf.function(lambda given: run(args=given), autograph=False)

    @property
    def _axes(self) -> tuple[int, int]:
        """The axes of the examples."""
        return 0, 1 + len(self.outputs[0])

    def put(self, kernel: np.ndarray, parts: Iterable[Part]) -> None:
        """Puts blocks where they belong, and those that mirror them."""
        examples = np.moveaxis(kernel, self._axes, (0, 1))
        mirrored = np.moveaxis(kernel, self._axes[::-1], (0, 1))
        behind, last = map(len, self.outputs)
        order = [*range(2), *range(2 + behind, 2 + behind + last), *range(2, 2 + behind)]
        mirrored = mirrored if behind == 0 else mirrored.transpose(order)
        for (i, j), part in parts:
            part = np.moveaxis(part, self._axes, (0, 1))
            rows, columns = part.shape[:2]
            examples[i : i + rows, j : j + columns] = part
            if self.is_symmetric and self.x2 is None and i != j:
                mirrored[i : i + rows, j : j + columns] = part


def in_memory(blocks: Blocks) -> np.ndarray:
    """Returns the kernel as an array."""
    kernel = np.empty(blocks.shape, blocks.dtype)
    blocks.put(kernel, blocks.parts(blocks.pairs))
    return kernel


def in_file(blocks: Blocks, path: pathlib.Path, identity: str) -> np.ndarray:
    """Writes the kernel to a file, and returns a memory map of it.

    Blocks that are done are files in a directory beside it, until all are.

    Args:
        blocks: The kernel.
        path: The file, which must not be there.
        identity: What tells the kernel from others.

    Raises:
        ValueError: If the file is there, or blocks of another kernel are.
        OSError: If it cannot be written.
    """
    if path.suffix != ".npy" or path.exists():
        raise ValueError(
            "Expected filepath to end in .npy, and to be that of no file yet. "
            f"Received: filepath={str(path)!r}"
        )
    directory = path.with_name(f"{path.name}.blocks")
    files.make_directory(directory)
    record = directory / "kernel.json"
    if not record.exists():
        files.write_json(record, {"kernel": identity})
    elif files.read_json(record) != {"kernel": identity}:
        raise ValueError(
            "Expected blocks of the same kernel, which began with the same model, inputs and "
            f"arguments. Received: those of another in {str(directory)!r}; remove it"
        )

    def place(pair: Pair) -> pathlib.Path:
        return directory / f"{pair[0]}_{pair[1]}.npy"

    left = [pair for pair in blocks.pairs if not place(pair).exists()]
    for pair, part in blocks.parts(left):
        with files.replacing(place(pair)) as beside:
            np.save(beside, part)
    with files.replacing(path) as beside:
        kernel = np.lib.format.open_memmap(beside, "w+", blocks.dtype, blocks.shape)
        blocks.put(kernel, ((pair, np.load(place(pair))) for pair in blocks.pairs))
        kernel.flush()
        del kernel
    shutil.rmtree(directory)
    return np.lib.format.open_memmap(path, "r")


def _length(x: Sequence[tf.Tensor]) -> int:
    return x[0].shape[0]


def _take(x: Sequence[tf.Tensor], begin: int, size: int) -> list[tf.Tensor]:
    """Returns a block of inputs; behind the last example that is repeated, for one shape of all."""
    positions = np.minimum(np.arange(begin, begin + size), _length(x) - 1)
    if positions[-1] == begin + size - 1:
        return [tensor[begin : begin + size] for tensor in x]
    return [tf.gather(tensor, positions) for tensor in x]
