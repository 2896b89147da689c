"""KMNIST: 60,000 training and 10,000 test images of ten cursive Japanese characters, 28x28x1."""

from wna_tf.datasets import pipeline

TRAINING_SIZE = 60000
VALIDATION_SIZE = 5000
TEST_SIZE = 10000
SHAPES = ((28, 28, 1), (10,))


def load(options: pipeline.Options) -> pipeline.Examples:
    """Training and test examples, `x` [batch, 28, 28, 1]; see `tfds_images.load`."""
    from wna_tf.datasets import tfds_images  # Imports TensorFlow Datasets: only when needed.

    return tfds_images.load("kmnist", options.data_dir)
