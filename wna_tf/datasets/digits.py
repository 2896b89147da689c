"""Handwritten digits of scikit-learn: 1,797 images, 8x8x1, which come with that library."""

import numpy as np

from wna_tf.datasets import memory, pipeline

TRAINING_SIZE = 1500
VALIDATION_SIZE = 300
TEST_SIZE = 297
SHAPES = ((8, 8, 1), (10,))


def load(options: pipeline.Options) -> pipeline.Examples:
    """Training and test examples, `x` [batch, 8, 8, 1], `y` [batch, 10].

    There is no official split, and neighbouring images are alike. So the images are put into a
    random order, always the same one; the last 297 are the test set.

    Args:
        options: None counts: the images are part of scikit-learn.
    """
    from sklearn.datasets import load_digits  # Only when needed.

    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images, labels = digits.images[order, ..., None].astype("uint8"), digits.target[order]
    training, test = slice(TRAINING_SIZE), slice(TRAINING_SIZE, None)
    return pipeline.Examples(
        training=memory.image_source(images[training], labels[training], 10, maximum=16),
        test=memory.image_source(images[test], labels[test], 10, maximum=16),
        class_names=tuple("0123456789"),
    )
