"""Signatures: what a network takes."""

from typing import Any

import keras
import tensorflow as tf


class Signature:
    """What a network takes, and the names of its outputs.

    Args:
        network: A built Keras model.

    Attributes:
        network: The network.
        inputs: Symbols of its inputs, nested as it takes them. A model without a graph of layers
            takes what it was built with, as numbers of its compute dtype.
        output_names: Names of its outputs, by which Keras names losses; None if it has none.

    Raises:
        ValueError: If it is no model, or is not built.
    """

    def __init__(self, network: keras.Model):
        if not isinstance(network, keras.Model):
            raise ValueError(
                f"Expected a Keras model. Received: {network!r} of class {type(network).__name__}"
            )
        if not network.built:
            raise ValueError(
                "Expected a network with weights: give it an Input, or call build. "
                f"Received: {network.name!r}, which is not built"
            )
        self.network = network
        self.output_names: list[str] | None = None
        self._identity: Any = None
        if isinstance(network, keras.Sequential):
            (self.inputs,) = network.inputs
            self.output_names = keras.Model(network.inputs, network.outputs).output_names
        elif getattr(network, "inputs", None):
            self.inputs = network.input
            self.output_names = list(network.output_names)
        else:
            self.inputs = _built_with(network)
            return
        self._identity = keras.Model(self.inputs, keras.tree.flatten(self.inputs), name="inputs")

    def standardize(self, inputs: Any) -> list[tf.Tensor]:
        """Returns a user's inputs in the order, the ranks and the dtypes of the network's."""
        tensors = keras.tree.map_structure(tf.convert_to_tensor, inputs)
        if self._identity is not None:
            return keras.tree.flatten(self._identity(tensors))
        keras.tree.assert_same_structure(self.inputs, tensors)
        pairs = zip(keras.tree.flatten(tensors), keras.tree.flatten(self.inputs), strict=True)
        return [tf.cast(tensor, symbol.dtype) for tensor, symbol in pairs]


def _built_with(network: keras.Model) -> Any:
    """Returns symbols of the inputs that a model was built with."""
    config = network.get_build_config() or {}
    shapes = config.get("shapes_dict") or {"input": config.get("input_shape")}
    if len(shapes) != 1 or None in shapes.values():
        raise ValueError(
            "Expected a model that was built with one argument: call it on symbols, and wrap "
            "keras.Model(symbols, network(symbols)). "
            f"Received: {network.name!r}, which was built with {sorted(shapes)}"
        )
    (shape,) = shapes.values()
    return keras.tree.map_shape_structure(
        lambda shape: keras.KerasTensor((None, *shape[1:]), network.compute_dtype), shape
    )
