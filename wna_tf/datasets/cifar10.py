"""CIFAR-10: 50,000 training and 10,000 test photographs of ten kinds of things, 32x32x3."""

from wna_tf.datasets import pipeline

TRAINING_SIZE = 50000
VALIDATION_SIZE = 5000
TEST_SIZE = 10000
SHAPES = ((32, 32, 3), (10,))


def load(options: pipeline.Options) -> pipeline.Examples:
    """Training and test examples, `x` [batch, 32, 32, 3]; see `tfds_images.load`."""
    from wna_tf.datasets import tfds_images  # Imports TensorFlow Datasets: only when needed.

    return tfds_images.load("cifar10", options.data_dir)
