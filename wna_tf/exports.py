"""What a network predicts, in formats for programs without Keras."""

import pathlib
from collections.abc import Callable
from typing import Any

import keras

from wna_tf import files, saved_model

_FILES = ("onnx", "litert")  # Those that Keras writes as one file.
FORMATS = ("tf_saved_model", *_FILES)


def write(
    network: keras.Model,
    function: Callable[..., Any],
    path: pathlib.Path,
    format: str,
    input_signature: Any = None,
    **options: Any,
) -> None:
    """Writes a function with the inputs and outputs of a network; whole, or not at all.

    Args:
        network: A built functional or sequential network.
        function: The network, or what stands in for it, see `saved_model.write`.
        path: What to write. What is there of the same format is replaced.
        format: One of `FORMATS`.
        input_signature: Shapes and dtypes of the inputs, nested as the network's; None for the
            network's, with batches of any size.
        **options: What Keras passes to the converter of a format.

    Raises:
        ValueError: If the format is none of these or does not hold that function, or `path` is
            something else.
        ImportError: If the package of a format is not installed.
        OSError: If it cannot be written.
    """
    if format not in FORMATS:
        raise ValueError(
            f"Expected a format, one of {', '.join(FORMATS)}; for others of Keras's there is the "
            f"export of the network itself. Received: format={format!r}"
        )
    if format not in _FILES:
        if options:
            raise ValueError(
                f"Expected no options for format={format!r}. Received: {', '.join(options)}"
            )
        saved_model.write(network, function, path, input_signature)
        return
    if function is not network:
        raise ValueError(
            "Expected format='tf_saved_model' for what is not the network alone, such as the "
            f"linearized network. Received: format={format!r}"
        )
    if input_signature is None:
        input_signature = [saved_model.pack(network, saved_model.input_specs(network))]
    path = files.expand(path).resolve()
    files.check_own(path, pathlib.Path.is_file, f"file for {format}")
    files.make_directory(path.parent)
    with files.replacing(path) as beside:
        keras.Model.export(
            network,
            str(beside),
            format=format,
            verbose=False,  # It would name the file beside.
            input_signature=input_signature,
            **options,
        )
