"""Augmentation: against images flipped and cropped one by one, and the same when resumed."""

import dataclasses
import os
import re
import signal

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.command import TINY, contents, flags_of
from tests.pipeline_test import one_error_line
from wna_tf import caching, datasets
from wna_tf.datasets import augmentations, pipeline
from wna_tf.datasets.batches import Source
from wna_tf.experiments import build, run_directory, training
from wna_tf.experiments.config import Config

SEEDS = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=6)


def crops(image):
    """What one image may become, [2 * 9 * 9, height, width, channels]."""
    height, width, _ = image.shape
    made = []
    for flipped in (image, np.flip(image, 1)):
        padded = np.pad(flipped, [(4, 4), (4, 4), (0, 0)])
        made += [
            padded[top : top + height, left : left + width] for top in range(9) for left in range(9)
        ]
    return np.array(made)


@settings(max_examples=20)
@given(SEEDS, st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))
def test_each_image_is_mirrored_and_cropped_by_its_own_seed(seeds, height, width, channels):
    rng = np.random.default_rng(0)
    images = rng.uniform(0.1, 1, [len(seeds), height, width, channels]).astype("float32")
    made = augmentations.flip_crop(tf.constant(images), tf.constant(seeds, tf.int64)).numpy()
    assert made.shape == images.shape
    for image, one, seed in zip(images, made, seeds, strict=True):
        assert (crops(image) == one).all((1, 2, 3)).any()
        alone = augmentations.flip_crop(image[None], tf.constant([seed], tf.int64))
        np.testing.assert_array_equal(alone[0], one)


def test_all_of_its_crops_are_equally_likely():
    image = np.random.default_rng(0).uniform(size=[9, 9, 1])
    index = {some.tobytes(): number for number, some in enumerate(crops(image))}
    count = 16200
    seeds = tf.random.stateless_uniform([count], [1, 2], None, None, tf.int64)
    made = augmentations.flip_crop(tf.constant(np.repeat(image[None], count, 0)), seeds).numpy()
    counts = np.bincount([index[some.tobytes()] for some in made], minlength=162)
    assert np.sum((counts - 100) ** 2 / 100) < 161 + 5 * (2 * 161) ** 0.5  # Chi-squared.


def digits(**options):
    return datasets.load("digits", batch_size=50, seed=3, augment="flip_crop", **options)


def arrays(batches):
    return [[part.numpy() for part in batch] for batch in batches]


def test_training_images_alone_are_augmented():
    plain, augmented = datasets.load("digits", batch_size=50, seed=3), digits()
    for ours, theirs in zip(tuple(augmented)[1:], tuple(plain)[1:], strict=True):
        for (x, y), (x2, y2) in zip(arrays(ours), arrays(theirs), strict=True):
            np.testing.assert_array_equal(x, x2)
            np.testing.assert_array_equal(y, y2)
    unchanged = 0
    for (x, y), (x2, y2) in zip(arrays(augmented.train), arrays(plain.train), strict=True):
        np.testing.assert_array_equal(y, y2)
        assert x.shape == x2.shape
        for image, own in zip(x, x2, strict=True):
            assert (crops(own) == image).all((1, 2, 3)).any()
            unchanged += (image == own).all()
    assert unchanged < 50  # One in 162 of 1,200.


def test_every_epoch_is_another_and_any_step_can_be_resumed():
    data = digits()
    straight = arrays(data.batches_from(0).take(2 * data.steps))
    first, second = ({x.tobytes() for x, _ in straight[i :: data.steps]} for i in (0, 1))
    assert len(first) == len(second) == 2
    for step in (0, 1, data.steps - 1, data.steps + 7):
        later = arrays(digits().batches_from(step).take(3))
        for (x, y), (x2, y2) in zip(later, straight[step : step + 3], strict=True):
            np.testing.assert_array_equal(x, x2)
            np.testing.assert_array_equal(y, y2)


