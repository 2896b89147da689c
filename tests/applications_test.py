"""Networks that nobody here wrote: fact 1, and training by every kind of rule."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers as kl
from sklearn.datasets import load_digits

import wna_tf
from tests.network_cases import Case, check_first_step
from tests.samples import sample

RULES = ("backprop", "align_zero", "align_ada", "align_prop", "feedback_alignment")
SHAPE, CLASSES, BATCH = (32, 32, 3), 5, 16


pytestmark = pytest.mark.usefixtures("double_precision")


def vision_transformer():
    inputs = keras.Input(SHAPE)
    x = kl.Reshape((16, 24))(kl.Conv2D(24, 8, 8)(inputs))
    x = x + kl.Embedding(16, 24)(keras.ops.arange(16))
    for _ in range(2):
        y = kl.LayerNormalization()(x)
        x = x + kl.MultiHeadAttention(3, 8)(y, y)
        y = kl.Dense(48, "gelu")(kl.LayerNormalization()(x))
        x = x + kl.Dense(24)(y)
    x = kl.GlobalAveragePooling1D()(kl.LayerNormalization()(x))
    return keras.Model(inputs, kl.Dense(CLASSES)(x))


def application(name, shape=SHAPE):
    return lambda: getattr(keras.applications, name)(
        weights=None, input_shape=shape, classes=CLASSES, classifier_activation=None
    )


# Which take no images as small as the others do.
SHAPES = {"InceptionResNetV2": (75, 75, 3), "InceptionV3": (75, 75, 3), "Xception": (71, 71, 3)}
EVERY = sorted(name for name, f in vars(keras.applications).items() if callable(f))

NETWORKS = {
    name: application(name)
    for name in ("VGG16", "MobileNetV2", "EfficientNetB0", "ResNet50", "DenseNet121")
} | {"vision_transformer": vision_transformer}

ADAM = functools.partial(keras.optimizers.Adam, 1e-4)
OPTIMIZERS = {"vision_transformer": functools.partial(keras.optimizers.SGD, 1e-4, 0.9)}


QUICK = ("vision_transformer",)  # The others take a minute or more each.


@pytest.mark.parametrize("name", sample(NETWORKS, QUICK))
def test_rules_begin_with_backprop_and_lower_the_loss(name):
    network, make_optimizer = NETWORKS[name](), OPTIMIZERS.get(name, ADAM)
    digits = load_digits(n_class=CLASSES)
    x = np.repeat(tf.image.resize(digits.images[:BATCH, ..., None] / 16, SHAPE[:2]), 3, -1)
    x = x * 255 if "Efficient" in name else x
    y = np.eye(CLASSES)[digits.target[:BATCH]] - 1 / CLASSES
    state, first_updates = [variable.numpy() for variable in network.variables], {}
    for rule in RULES:
        for variable, value in zip(network.variables, state, strict=True):  # Seeds too.
            variable.assign(value)
        learner = wna_tf.Learner(network, rule)
        # Eagerly: writing the graphs takes longer than these few steps.
        learner.compile(make_optimizer(), "mse", run_eagerly=True)
        losses = []
        for _ in range(3):
            learner.reset_metrics()
            losses.append(learner.train_on_batch(x, y, return_dict=True)["loss"])
            # After its first step, the optimizer's momentum is the update times a constant.
            momenta = [v for v in learner.optimizer.variables if v.path.endswith("momentum")]
            first_updates.setdefault(rule, np.concatenate([np.ravel(v) for v in momenta]))
        assert min(losses[1:]) < losses[0], (rule, losses)
    backprop = first_updates["backprop"]
    assert np.linalg.norm(backprop) > 0
    for rule in RULES[1:4]:
        difference = np.linalg.norm(first_updates[rule] - backprop)
        assert difference < 1e-9 * np.linalg.norm(backprop), rule


@pytest.mark.parametrize("name", sample(EVERY, ["MobileNet"]))
def test_every_application_begins_with_the_gradient(name):
    shape = SHAPES.get(name, SHAPE)
    rng = np.random.default_rng(0)
    check_first_step(
        Case(
            application(name, shape),
            rng.uniform(0, 255, size=(2, *shape)),
            rng.normal(size=(2, CLASSES)),
        )
    )
