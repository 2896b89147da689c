"""SavedModels: what a network predicts, for any program that has TensorFlow."""

import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from wna_tf import files

SIGNATURE = "serving_default"
OUTPUT = "logits"
_FILE = "saved_model.pb"


class Served(NamedTuple):
    """A function of one tensor, as a SavedModel serves it.

    Attributes:
        call: Maps inputs [batch, ...] to outputs [batch, ...].
        inputs: What it takes.
        outputs: What it returns.
    """

    call: Callable[[tf.Tensor], tf.Tensor]
    inputs: tf.TensorSpec
    outputs: tf.TensorSpec


def write(
    network: keras.Model,
    function: Callable[..., Any],
    directory: pathlib.Path,
    input_signature: Any = None,
) -> None:
    """Writes a function with the inputs and outputs of a network as a SavedModel.

    It is served as `serve` and as the signature `serving_default`. Inputs have the network's names
    for them. One output is named `logits`; several have the names of the layers, or the keys, that
    they have in the network.

    Args:
        network: A built functional or sequential network.
        function: The network, or what stands in for it: `function(inputs, training=False)`, each
            [batch, ...] and nested as the network's; the batch may be of any size.
        directory: Directory to write. A SavedModel that is there is replaced.
        input_signature: Shapes and dtypes of the inputs, such as `keras.InputSpec`, nested as the
            network's; None for the network's, with batches of any size.

    Raises:
        ValueError: If `directory` is something else than a SavedModel or an empty directory, or
            the signature has another number of inputs.
        OSError: If it cannot be written.
    """
    directory = files.expand(directory).resolve()
    check_own(directory)
    names = _output_names(network)
    specs = input_specs(network)
    if input_signature is not None:
        given = keras.tree.flatten(input_signature)
        if len(given) != len(specs):
            raise ValueError(
                f"Expected an input signature of {len(specs)} inputs. Received: {len(given)}"
            )
        specs = [
            tf.TensorSpec(some.shape, some.dtype or spec.dtype, spec.name)
            for some, spec in zip(given, specs, strict=True)
        ]

    @tf.function(input_signature=specs, autograph=False)
    def serve(*inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = function(pack(network, inputs), training=False)
        return dict(zip(names, keras.tree.flatten(outputs), strict=True))

    # Of all variables those that it reads, each once: Keras's archive would hold them twice.
    variables = list(serve.get_concrete_function().graph.variables)
    archive = tf.train.Checkpoint(serve=serve, variables=variables)
    files.make_directory(directory.parent)
    with files.replacing(directory) as beside:
        try:
            signatures = {"serve": serve, SIGNATURE: serve}
            tf.saved_model.save(archive, str(beside), signatures=signatures)
        except tf.errors.OpError as error:  # A full disk, say.
            raise OSError(
                f"Expected to write a SavedModel. Received: {directory}: {first_line(error)}"
            ) from error


def check_own(directory: pathlib.Path) -> None:
    """Raises a ValueError if something else than a SavedModel is in the way of one."""
    files.check_own(directory, is_saved_model, "directory for the SavedModel")


def is_saved_model(directory: pathlib.Path) -> bool:
    """Returns whether a directory holds a SavedModel."""
    return (directory / _FILE).is_file()


def read(directory: pathlib.Path) -> Served:
    """Reads the function that a SavedModel serves, whoever wrote it.

    Args:
        directory: A SavedModel whose signature `serving_default` has one input, and either one
            output or one named `logits`; the batch may be of any size.

    Raises:
        ValueError: If it is damaged, or has no such signature.
    """
    try:
        loaded = tf.saved_model.load(str(directory))
    except Exception as error:  # Of every kind, from protocol buffers to TensorFlow's own.
        raise ValueError(
            f"Expected a SavedModel that TensorFlow reads. Received: {directory}: "
            f"{first_line(error)}"
        ) from error
    if SIGNATURE not in loaded.signatures:
        raise ValueError(
            f"Expected a SavedModel with the signature {SIGNATURE!r}. "
            f"Received: {directory}, with {', '.join(loaded.signatures) or 'no signature'}"
        )
    function = loaded.signatures[SIGNATURE]
    inputs, outputs = function.structured_input_signature[1], function.structured_outputs
    output = OUTPUT if OUTPUT in outputs else next(iter(outputs), None)
    if len(inputs) != 1 or (output != OUTPUT and len(outputs) != 1):
        raise ValueError(
            f"Expected a SavedModel with one input and one output, or one named {OUTPUT!r}. "
            f"Received: {directory}, with inputs {sorted(inputs)} and outputs {sorted(outputs)}"
        )
    ((name, spec),) = inputs.items()
    if spec.shape.rank and spec.shape[0] is not None:
        raise ValueError(
            "Expected a SavedModel that takes batches of any size. "
            f"Received: {directory}, whose input is {spec.shape}"
        )

    def call(x: tf.Tensor) -> tf.Tensor:
        # The function lives as long as what it was loaded from.
        return loaded.signatures[SIGNATURE](**{name: tf.cast(x, spec.dtype)})[output]

    return Served(call, spec, outputs[output])


def input_specs(network: keras.Model) -> list[tf.TensorSpec]:
    """Returns what a network takes, by its names for that, with batches of any size."""
    return [
        tf.TensorSpec((None, *x.shape[1:]), x.dtype, _identifier(x.name)) for x in network.inputs
    ]


def pack(network: keras.Model, inputs: Sequence[Any]) -> Any:
    """Returns inputs nested as the network takes them."""
    if isinstance(network, keras.Sequential):
        return inputs[0]
    return keras.tree.pack_sequence_as(network.input, list(inputs))


def _output_names(network: keras.Model) -> list[str]:
    """Returns a name for each output, in the order of the network's."""
    if len(network.outputs) == 1:
        return [OUTPUT]
    if isinstance(network.output, dict) and len(network.output) == len(network.outputs):
        return [_identifier(key) for key in sorted(network.output)]  # As they are flattened.
    names = [_identifier(name) for name in network.output_names]
    return [
        # A layer with several outputs gives each of them its name.
        f"{name}_{names[: i + 1].count(name)}" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
