"""ImageNet, or another data set of photographs: files in one folder a class."""

from typing import Any

import numpy as np
import tensorflow as tf

from wna_tf.datasets import folders, pipeline

TRAINING_SIZE = 1281167
VALIDATION_SIZE = 0
TEST_SIZE = 50000
IMAGE_SIZE = 224
SHAPES = ((IMAGE_SIZE, IMAGE_SIZE, 3), (1000,))
# Means and standard deviations of ImageNet's colours.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
AREA = (0.08, 1.0)
RATIO = (3 / 4, 4 / 3)
_BORDER = 256 / 224
count = folders.count


def describe(options: pipeline.Options) -> dict[str, Any]:
    """Returns the shapes of examples, which `image_size` tells."""
    size = options.image_size or IMAGE_SIZE
    return {"shapes": ((size, size, 3), SHAPES[1])}


def load(options: pipeline.Options) -> pipeline.Examples:
    """Examples of the files `train/class/name` and `val/class/name`.

    `x` [batch, 224, 224, 3] (or of `image_size`), normalized by `MEAN` and `DEVIATION`, and `y`
    [batch, num_classes], one-hot, not centred. Training takes a `random_crop`, evaluation the
    `centre_crop`.

    ImageNet has no test examples with public labels, so val/ is the validation set, which the
    paper reports, and also the test set: test figures are of images that validation has seen,
    unless a `validation_size` takes the validation set from train/ (without augmentation).

    Args:
        options: All but the seed count.
    """
    size = IMAGE_SIZE if options.image_size is None else options.image_size

    scale = 1 / (255 * np.array(DEVIATION, np.float32))
    shift = -np.array(MEAN, np.float32) / np.array(DEVIATION, np.float32)

    def image(contents: tf.Tensor, seed: tf.Tensor | None) -> tf.Tensor:
        cropped = centre_crop(contents, size) if seed is None else random_crop(contents, size, seed)
        return cropped * scale + shift

    files = folders.read(options, ["train", "val"])
    training, validation = (folders.source(some, image, (size, size), tf.one_hot) for some in files)
    return pipeline.Examples(
        training=training,
        validation=validation,
        test=validation,
        class_names=files[0].class_names,
    )


def centre_crop(contents: tf.Tensor, size: int) -> tf.Tensor:
    """Resizes the shorter side to 8/7 of `size` (256 for 224) and crops the centre.

    Bilinear, with antialiasing.

    Args:
        contents: An image file.
        size: Height and width of the crop.

    Returns:
        Colours from 0 to 255, float32 [size, size, 3].
    """
    image = folders.decode(contents)
    shape = tf.shape(image)[:2]
    resized = round(_BORDER * size) * shape // tf.reduce_min(shape)
    # Both at once: what is cropped need not be computed.
    return tf.raw_ops.ScaleAndTranslate(
        images=image[None],
        size=[size, size],
        scale=tf.cast(resized, tf.float32) / tf.cast(shape, tf.float32),
        translation=-tf.cast((resized - size) // 2, tf.float32),
        kernel_type="triangle",
        antialias=True,
    )[0]


def random_crop(contents: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
    """Resizes a random part of the image to a square, and mirrors it with probability 1/2.

    The part's width is 3/4 to 4/3 of its height, and its area 0.08 to 1 of the image's: TensorFlow
    draws the ratio and then the height, both uniformly (torchvision the area). Where ten attempts
    find no such part, as may happen in very long images, it is all of the image.

    Args:
        contents: An image file.
        size: Height and width to resize to, bilinear with antialiasing.
        seed: Integers [2] that determine the part and the mirroring.

    Returns:
        Colours from 0 to 255, float32 [size, size, 3].
    """
    crop_seed, flip_seed = tf.unstack(tf.random.split(seed, 2))

    def box(shape: tf.Tensor) -> tf.Tensor:
        """Top, left, height and width."""
        begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
            shape,
            bounding_boxes=tf.zeros([1, 0, 4]),
            seed=crop_seed,
            min_object_covered=0.0,
            aspect_ratio_range=RATIO,
            area_range=AREA,
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        return tf.concat([begin[:2], extent[:2]], 0)

    def crop_jpeg() -> tf.Tensor:
        # Only the blocks of the crop are decoded in full.
        part = box(tf.io.extract_jpeg_shape(contents))
        return tf.io.decode_and_crop_jpeg(contents, part, channels=3, dct_method=folders.DCT)

    def crop() -> tf.Tensor:
        image = folders.decode(contents)
        top, left, height, width = tf.unstack(box(tf.shape(image)))
        return image[top : top + height, left : left + width]

    part = tf.cond(tf.io.is_jpeg(contents), crop_jpeg, crop)
    part = tf.image.resize(part, [size, size], antialias=True)
    return tf.image.stateless_random_flip_left_right(part, flip_seed)
