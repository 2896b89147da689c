"""Image files in one folder a class: listed and checked at once, decoded batch by batch."""

import concurrent.futures
import contextlib
import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import tensorflow as tf
from absl import logging

from wna_tf import progress
from wna_tf.datasets import pipeline
from wna_tf.datasets.batches import Source

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")
# As Pillow decodes JPEG, to the bit; TensorFlow's default is hardly faster.
DCT = "INTEGER_ACCURATE"

# What whole files of a format begin and end with.
_MARKS = {
    b"\xff\xd8\xff": b"\xff\xd9",
    b"\x89PNG\r\n\x1a\n": b"IEND\xaeB`\x82",
    b"GIF8": b";",
}
_EXPECTED = "Expected image files that can be decoded"
_SHOWN = 10
_Result = TypeVar("_Result")


@dataclasses.dataclass(frozen=True)
class Files:
    """The image files of one part of a data set, in turn one of each class.

    The first n files, a validation set or a limited training set, are so of all classes alike.

    Attributes:
        directories: Folder of each class, string [num_classes].
        names: Names of the files in these folders, string [size].
        labels: Class of each file, int32 [size].
    """

    directories: tf.Tensor
    names: tf.Tensor
    labels: tf.Tensor

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the folders."""
        return tuple(pathlib.Path(os.fsdecode(path)).name for path in self.directories.numpy())

    def paths(self, positions: tf.Tensor) -> tf.Tensor:
        """Paths of the files at `positions`."""
        directories = tf.gather(self.directories, tf.gather(self.labels, positions))
        return tf.strings.join([directories, tf.gather(self.names, positions)], os.sep)


def read(options: pipeline.Options, parts: Sequence[str]) -> list[Files]:
    """Lists and checks the files `data_dir/part/class/name`.

    The images are the files named `*.bmp`, `*.gif`, `*.jpeg`, `*.jpg` or `*.png`, in any case.
    Other files, whatever is hidden, and folders within a class folder are passed over.

    To decode them all would take long. So only those are decoded here that do not begin and end as
    whole files of a format do, which takes 16 bytes to see. Damage in between may go unseen, and
    stops the training when it is met, by the file's name. With `skip_corrupt` all are decoded.

    Args:
        options: `data_dir` and `skip_corrupt` count.
        parts: Names of the parts, such as "train".

    Returns:
        The files of each part; their labels count the sorted classes of the first.

    Raises:
        FileNotFoundError: If a part is not there.
        ValueError: If there are less than two classes, if they are not those of the other parts or
            have no images, or if there are files that cannot be decoded (or read).
    """
    if options.data_dir is None:
        raise ValueError(
            f"Expected data_dir to be the directory of {_and(parts)}. Received: data_dir=None"
        )
    directories = [options.data_dir / part for part in parts]
    classes = [_classes(directory, parts) for directory in directories]
    for part, others in zip(parts, classes, strict=True):
        if others != classes[0]:
            raise ValueError(
                f"Expected the same classes in {parts[0]}/ and {part}/ of {str(options.data_dir)!r}"
                f". Received: {_list(set(classes[0]) - set(others))} in {parts[0]}/ alone, "
                f"{_list(set(others) - set(classes[0]))} in {part}/ alone"
            )
    return [_files(directory, classes[0], options.skip_corrupt) for directory in directories]


def source(
    files: Files,
    image: Callable[[tf.Tensor, tf.Tensor | None], tf.Tensor],
    size: Sequence[int],
    targets: Callable[[tf.Tensor, int], tf.Tensor],
) -> Source:
    """Examples that are read and decoded, several at a time, when they are fetched.

    Args:
        files: The files.
        image: Maps the contents of a file and a seed of its augmentation, int64 [2] or None, to
            float32 [height, width, 3].
        size: Height and width.
        targets: Maps labels and the number of classes to targets.
    """
    num_classes = len(files.directories)

    def example(
        position: tf.Tensor, path: tf.Tensor, seed: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if seed is not None:
            seed = tf.stack([seed, position])
        return position, tf.ensure_shape(image(tf.io.read_file(path), seed), [*size, 3])

    def fetch(positions: tf.Tensor, seeds: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor]:
        paths = files.paths(positions)
        examples = (positions, paths) if seeds is None else (positions, paths, seeds)
        # A data set within the map of another: an error of its own would not tell the file, but
        # files whose decoding failed can be told by what is missing from the batch.
        decoded = (
            tf.data.Dataset.from_tensor_slices(examples)
            .map(example, num_parallel_calls=tf.data.AUTOTUNE)
            .ignore_errors()
            .batch(tf.size(positions, tf.int64))
        )
        none = tf.data.Dataset.from_tensors((positions[:0], tf.zeros([0, *size, 3])))
        there, x = decoded.concatenate(none).take(1).get_single_element()
        missing = tf.raw_ops.ListDiff(x=positions, y=there).out
        named = tf.strings.reduce_join(files.paths(missing), separator=", ")
        message = tf.strings.join([_EXPECTED, ". Received: ", named])
        with tf.control_dependencies([tf.debugging.Assert(tf.size(missing) == 0, [message])]):
            return tf.identity(x), targets(tf.gather(files.labels, positions), num_classes)

    return Source(len(files.names), fetch)


def decode(contents: tf.Tensor) -> tf.Tensor:
    """Decodes an image, or the first of an animation, to uint8 [height, width, 3].

    What counts is the contents, not the file's suffix. Grey images and CMYK become RGB;
    transparency is dropped, and so are the lower 8 of 16 bits. BMP files with a palette are
    refused.
    """

    def decode_jpeg() -> tf.Tensor:
        return tf.io.decode_jpeg(contents, channels=3, dct_method=DCT)

    def decode_bmp() -> tf.Tensor:
        # TensorFlow takes the indices into a palette for grey, one channel.
        return tf.ensure_shape(tf.io.decode_bmp(contents)[..., :3], [None, None, 3])

    return tf.case(
        [
            (tf.io.is_jpeg(contents), decode_jpeg),
            (tf.strings.substr(contents, 0, 2) == "BM", decode_bmp),
        ],
        lambda: tf.io.decode_image(contents, channels=3, expand_animations=False),
    )


def count(options: pipeline.Options) -> int:
    """Number of image files to train on, whole or not; 0 if they are not there.

    Args:
        options: `data_dir` counts.
    """
    if options.data_dir is None:
        return 0
    directory = options.data_dir / "train"
    folders = [path for path in directory.glob("[!.]*") if path.is_dir()]
    return sum(map(len, _track(map(_image_names, folders), f"Listing {directory}", folders)))


def first_size(files: Files) -> tuple[int, int]:
    """Height and width of the first image.

    Raises:
        ValueError: If it cannot be decoded.
    """
    path = files.paths(0)
    try:
        return tuple(decode(tf.io.read_file(path)).shape[:2])
    except tf.errors.OpError as error:
        raise ValueError(f"{_EXPECTED}. Received: {os.fsdecode(path.numpy())}") from error


@contextlib.contextmanager
def named_errors() -> Iterator[None]:
    """Turns TensorFlow's account of files that cannot be decoded into one line, a ValueError.

    For the code that runs through the batches: `with named_errors(): learner.fit(...)`.
    """
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        message = re.search(rf"{_EXPECTED}\. Received: .*(?=\])", error.message)
        if message is None:
            raise
        raise ValueError(message.group()) from error


def _classes(directory: pathlib.Path, parts: Sequence[str]) -> list[str]:
    """Names of the class folders in a part, sorted."""
    if not directory.is_dir():
        raise FileNotFoundError(
            f"Expected folders {_and(parts)} in {str(directory.parent)!r}. "
            f"Received: no folder {directory.name}/"
        )
    with os.scandir(directory) as entries:
        classes = sorted(
            entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")
        )
    if len(classes) < 2:
        raise ValueError(
            f"Expected a folder for each of at least 2 classes in {str(directory)!r}. "
            f"Received: {_list(classes)}"
        )
    return classes


def _files(directory: pathlib.Path, classes: Sequence[str], skip_corrupt: bool) -> Files:
    directories = [directory / name for name in classes]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        # Disks answer several requests at a time.
        listed = _track(pool.map(_image_names, directories), f"Listing {directory}", classes)
        checked = pool.map(_whole, directories, listed)
        whole = np.concatenate(_track(checked, f"Checking images of {directory}", classes))
    counts = np.array([len(names) for names in listed])
    labels = np.repeat(np.arange(len(classes), dtype=np.int32), counts)
    in_turn = np.lexsort((labels, np.concatenate([np.arange(count) for count in counts])))
    names = np.array([os.fsencode(name) for names in listed for name in names], object)[in_turn]
    labels, whole = labels[in_turn], whole[in_turn]

    # On the CPU, where tf.data runs: it would copy from a GPU.
    with tf.device("CPU"):
        folders = tf.constant([os.fsencode(folder) for folder in directories])
        files = Files(folders, tf.constant(names, tf.string), tf.constant(labels))
        corrupt = _corrupt(files, np.flatnonzero(~whole | skip_corrupt))
        if len(corrupt):
            paths = [os.fsdecode(path) for path in files.paths(corrupt).numpy()]
            if not skip_corrupt:
                raise ValueError(
                    f"{_EXPECTED} (skip_corrupt leaves the others out). "
                    f"Received: {len(paths)} of {len(names)} cannot be: {_list(paths)}"
                )
            logging.warning("Left out %d of %d files: %s", len(paths), len(names), _list(paths))
            names, labels = np.delete(names, corrupt), np.delete(labels, corrupt)
            files = Files(folders, tf.constant(names, tf.string), tf.constant(labels))
    counts = np.bincount(labels, minlength=len(classes))
    if not all(counts):
        empty = [name for name, count in zip(classes, counts, strict=True) if not count]
        raise ValueError(
            f"Expected images ({', '.join(SUFFIXES)}) in every class folder of {str(directory)!r}. "
            f"Received: none in {_list(empty)}"
        )
    return files


def _image_names(directory: pathlib.Path) -> list[str]:
    """Names of the image files in a folder, sorted."""
    with os.scandir(directory) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.name.lower().endswith(SUFFIXES)
            and not entry.name.startswith(".")
            and not entry.is_dir()  # Rather than is_file, false for links to nowhere.
        )


def _whole(directory: pathlib.Path, names: Sequence[str]) -> np.ndarray:
    """Whether each file begins and ends as whole files of a format do, bool [len(names)]."""

    def is_whole(name: str) -> bool:
        with contextlib.suppress(OSError), (directory / name).open("rb", buffering=0) as file:
            head = file.read(8)
            file.seek(-8, os.SEEK_END)
            tail = file.read(8)
            return any(head.startswith(a) and tail.endswith(z) for a, z in _MARKS.items())
        return False

    return np.array([is_whole(name) for name in names], bool)


def _corrupt(files: Files, positions: np.ndarray) -> np.ndarray:
    """Returns those of `positions` whose files cannot be decoded."""

    def decoded(position: tf.Tensor, path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        # The size is of no use, but without it TensorFlow would see that the image is of none.
        return position, tf.size(decode(tf.io.read_file(path)))

    if not len(positions):
        return positions
    dataset = (
        tf.data.Dataset.from_tensor_slices(positions)
        .map(lambda position: decoded(position, files.paths(position)), tf.data.AUTOTUNE)
        .ignore_errors()
        .batch(1024)
    )
    readable = [positions[:0]]
    with progress.Stage("Decoding images", "images", len(positions)) as stage:
        for some, _ in dataset.as_numpy_iterator():
            readable.append(some)
            stage.advance(len(some))
    return np.setdiff1d(positions, np.concatenate(readable))


def _track(results: Iterator[_Result], what: str, folders: Sequence[object]) -> list[_Result]:
    """Returns what comes of the folders, one after the other."""
    return list(progress.track(results, what, "folders", len(folders)))


def _and(parts: Sequence[str]) -> str:
    return " and ".join(f"{part}/" for part in parts)


def _list(names: Sequence[str] | set[str]) -> str:
    """Some names, quoted, and how many there are besides."""
    shown = [repr(name) for name in sorted(names)[:_SHOWN]]
    if len(names) > _SHOWN:
        shown.append(f"and {len(names) - _SHOWN} more")
    return ", ".join(shown) or "none"
