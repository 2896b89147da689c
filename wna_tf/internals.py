"""All that we use of what Keras and TensorFlow keep to themselves, behind names of our own.

None of it has a public way. tests/internals_test.py tells what a new version has moved.
"""

import sys
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend import AutocastScope
from tensorflow.python.eager import forwardprop
from tensorflow.python.ops.resource_variable_ops import ResourceVariable


def keep_tangents_exact() -> None:
    """Lets forward accumulators write tangents for the shapes at hand, always.

    From the 33rd shape of an operation on, one writes the tangent for any shapes. That form runs
    its products just to know their shapes: twice the convolutions of a step, in any process that
    builds networks of many widths. `tf.autodiff` has no option for it.
    """
    forwardprop._TRACE_COUNT_LIMIT = sys.maxsize


def logits_of(output: tf.Tensor) -> tf.Tensor | None:
    """Returns the logits that Keras keeps with what a softmax or sigmoid puts out, or None.

    Its cross-entropies look at them instead, and nothing public tells that they do.
    """
    return getattr(output, "_keras_logits", None)


def set_logits(output: tf.Tensor, logits: tf.Tensor) -> None:
    """Lets Keras's cross-entropies look through an output at some logits, see `logits_of`."""
    output._keras_logits = logits


def mask_of(output: tf.Tensor) -> tf.Tensor | None:
    """Returns the mask that Keras attached to what a layer put out, [batch, ...], or None."""
    return getattr(output, "_keras_mask", None)


def set_mask(output: tf.Tensor, mask: tf.Tensor) -> None:
    """Attaches a mask to an output, for Keras's layers, losses and metrics to see."""
    output._keras_mask = mask


def values_of(variables: Iterable[keras.Variable]) -> list[tf.Tensor]:
    """Returns values of variables in their own dtype, in the call of a layer too.

    There Keras casts what is read to the dtype that the layer computes in, but for variables whose
    layer has asked it not to, and nothing public tells which those are.
    """
    with AutocastScope(None):
        return [tf.convert_to_tensor(variable.value) for variable in variables]


def draw_dropout(cell: keras.layers.Layer, ones: tf.Tensor, rate: float) -> list[tf.Tensor]:
    """Returns what a recurrent cell multiplies with in training, drawn with its own seeds.

    Its public way keeps what it drew until it is told to forget.

    Args:
        cell: A cell with dropout.
        ones: A tensor of ones of the shape of what is dropped.
        rate: The share that is dropped.
    """
    drawn = cell._create_dropout_mask(ones, rate)
    return list(drawn) if isinstance(drawn, list | tuple) else [drawn]


def make_local_variable(value: np.ndarray | tf.Tensor | Callable[[], tf.Tensor]) -> tf.Variable:
    """Returns a variable of this process alone, within the scope of a strategy too.

    `tf.Variable` is one of the strategy there, with a copy on every replica, and a scope is left
    by its end alone.

    Args:
        value: The initial value, or what makes it.
    """
    return ResourceVariable(value, trainable=False)


def validation_data(model: keras.Model) -> tf.data.Dataset | None:
    """Returns the batches that `fit` validates with at present, or None.

    A callback is not told `validation_data`, and what `fit` takes for it is of many kinds.
    """
    epochs: Any = getattr(model, "_eval_epoch_iterator", None)
    return None if epochs is None else epochs.data_adapter.get_tf_dataset()