def test_replicas_share_the_same_images(mirrored):
    batches = mirrored.experimental_distribute_dataset(digits().batches_from(0))
    for (x, _), whole in zip(iter(batches), digits().batches_from(0).take(3), strict=False):
        parts = mirrored.experimental_local_results(x)
        np.testing.assert_array_equal(np.concatenate(parts), whole[0])


def test_an_interrupted_run_goes_on_to_the_same_result(tmp_path, command, at_step):
    config = dataclasses.replace(TINY, augment="flip_crop")
    whole = training.train(config, tmp_path / "whole")
    assert "_flip_crop_" in config.name and "none" not in TINY.name
    plain = training.train(TINY, tmp_path / "plain")
    assert plain.result["train_loss"] != whole.result["train_loss"]
    flags = flags_of(config, tmp_path / "runs", checkpoint_every=2, augment="flip_crop")
    at_step(7, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert command(*flags).status == 128 + signal.SIGTERM
    at_step(None, None)
    assert "Going on from step 6 of 12." in command(*flags).out
    again = run_directory.read_run(tmp_path / "runs" / config.name)
    assert again.result | {"seconds": 0} == whole.result | {"seconds": 0}


def test_a_grid_of_augmentations_shares_its_data():
    grid = {"augment": ["none", "flip_crop"], "seed": [1, 2]}
    plain, _, augmented, _ = (build.load_data(config) for config in build.expand(grid))
    build._load.cache_clear()
    assert plain.validation is augmented.validation
    assert plain.training.source is not augmented.training.source


def test_a_cache_of_augmented_images_is_refused():
    config = Config(rule="align_ada", normalize=False, augment="flip_crop")
    data, learner = build.prepare(config)
    with pytest.raises(ValueError, match=r"without augmentation .* Received: augmented ones"):
        caching.choose(learner, data)


def darken(images, seeds):
    return images / tf.cast(1 + seeds % 4, images.dtype)[:, None, None, None]


def test_one_of_ones_own_is_registered(monkeypatch):
    monkeypatch.setattr(augmentations._TABLE, "_choices", dict(augmentations._TABLE._choices))
    augmentations.register("darken", darken)
    assert augmentations.names() == ("none", "flip_crop", "darken")
    (x, _), *_ = datasets.load("digits", seed=3, augment="darken").train
    (x2, _), *_ = datasets.load("digits", seed=3).train
    darkened = tf.reduce_max(x, (1, 2, 3)) / tf.reduce_max(x2, (1, 2, 3))
    assert {round(float(some), 3) for some in darkened} == {1, 0.5, 0.333, 0.25}
    with pytest.raises(ValueError, match="Expected a function that augments images"):
        augmentations.register("none_at_all", 3)


MISTAKES = {
    "unknown": ("--augment=mixup", "one of none, flip_crop. Received: augment='mixup'"),
    "sequences": (
        "--augment=none,flip_crop --dataset=add --model=rnn --loss=sum_squared_error",
        r"Expected images .* Received: augment='flip_crop' for inputs \(100, 1\)",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.parametrize("planned", [False, True], ids=["trained", "planned"])
def test_what_cannot_be_augmented_ends_with_one_line(name, planned, tmp_path, command):
    flags, message = MISTAKES[name]
    ended = command(f"--run_dir={tmp_path}/runs", *flags.split(), *["--dry_run"] * planned)
    assert ended.status == 2
    (line,) = ended.splitlines()
    assert re.search(message, line), line
    assert contents(tmp_path) == set()


def test_nested_inputs_are_told():
    source = Source(9, lambda at, _: ({"a": at[:, None]}, tf.zeros([9, 2])))
    data = pipeline.split(pipeline.Examples(source, source), 3, 0)
    with pytest.raises(ValueError) as error:
        augmentations.apply(data, "flip_crop")
    assert "Received: augment='flip_crop' for inputs {'a': " in one_error_line(error)
