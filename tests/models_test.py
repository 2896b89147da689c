"""Models: shapes, order of weights, and refusals."""

import numpy as np
import pytest

from wna_tf import models
from wna_tf.experiments import build
from wna_tf.experiments.config import Config


def test_cnn_has_a_kernel_and_a_bias_for_each_block():
    network = models.cnn((28, 28, 1), 10, 12, strides=(1, 2, 2))
    shapes = [tuple(variable.shape) for variable in network.trainable_variables]
    expected = [(3, 3, 1, 12), (12,), (3, 3, 12, 12), (12,), (3, 3, 12, 12), (12,), (12, 10), (10,)]
    assert shapes == expected
    assert network.output_shape == (None, 10)
    norms = [layer for layer in network.layers if "normalization" in layer.name]
    assert [tuple(layer.moving_mean.shape) for layer in norms] == [
        (28, 28, 12),
        (14, 14, 12),
        (7, 7, 12),
    ]


def test_mlp_without_normalization_or_hidden_blocks():
    network = models.mlp((8, 8, 1), 10, 5, depth=2, normalize=False)
    shapes = [tuple(variable.shape) for variable in network.weights]
    assert shapes == [(64, 5), (5,), (5, 5), (5,), (5, 10), (10,)]
    assert len(models.mlp((8, 8, 1), 10, 5, depth=0).weights) == 2


def test_two_layer_network_is_its_formula():
    network = models.two_layer((6,), 1, 20, activation="tanh")
    w, beta = (variable.numpy() for variable in network.weights)
    x = np.random.default_rng(0).standard_normal((5, 6)).astype("float32")
    expected = np.tanh(x @ w / np.sqrt(6)) @ beta / np.sqrt(20)
    np.testing.assert_allclose(network(x), expected, rtol=1e-5)


def test_build_takes_what_the_model_needs():
    network = build.network(Config(model="cnn", width=4, strides=(2,)), (8, 8, 1), 3)
    assert network.layers[1].strides == (2, 2)
    assert network.layers[1].filters == 4


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: models.cnn((8, 8, 1), 10, 0, (1,)), "width=0"),
        (lambda: models.cnn((8, 8, 1), 10, 4, (1, 0)), "stride=0"),
        (lambda: models.cnn((8, 8), 10, 4, (1,)), r"input_shape=\(8, 8\)"),
        (lambda: models.mlp((8,), 2.5, 4), "num_classes=2.5"),
        (
            lambda: models.get("transformer"),
            "one of cnn, .*, two_layer. Received: model='transformer'",
        ),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()
