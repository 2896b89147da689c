"""The network linearized at its initial weights."""

from typing import Any

import keras

from wna_tf.graph.errors import attach_masks


def outputs(learner: keras.Model, x: Any, training: bool = False) -> Any:
    """Returns the outputs of the linearized network, `f_0 + J(theta_0) (theta_t - theta_0)`.

    The Jacobian passes through the moments of a batch, which moving statistics cannot stand in
    for. So the linearized network normalizes by the statistics of the batch that it is given, in
    inference too: there a prediction depends on the other examples of its batch. Everything else
    (dropout) is in inference mode then. Nothing is changed: neither moving statistics nor seeds.
    Source: Lee et al. (2019), "Wide neural networks of any depth evolve as linear models",
    equation 4.

    Args:
        learner: A `Learner`, of any rule.
        x: Inputs, [batch, ...].
        training: Whether layers are in training mode.

    Returns:
        What the network returns, [batch, ...].
    """
    networks = learner.evaluate_networks(x, training)
    outputs = networks.outputs("linearized")
    attach_masks(outputs, networks.masks("linearized"))
    return networks.program.pack(outputs)
