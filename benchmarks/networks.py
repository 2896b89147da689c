"""Which of KerasHub's backbones are taken, as a table.

    python -m benchmarks.networks

A tiny backbone of every family, under a small head, is wrapped: how many kernels feedback weights
stand in for, how many other variables learn by their derivatives; or why it is refused.
"""

import argparse
import gc
import pathlib
from typing import Any

import keras

import wna_tf
from benchmarks import cases
from tests import keras_hub_backbones as hub


def row(name: str) -> dict[str, Any]:
    """Returns what becomes of a backbone's weights."""
    network = hub.with_head(hub.BACKBONES[name]())
    family = name.removesuffix("Backbone")
    try:
        program = wna_tf.Learner(network, "feedback_alignment").program
    except ValueError as refusal:
        reason = " ".join(str(refusal).partition("Received: ")[2].split())
        return {"family": family, "kernels": "refused", "other weights": reason}
    kernels = {id(step.kernel) for step in program.affine_maps}
    trained = {id(variable) for variable in network.trainable_variables}
    others = trained & program.variables.keys() - kernels
    return {"family": family, "kernels": len(kernels & trained), "other weights": len(others)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=pathlib.Path, help="file to write the rows to")
    options = parser.parse_args()
    rows = []
    for name in sorted(hub.BACKBONES, key=str.lower):
        rows.append(row(name))
        keras.backend.clear_session()
        gc.collect()
    cases.write(rows, options.json)


if __name__ == "__main__":
    main()
