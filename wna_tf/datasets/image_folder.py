"""Anyone's images: files in one folder a class, such as CIFAR-10 as JPEG files."""

import tensorflow as tf

from wna_tf.datasets import folders, memory, pipeline

TRAINING_SIZE = None
VALIDATION_SIZE = 0
TEST_SIZE = None
SHAPES = None
count = folders.count


def load(options: pipeline.Options) -> pipeline.Examples:
    """Examples of the files `train/class/name`, `val/class/name` and, if it is there, `test/...`.

    `x` [batch, height, width, 3] in [0, 1], `y = one_hot(label) - 1 / num_classes`. Images are
    resized to squares of `image_size`, or to the size of the first training image, whatever their
    proportions were (bilinear, with antialiasing). Images of one size stay as they are.

    Without test/ the test set is val/: then it is not one that validation has not seen, unless a
    `validation_size` takes the validation set from train/. See `folders.read` for what is read.

    Args:
        options: All but the seed count.
    """
    parts = ["train", "val"]
    if options.data_dir is not None and (options.data_dir / "test").is_dir():
        parts.append("test")
    files = folders.read(options, parts)
    if options.image_size is None:
        size = folders.first_size(files[0])
    else:
        size = (options.image_size, options.image_size)

    def image(contents: tf.Tensor, _: tf.Tensor | None) -> tf.Tensor:
        resized = tf.image.resize(folders.decode(contents), size, antialias=True)
        return tf.minimum(resized, 255) / 255  # Rounding may take it above.

    sources = [folders.source(some, image, size, memory.centred_one_hot) for some in files]
    return pipeline.Examples(
        training=sources[0],
        validation=sources[1],
        test=sources[-1],
        class_names=files[0].class_names,
    )
