"""Feed-forward networks: multilayer perceptrons and the convolutional networks of the paper."""

from collections.abc import Sequence

import keras

from wna_tf import layers


def _block(
    x: keras.KerasTensor,
    affine: keras.layers.Layer,
    normalize: bool,
    statistics: str,
    synchronized: bool,
    activation: str,
) -> keras.KerasTensor:
    """Applies an affine map, its normalization and its activation."""
    x = affine(x)
    if normalize:
        x = layers.BatchStatisticsNormalization(statistics=statistics, synchronized=synchronized)(x)
    return keras.layers.Activation(activation)(x)


def check_sizes(**sizes: int) -> None:
    """Raises a ValueError unless every size is a positive integer."""
    for name, size in sizes.items():
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ValueError(f"Expected {name} to be a positive integer. Received: {name}={size!r}")


def cnn(
    input_shape: Sequence[int],
    num_classes: int,
    width: int,
    strides: Sequence[int],
    parameterization: str = "ntk",
    normalize: bool = True,
    activation: str = "relu",
    statistics: str = "moving",
    use_bias: bool = True,
    synchronized: bool = False,
) -> keras.Model:
    """Builds a convolutional network of Boopathy and Fiete (2022).

    Blocks of a 3x3 convolution (SAME padding), batch-statistics normalization and an activation,
    all of one width; then global average pooling and a dense head. Inputs are
    [batch, height, width, channels], outputs [batch, num_classes].

    Args:
        input_shape: Height, width and channels of an image.
        num_classes: Number of outputs.
        width: Channels of every block.
        strides: Stride of each block; their number is the number of blocks.
        parameterization: `"ntk"` or `"standard"`.
        normalize: Whether blocks normalize.
        activation: Name of the activation.
        statistics: Statistics of the normalization at inference: `"moving"` or `"batch"`.
        use_bias: Whether blocks and head add a bias.
        synchronized: Whether replicas normalize by the statistics of all.

    Returns:
        A functional Keras model.

    Raises:
        ValueError: If a size is not a positive integer, or a name is unknown.
    """
    check_sizes(width=width, num_classes=num_classes)
    if len(input_shape) != 3:
        raise ValueError(
            f"Expected images of height, width and channels. Received: input_shape={input_shape}"
        )
    x = inputs = keras.Input(tuple(input_shape), name="images")
    for stride in strides:
        check_sizes(stride=stride)
        convolution = layers.Conv2D(
            width, 3, parameterization, strides=stride, padding="same", use_bias=use_bias
        )
        x = _block(x, convolution, normalize, statistics, synchronized, activation)
    x = keras.layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(num_classes, parameterization, use_bias=use_bias, name="head")(x)
    return keras.Model(inputs, outputs, name="cnn")


def mlp(
    input_shape: Sequence[int],
    num_classes: int,
    width: int,
    depth: int = 3,
    parameterization: str = "ntk",
    normalize: bool = True,
    activation: str = "relu",
    statistics: str = "moving",
    use_bias: bool = True,
    synchronized: bool = False,
) -> keras.Model:
    """Builds a multilayer perceptron of `depth` hidden blocks of one width and a dense head.

    Inputs are [batch, *input_shape] and are flattened, outputs [batch, num_classes].

    Args:
        input_shape: Shape of one example.
        num_classes: Number of outputs.
        width: Units of every hidden block.
        depth: Number of hidden blocks; 0 is a linear model.
        parameterization: `"ntk"` or `"standard"`.
        normalize: Whether hidden blocks normalize.
        activation: Name of the activation.
        statistics: Statistics of the normalization at inference: `"moving"` or `"batch"`.
        use_bias: Whether blocks and head add a bias.
        synchronized: Whether replicas normalize by the statistics of all.

    Returns:
        A functional Keras model.

    Raises:
        ValueError: If a size is not a positive integer, or a name is unknown.
    """
    check_sizes(width=width, num_classes=num_classes)
    x = inputs = keras.Input(tuple(input_shape), name="images")
    x = keras.layers.Flatten()(x)
    for _ in range(depth):
        dense = layers.Dense(width, parameterization, use_bias=use_bias)
        x = _block(x, dense, normalize, statistics, synchronized, activation)
    outputs = layers.Dense(num_classes, parameterization, use_bias=use_bias, name="head")(x)
    return keras.Model(inputs, outputs, name="mlp")


def two_layer(
    input_shape: Sequence[int],
    num_outputs: int,
    width: int,
    parameterization: str = "ntk",
    activation: str = "relu",
) -> keras.Model:
    """Builds the two-layer network of Song, Xu and Lafferty (2021).

    `f(x) = sum_r beta_r phi(w_r . x / sqrt(d)) / sqrt(p)`, without biases: all that theory asks
    of a network. Inputs are [batch, *input_shape] of size d, outputs [batch, num_outputs].

    Args:
        input_shape: Shape of one example.
        num_outputs: Number of outputs.
        width: Number p of hidden units.
        parameterization: `"ntk"` or `"standard"`.
        activation: Name of the activation `phi`; `"linear"` for a linear network.

    Returns:
        A functional Keras model.

    Raises:
        ValueError: If a size is not a positive integer, or a name is unknown.
    """
    return mlp(
        input_shape,
        num_outputs,
        width,
        depth=1,
        parameterization=parameterization,
        normalize=False,
        activation=activation,
        use_bias=False,
    )
