"""Handwritten digits of scikit-learn: 1,797 images, 8x8x1, which come with that library."""

from wna_tf.datasets import pipeline

TRAINING_SIZE = 1500
VALIDATION_SIZE = 300


def load(options: pipeline.Options) -> pipeline.Examples:
    """Training and test examples, `x` [batch, 8, 8, 1], `y` [batch, 10].

    There is no official split. The images are ordered by writer, so the last 297, the test set
    here, come from other people than the rest (but for one who may be on both sides): accuracy on
    them is accuracy on new writers, lower than on a random split. The same goes for validation.
    Args:
        options: None counts: the images are part of scikit-learn.
    """
    from sklearn.datasets import load_digits  # Only when needed.

    digits = load_digits()
    images, labels = digits.images[..., None].astype("uint8"), digits.target
    training, test = slice(TRAINING_SIZE), slice(TRAINING_SIZE, None)
    return pipeline.Examples(
        training=pipeline.image_source(images[training], labels[training], 10, maximum=16),
        test=pipeline.image_source(images[test], labels[test], 10, maximum=16),
    )
