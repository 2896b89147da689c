"""Two logical devices for every test, so that strategies have something to distribute over."""

import pathlib

import keras
import pytest
import tensorflow as tf

from wna_tf import strategies

(_CPU,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(_CPU, [tf.config.LogicalDeviceConfiguration()] * 2)

ROOT = pathlib.Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(0)


@pytest.fixture
def double_precision():
    """Layers and data in float64."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="session")
def mirrored():
    # The one of every run: TensorFlow mixes up the collectives of several in one process.
    return strategies.get("mirrored")
