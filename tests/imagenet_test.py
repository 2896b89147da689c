"""ImageNet's crops and normalization, against Pillow and images that tell their coordinates."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.conftest import ROOT, SHARED
from tests.image_folder_test import arrays, encode, noise, write
from wna_tf import datasets
from wna_tf.datasets import imagenet

SAMPLE = SHARED / "data" / "imagenet_sample"
needs_sample = pytest.mark.skipif(not SAMPLE.is_dir(), reason="needs shared/data/imagenet_sample")
MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def tree(root, contents, classes="abc"):
    return write(
        root, {f"{part}/{c}/0.png": contents for part in ("train", "val") for c in classes}
    )


def load(root, **options):
    defaults = {"batch_size": 2, "data_dir": root, "image_size": 32}
    return datasets.load("imagenet", **defaults | options)


def coordinates(height, width):
    """An image whose red and green are 255 times the relative position of a pixel's centre."""
    y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    y, x = np.meshgrid(y, x, indexing="ij")
    return Image.fromarray(np.rint(255 * np.stack([x, y, 0 * x], -1)).astype(np.uint8))


def pillow_centre_crop(image, size, shorter):
    width, height = image.size
    scaled = [shorter * side // min(width, height) for side in (width, height)]
    left, top = ((side - size) // 2 for side in scaled)
    image = image.resize(scaled, Image.Resampling.BILINEAR)
    return np.asarray(image.crop((left, top, left + size, top + size)), float)


@pytest.mark.parametrize("width, height", [(500, 375), (333, 500), (256, 256), (100, 80), (900, 9)])
@pytest.mark.parametrize("size, shorter", [(224, 256), (56, 64)])
def test_evaluation_resizes_and_crops_as_pillow_does(width, height, size, shorter):
    for image in (coordinates(height, width), Image.fromarray(noise(height, width))):
        ours = imagenet.centre_crop(encode(image, "PNG"), size)
        # Pillow rounds to whole numbers after each of two passes.
        np.testing.assert_allclose(ours, pillow_centre_crop(image, size, shorter), atol=1.1)


@needs_sample
def test_evaluation_of_photographs():
    data = load(SAMPLE, batch_size=40, image_size=None)
    assert data.sizes == {"train": 40, "validation": 40, "test": 40}
    assert data.input_shape == (224, 224, 3) and data.num_classes == 40
    x, y = arrays(data.validation)
    np.testing.assert_array_equal(y, np.eye(40))
    for ours, path in zip(x[::8], sorted(SAMPLE.glob("val/*/*"))[::8], strict=True):
        reference = pillow_centre_crop(Image.open(path).convert("RGB"), 224, 256)
        np.testing.assert_allclose(255 * (ours * DEVIATION + MEAN), reference, rtol=0, atol=1.1)


def test_colours_are_normalized_and_targets_one_hot(tmp_path):
    colour = np.array([10, 100, 250], np.uint8)
    data = load(tree(tmp_path, np.tile(colour, [50, 40, 1])))
    for dataset in data:
        x, y = arrays(dataset)
        expected = (colour / 255 - MEAN) / DEVIATION
        np.testing.assert_allclose(x, np.broadcast_to(expected, [3, 32, 32, 3]), atol=1e-5)
        np.testing.assert_array_equal(np.sort(np.argmax(y, -1)), [0, 1, 2])
        np.testing.assert_array_equal(np.sort(y), [[0, 0, 1]] * 3)
    assert data.sizes == {"train": 3, "validation": 3, "test": 3}


@tf.function
def crops(contents, seeds):
    return tf.map_fn(
        lambda seed: imagenet.random_crop(contents, 64, seed), seeds, fn_output_signature=tf.float32
    )


@pytest.mark.parametrize("form, slack", [("PNG", 0.01), ("JPEG", 0.02)])
def test_training_crops_boxes_of_every_size_and_mirrors_half(form, slack):
    height, width, n = 300, 400, 200
    contents = encode(coordinates(height, width), form, quality=95)
    seeds = np.stack([np.arange(n), np.full(n, 7)], -1)
    x = crops(contents, seeds).numpy() / 255
    np.testing.assert_array_equal(crops(contents, seeds) / 255, x)

    # Colours are linear in the position: fit slopes away from the borders.
    inner = slice(16, 48)
    at = (np.arange(64)[inner] + 0.5) / 64
    red, green = x[:, 32, inner, 0], x[:, inner, 32, 1]
    (slope_x, left), (slope_y, top) = (np.polyfit(at, values.T, 1) for values in (red, green))
    for slope, start, values in ((slope_x, left, red), (slope_y, top, green)):
        np.testing.assert_allclose(slope * at[:, None] + start, values.T, atol=slack)
        assert (np.minimum(start, start + slope) > -slack).all()
        assert (np.maximum(start, start + slope) < 1 + slack).all()
    assert (slope_y > 0).all()
    assert abs(np.mean(slope_x < 0) - 1 / 2) < 5 / 2 / np.sqrt(n)

    area, ratio = np.abs(slope_x) * slope_y, np.abs(slope_x) / slope_y * width / height
    assert 0.08 - slack < area.min() < 0.2 and 0.8 < area.max() < 1 + slack
    assert 3 / 4 - 5 * slack < ratio.min() < 0.8 and 1.25 < ratio.max() < 4 / 3 + 5 * slack


@pytest.mark.parametrize("mode, colour", [("L", 100), ("CMYK", (155, 155, 155, 0))])
def test_jpegs_of_other_colours_are_cropped_as_rgb(mode, colour):
    contents = encode(Image.new(mode, (90, 70), colour), "JPEG", quality=95)
    x = imagenet.random_crop(contents, 32, tf.constant([1, 2], tf.int64))
    assert x.shape == (32, 32, 3)
    np.testing.assert_allclose(x, 100, atol=3)


def test_crops_of_very_long_and_of_tiny_images():
    for shape in ((600, 8), (8, 600), (1, 1), (2, 3)):
        contents = encode(Image.fromarray(noise(*shape)), "PNG")
        for crop in (imagenet.centre_crop, imagenet.random_crop):
            seed = [tf.constant([1, 2])] if crop is imagenet.random_crop else []
            x = crop(contents, 32, *seed)
            assert x.shape == (32, 32, 3) and np.isfinite(x).all()
            assert np.min(x) > -1e-3 and np.max(x) < 255 + 1e-3


def by_class(dataset):
    x, y = arrays(dataset)
    return x[np.argsort(np.argmax(y, -1))]


def test_augmentation_differs_in_each_pass_and_the_seed_reproduces_it(tmp_path):
    tree(tmp_path, noise(60, 80))
    first, same, other = (load(tmp_path, seed=seed) for seed in (5, 5, 6))
    passes = [by_class(first.train) for _ in range(3)]
    next(iter(same.train))  # A pass broken off is a pass.
    for again in passes[1:]:
        np.testing.assert_array_equal(by_class(same.train), again)
    # All files have the same image: no two crops are the same.
    every = np.concatenate([*passes, by_class(other.train)])
    assert len({x.tobytes() for x in every}) == len(every) == 12

    evaluated = [*arrays(first.validation)[0], *arrays(first.validation)[0], *arrays(other.test)[0]]
    assert len({x.tobytes() for x in evaluated}) == 1
    # Examples of train/ set aside for validation are not augmented.
    aside = load(tmp_path, batch_size=1, validation_size=2)
    assert {x.tobytes() for x in arrays(aside.validation)[0]} == {evaluated[0].tobytes()}
    assert aside.sizes == {"train": 1, "validation": 2, "test": 3}


def test_replicas_share_the_batches_of_one_device(tmp_path, mirrored):
    tree(tmp_path, noise(60, 80), classes="abcdefgh")
    plain, distributed = (load(tmp_path, batch_size=4, seed=3).train for _ in range(2))
    for (x, y), (xs, ys) in zip(
        plain, mirrored.experimental_distribute_dataset(distributed), strict=True
    ):
        np.testing.assert_array_equal(tf.concat(mirrored.experimental_local_results(xs), 0), x)
        np.testing.assert_array_equal(tf.concat(mirrored.experimental_local_results(ys), 0), y)


CODE = """
import sys, keras, tensorflow as tf
from wna_tf import datasets
keras.utils.set_random_seed(0)
tf.config.experimental.enable_op_determinism()
data = datasets.load("imagenet", 2, sys.argv[1], image_size=32, seed=4)
for _ in range(2):
    print([float(tf.reduce_sum(x)) for x, _ in data.train])
"""


def test_another_process_gives_the_same_numbers(tmp_path):
    tree(tmp_path, noise(60, 80))
    command = [sys.executable, "-c", CODE, str(tmp_path)]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    )
    keras.utils.set_random_seed(0)
    train = load(tmp_path, seed=4).train
    ours = [str([float(tf.reduce_sum(x)) for x, _ in train]) for _ in range(2)]
    assert done.stdout.split("\n")[:2] == ours


def test_keras_fits_it(tmp_path):
    data = load(tree(tmp_path, noise(60, 80)))
    model = keras.Sequential([keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(3)])
    model.compile("sgd", "mse", metrics=["accuracy"])
    history = model.fit(data.train, validation_data=data.validation, epochs=2, verbose=0)
    assert np.isfinite(history.history["val_loss"]).all()
