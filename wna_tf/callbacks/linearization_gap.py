"""The distance of a network from its linearization."""

from typing import Any

import tensorflow as tf

from wna_tf import measures
from wna_tf.callbacks.diagnostic import BatchDiagnostic


class LinearizationGap(BatchDiagnostic):
    """How far the network is from its linearization at the initial weights.

    Column `linearization_gap`: see `measures.linearization_gap`; left out while the outputs are
    those at initialization. The network, the linearized one and the initial one are compared in
    training mode, so that the linearization passes through the moments of the batch, and with the
    same random numbers, so that dropout drops the same units in all three.

    Costs about five forward passes of one batch an epoch.

    Args:
        x: Inputs, [batch, ...]; None for the first validation batch.
        y: Not used.
    """

    columns = ("linearization_gap",)
    passes_an_epoch = 5

    def measure_batch(self, x: Any, y: Any) -> dict[str, tf.Tensor]:
        networks = self.model.evaluate_networks(x)
        gap = measures.linearization_gap(
            networks["current"].outputs, networks.outputs("linearized"), networks["initial"].outputs
        )
        return {"linearization_gap": gap}
