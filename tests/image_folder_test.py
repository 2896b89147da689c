"""Folders of image files: against what was written to them, and Pillow."""

import io
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.datasets_test import one_error_line
from wna_tf import datasets
from wna_tf.datasets import folders

RNG = np.random.default_rng(0)
RAMP = Image.fromarray(
    np.stack([*np.mgrid[0:240:4, 0:240:3], np.full([60, 80], 99)], -1).astype(np.uint8)
)


def encode(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def noise(height=6, width=5):
    return RNG.integers(0, 256, [height, width, 3], dtype=np.uint8)


PNG, JPEG = encode(Image.fromarray(noise()), "PNG"), encode(RAMP, "JPEG", quality=95)


def write(root, files):
    """Writes files, bytes or arrays by their path, and returns where."""
    for path, contents in files.items():
        if isinstance(contents, np.ndarray):
            contents = encode(Image.fromarray(contents), "PNG")
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(contents)
    return root


def tree(root, parts=("train", "val"), classes="ab", size=3):
    """Writes PNG files part/class/0.png, 1.png, ... and returns their pixels by path."""
    files = {
        f"{part}/{name}/{i}.png": noise() for part in parts for name in classes for i in range(size)
    }
    write(root, files)
    return files


def load(root, **options):
    return datasets.load("image_folder", **{"batch_size": 2, "data_dir": root} | options)


def arrays(dataset):
    return [np.concatenate(parts) for parts in zip(*dataset.as_numpy_iterator(), strict=True)]


def paths(data, files):
    """The path of each example in a dataset, which must be one of the files exactly."""
    known = {(array / np.float32(255)).tobytes(): path for path, array in files.items()}
    return [known[x.tobytes()] for x in arrays(data)[0]]


def test_examples_are_the_files_in_turn_of_each_class(tmp_path):
    files = tree(tmp_path, classes=["a", "b b", "ö"], size=2)
    data = load(tmp_path, batch_size=4)
    assert data.sizes == {"train": 6, "validation": 6, "test": 6}
    assert data.input_shape == (6, 5, 3) and data.num_classes == 3
    assert data.chance == {"accuracy": 1 / 3}
    assert [len(x) for x, _ in data.train] == [4, 2]

    in_turn = [f"{name}/{i}.png" for i in (0, 1) for name in ("a", "b b", "ö")]
    assert paths(data.validation, files) == [f"val/{path}" for path in in_turn]
    assert sorted(paths(data.train, files)) == sorted(f"train/{path}" for path in in_turn)
    y = arrays(data.validation)[1]
    np.testing.assert_allclose(y, np.eye(3)[[0, 1, 2] * 2] - 1 / 3, atol=1e-6)
    for x, y in data.train:
        names = [path.split("/")[1] for path in paths(tf.data.Dataset.from_tensors((x, y)), files)]
        assert [["a", "b b", "ö"][i] for i in np.argmax(y, -1)] == names


def test_sets_of_limited_size_are_of_all_classes(tmp_path):
    files = tree(tmp_path, classes="abc", size=4)
    data = load(tmp_path, validation_size=3, data_limit=6)
    assert paths(data.validation, files) == ["train/a/0.png", "train/b/0.png", "train/c/0.png"]
    assert sorted(paths(data.train, files)) == sorted(
        f"train/{name}/{i}.png" for name in "abc" for i in (1, 2)
    )
    assert data.sizes == {"train": 6, "validation": 3, "test": 12}
    assert {path[:3] for path in paths(data.test, files)} == {"val"}


def test_test_folder_is_the_test_set_and_val_where_it_is_missing(tmp_path):
    files = tree(tmp_path)
    assert paths(load(tmp_path).test, files) == paths(load(tmp_path).validation, files)
    files |= tree(tmp_path, parts=["test"], size=1)
    data = load(tmp_path)
    assert paths(data.test, files) == ["test/a/0.png", "test/b/0.png"]
    assert {path[:3] for path in paths(data.validation, files)} == {"val"}


def test_passes_differ_and_the_seed_reproduces_them(tmp_path):
    files = tree(tmp_path, size=10)
    first, same, other = (load(tmp_path, seed=seed).train for seed in (5, 5, 6))
    passes = [paths(first, files) for _ in range(2)]
    assert passes == [paths(same, files) for _ in range(2)]
    assert len({tuple(some) for some in [*passes, paths(other, files)]}) == 3
    assert sorted(passes[0]) == sorted(passes[1])


def test_files_are_read_when_they_are_fetched(tmp_path):
    files = tree(tmp_path)
    data = load(tmp_path)
    arrays(data.validation)
    changed = noise()
    write(tmp_path, {"val/a/1.png": changed})
    np.testing.assert_array_equal(arrays(data.validation)[0][2], changed / np.float32(255))
    assert paths(data.train, files)


ANIMATION = [RAMP.quantize(256), RAMP.rotate(90).quantize(256)]


FORMATS = {
    "jpeg": (JPEG, 0),
    "progressive": (encode(RAMP, "JPEG", progressive=True, quality=95), 0),
    "grey jpeg": (encode(RAMP.convert("L"), "JPEG"), 0),
    "cmyk jpeg": (encode(RAMP.convert("CMYK"), "JPEG", quality=95), 2),
    "png": (encode(RAMP, "PNG"), 0),
    "grey png": (encode(RAMP.convert("L"), "PNG"), 0),
    "one bit": (encode(RAMP.convert("1"), "PNG"), 0),
    "palette": (encode(RAMP.quantize(16), "PNG"), 0),
    "grey alpha": (encode(RAMP.convert("LA"), "PNG"), 0),
    "alpha": (encode(RAMP.convert("RGBA"), "PNG"), 0),
    "gif": (encode(RAMP.quantize(256), "GIF"), 0),
    "animation": (encode(ANIMATION[0], "GIF", save_all=True, append_images=ANIMATION[1:]), 0),
    "bmp": (encode(RAMP, "BMP"), 0),
    "bmp alpha": (encode(RAMP.convert("RGBA"), "BMP"), 0),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_becomes_rgb(name):
    contents, tolerance = FORMATS[name]
    reference = np.asarray(Image.open(io.BytesIO(contents)).convert("RGB"), int)
    np.testing.assert_allclose(folders.decode(contents), reference, rtol=0, atol=tolerance)


def test_sixteen_bits_keep_the_upper_eight():
    values = np.arange(0, 60000, 20, np.uint16).reshape(50, 60)
    decoded = folders.decode(encode(Image.fromarray(values), "PNG"))
    np.testing.assert_array_equal(decoded, np.repeat(values[..., None] >> 8, 3, -1))


def test_images_are_resized_to_the_first_or_to_a_square(tmp_path):
    write(tmp_path, {f"{part}/b/0.jpg": PNG for part in ("train", "val")})
    write(tmp_path, {"train/a/0.png": noise(40, 50), "val/a/0.png": encode(RAMP, "PNG")})
    for options, size in (({}, (40, 50)), ({"image_size": 16}, (16, 16))):
        data = load(tmp_path, **options)
        assert data.input_shape == (*size, 3)
        for dataset in data:
            assert {x.shape for x in arrays(dataset)[0]} == {(*size, 3)}
        x = arrays(data.validation)[0][0]
        resized = np.asarray(RAMP.resize(size[::-1], Image.Resampling.BILINEAR))
        np.testing.assert_allclose(x, resized / 255, atol=1 / 255)
        assert x.min() >= 0 and x.max() <= 1


def test_white_stays_at_one(tmp_path):
    white = np.full([50, 37, 3], 255, np.uint8)
    write(tmp_path, {f"{part}/{name}/0.png": white for part in ("train", "val") for name in "ab"})
    x, _ = arrays(load(tmp_path, image_size=16).validation)
    assert x.max() <= 1 and x.min() > 1 - 1e-6


def test_other_files_are_passed_over(tmp_path):
    tree(tmp_path)
    others = ["a/.DS_Store", "a/Thumbs.db", "a/readme.txt", "a/.hidden.png", "a/deeper/0.png"]
    write(tmp_path, {f"train/{path}": b"no image" for path in [*others, ".git/0.png", "list.txt"]})
    (tmp_path / "train/a/folder.png").mkdir()
    write(tmp_path, {"train/a/UPPER.PNG": PNG, "train/a/png.JPEG": PNG})
    assert load(tmp_path).sizes["train"] == 8


@pytest.mark.parametrize(
    "parts, missing", [({}, "train"), ({"train/a/0.png": PNG, "train/b/0.png": PNG}, "val")]
)
def test_missing_part_is_one_line(parts, missing, tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        load(write(tmp_path, parts))
    assert one_error_line(error) == (
        f"Expected folders train/ and val/ in {str(tmp_path)!r}. Received: no folder {missing}/"
    )


@pytest.mark.parametrize("name", ["image_folder", "imagenet"])
def test_data_dir_is_needed(name):
    with pytest.raises(ValueError) as error:
        datasets.load(name)
    assert one_error_line(error) == (
        "Expected data_dir to be the directory of train/ and val/. Received: data_dir=None"
    )


@pytest.mark.parametrize(
    "change, expected, received",
    [
        ({"remove": "train/*"}, "a folder for each of at least 2 classes", "none"),
        ({"remove": "*/b"}, "a folder for each of at least 2 classes", "'a'"),
        ({"remove": "val/*/*.png"}, "images", "none in 'a', 'b'"),
        ({"remove": "train/b/*.png"}, "images", "none in 'b'"),
        (
            {"classes": ["train/c", "val/d", "val/e"]},
            "the same classes in train/ and val/",
            "'c' in train/ alone, 'd', 'e' in val/ alone",
        ),
        (
            {"classes": ["test/a"]},
            "a folder for each of at least 2 classes",
            "'a'",
        ),
        (
            {"classes": ["test/a", "test/c"]},
            "the same classes in train/ and test/",
            "'b' in train/ alone, 'c' in test/ alone",
        ),
        (
            {"classes": [f"train/{i:03}" for i in range(200)]},
            "the same classes in train/ and val/",
            ", ".join([*(f"'{i:03}'" for i in range(10)), "and 190 more"])
            + " in train/ alone, none in val/ alone",
        ),
    ],
)
def test_wrong_classes_are_one_line(change, expected, received, tmp_path):
    tree(tmp_path)
    for path in tmp_path.glob(change.get("remove", "none")):
        for file in path.glob("*"):
            file.unlink()
        path.rmdir() if path.is_dir() else path.unlink()
    for name in change.get("classes", []):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(ValueError) as error:
        load(tmp_path)
    message = one_error_line(error)
    assert message.startswith(f"Expected {expected}") and str(tmp_path) in message
    assert message.endswith(f"Received: {received}")


CORRUPT = {
    "empty.png": b"",
    "half.jpg": JPEG[: len(JPEG) // 2],
    "half.png": PNG[: len(PNG) // 2],
    "half.bmp": encode(RAMP, "BMP")[:5000],
    "half.gif": encode(RAMP.quantize(256), "GIF")[:900],
    "head.jpg": JPEG[:4],
    "palette.bmp": encode(RAMP.quantize(16), "BMP"),  # TensorFlow would take it for grey.
    "text.jpg": b"not an image",
}


def test_corrupt_files_are_refused_by_name_or_left_out(tmp_path):
    files = tree(tmp_path)
    write(tmp_path, {f"train/b/{name}": contents for name, contents in CORRUPT.items()})
    (tmp_path / "train/b/link.jpg").symlink_to("nowhere")
    with pytest.raises(ValueError) as error:
        load(tmp_path)
    message = one_error_line(error)
    assert message.startswith("Expected image files that can be decoded (skip_corrupt ")
    names = sorted([*CORRUPT, "link.jpg"])
    listed = ", ".join(repr(str(tmp_path / "train/b" / name)) for name in names)
    assert message.endswith(f"Received: {len(names)} of {6 + len(names)} cannot be: {listed}")

    data = load(tmp_path, skip_corrupt=True)
    assert data.sizes["train"] == 6 and len(data.train) == 3
    assert sorted(paths(data.train, files)) == sorted(path for path in files if path[0] == "t")


def test_whole_files_with_odd_ends_are_not_refused(tmp_path):
    tree(tmp_path)
    odd = {"a.jpg": JPEG + b"junk", "a.bmp": encode(RAMP, "BMP"), "a.png": PNG + b"\n"}
    write(tmp_path, {f"train/a/{name}": contents for name, contents in odd.items()})
    assert load(tmp_path).sizes["train"] == 9


def test_class_of_corrupt_files_alone_is_empty(tmp_path):
    tree(tmp_path)
    write(tmp_path, {f"val/b/{i}.png": b"" for i in range(3)})
    with pytest.raises(ValueError) as error:
        load(tmp_path, skip_corrupt=True)
    assert one_error_line(error).endswith("Received: none in 'b'")


@pytest.mark.parametrize("size", [1, 3], ids=["whole batch", "part of it"])
def test_damage_within_a_file_is_named_when_it_is_met(size, tmp_path):
    tree(tmp_path, size=size)
    # The check of both ends does not see it.
    middle = len(PNG) // 2
    damaged = PNG[:middle] + bytes(4) + PNG[middle + 4 :]
    write(tmp_path, {"train/b/0.png": damaged, "train/a/0.png": damaged if size == 1 else PNG})
    data = load(tmp_path, batch_size=2 * size, image_size=8)
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError) as error, datasets.named_errors():
        model.fit(data.train, verbose=0)
    message = one_error_line(error)
    assert message.startswith("Expected image files that can be decoded. Received: ")
    named = set(message.partition("Received: ")[2].split(", "))
    names = ["a", "b"] if size == 1 else ["b"]
    assert named == {str(tmp_path / f"train/{name}/0.png") for name in names}

    if size > 1:
        assert load(tmp_path, skip_corrupt=True).sizes["train"] == 2 * size - 1
        return
    # The size of the first image is asked for before any batch is.
    with pytest.raises(ValueError) as error:
        load(tmp_path)
    assert one_error_line(error).endswith(str(tmp_path / "train/a/0.png"))


def test_deleted_file_is_named(tmp_path):
    tree(tmp_path)
    data = load(tmp_path)
    (tmp_path / "val/b/1.png").unlink()
    with pytest.raises(ValueError) as error, datasets.named_errors():
        arrays(data.validation)
    assert one_error_line(error).endswith(f"Received: {tmp_path / 'val/b/1.png'}")


def test_other_errors_keep_their_words():
    with pytest.raises(tf.errors.InvalidArgumentError), datasets.named_errors():
        tf.io.decode_png(b"")
    with pytest.raises(KeyError), datasets.named_errors():
        raise KeyError


def test_a_thousand_classes(tmp_path):
    classes = [f"n{i:08}" for i in range(1000)]
    write(tmp_path, {f"train/{name}/{i}.png": PNG for name in classes for i in range(2)})
    write(tmp_path, {f"val/{name}/0.png": PNG for name in classes})
    start = time.monotonic()
    data = load(tmp_path, batch_size=500)
    assert time.monotonic() - start < 10
    assert data.sizes == {"train": 2000, "validation": 1000, "test": 1000}
    labels = np.concatenate([np.argmax(y, -1) for _, y in data.train])
    np.testing.assert_array_equal(np.bincount(labels), np.full(1000, 2))


def test_keras_fits_it(tmp_path):
    tree(tmp_path)
    data = load(tmp_path)
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(2)])
    model.compile("sgd", "mse", metrics=["accuracy"])
    history = model.fit(data.train, validation_data=data.validation, epochs=2, verbose=0)
    assert np.isfinite(history.history["val_loss"]).all()


@pytest.mark.parametrize("name", ["image_folder", "imagenet"])
def test_classes_have_the_names_of_their_folders(name, tmp_path):
    tree(tmp_path, classes=["b b", "a", "ö"])
    data = datasets.load(name, data_dir=tmp_path, batch_size=2)
    assert data.class_names == ("a", "b b", "ö")
