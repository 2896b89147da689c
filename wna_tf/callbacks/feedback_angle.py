"""Angles between weights and feedback weights, and between updates and gradients."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from wna_tf import internals, measures
from wna_tf.callbacks.diagnostic import BatchDiagnostic
from wna_tf.credit import reverse_mode


class FeedbackAngle(BatchDiagnostic):
    """How far the feedback weights are from the weights, and the updates from the gradients.

    Columns, angles in degrees:

    * `feedback_angle/<map>`, between the kernel of an affine map and the one that carries deltas
      back through it, for every map that deltas are carried through (none in
      `direct_feedback_alignment` and `readout`);
    * `update_angle/<map>`, between the rule's update of the kernel and backpropagation's on the
      same batch, in training mode, for every map that learns;
    * `gradient_norm/<map>`, the norm of backpropagation's update, relative to that at the initial
      weights on the same batch;
    * `network_update_angle` and `network_gradient_norm`, the same of all weights as one vector;
    * `network_update_angle_frozen`, its baseline of frozen blocks: between backpropagation's update
      and the part of it that is the head's, which `readout` makes. A rule whose angle is not under
      it lowers the loss no faster, by small steps of one length, than one that leaves the blocks as
      they are. A layer has no such baseline: an update of zero has no direction, and that of the
      head has the gradient's.

    An angle to a gradient that is rounding means nothing, so the angles of updates are left out
    where the gradient's relative norm is under `floor`. In float32 an update is off by some 1e-7 to
    1e-5 of its norm at initialization, which does not shrink with the error: at the default floor
    that turns it by about half a degree at most. A lower precision needs a higher floor. A gradient
    that is zero at the initial weights has no relative norm, and no floor.

    Costs one step of the rule and two of backpropagation an epoch.
    Source: Lillicrap et al. (2016).

    Args:
        x: Inputs to compare updates on, [batch, ...]; None for the first validation batch.
        y: Targets, [batch, ...].
        floor: The least norm of a gradient, relative to that at the initial weights, to which an
            angle is told.

    Raises:
        ValueError: If the floor is not from 0 to 1.
    """

    columns = (
        "feedback_angle",
        "update_angle",
        "gradient_norm",
        "network_update_angle",
        "network_update_angle_frozen",
        "network_gradient_norm",
    )
    passes_an_epoch = 9

    def __init__(self, x: Any = None, y: Any = None, floor: float = 1e-3):
        super().__init__(x, y)
        if not 0 <= floor < 1:
            raise ValueError(f"Expected 0 <= floor < 1. Received: floor={floor!r}")
        self.floor = floor

    def measure_batch(self, x: Any, y: Any) -> dict[str, tf.Tensor]:
        learner = self.model
        names = learner.program.affine_names
        moment = learner.moment()
        carriers = reverse_mode.carriers(learner.rule.feedback, moment, learner.trained)
        values = {
            f"feedback_angle/{name}": measures.angle(moment.kernel(step), carriers[step])
            for step, name in names.items()
            if carriers.get(step) is not None
        }
        variables = learner.trainable_variables
        initial = self._gradients(x, y, [moment.initial[id(variable)] for variable in variables])
        gradients = self._gradients(x, y, internals.values_of(variables))
        # Stateless: nothing is left in moving statistics, and all see the same random numbers.
        with keras.StatelessScope():
            updates = learner.updates(x, y)
        places = {id(variable): index for index, variable in enumerate(variables)}
        last = {id(weight) for step in learner.program.last_affine_maps for weight in step.weights}
        of_head = [
            gradient if id(variable) in last else tf.zeros_like(gradient)
            for variable, gradient in zip(variables, gradients, strict=True)
        ]
        norm, is_there = self._norm(gradients, initial)
        values |= {
            "network_update_angle": _where(is_there, measures.angle(updates, gradients)),
            "network_update_angle_frozen": _where(is_there, measures.angle(of_head, gradients)),
            "network_gradient_norm": norm,
        }
        for step, name in names.items():
            index = places.get(id(step.kernel))
            if index is not None:
                norm, is_there = self._norm(gradients[index], initial[index])
                angle = measures.angle(updates[index], gradients[index])
                values |= {
                    f"update_angle/{name}": _where(is_there, angle),
                    f"gradient_norm/{name}": norm,
                }
        return values

    def _gradients(self, x: Any, y: Any, weights: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Returns backpropagation's updates at some values of the trainable variables."""
        learner = self.model
        pairs = list(zip(learner.trainable_variables, weights, strict=True))
        with keras.StatelessScope(pairs, collect_losses=True), tf.GradientTape() as tape:
            tape.watch(weights)
            loss = learner.compute_loss(x, y, learner.network(x, training=True), training=True)
        return tape.gradient(loss, weights, unconnected_gradients="zero")

    def _norm(self, gradient: Any, initial: Any) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the norm relative to the initial one, and whether it is above the floor."""
        norm = measures.norm(gradient) / measures.norm(initial)
        return norm, norm >= self.floor


def _where(is_there: tf.Tensor, angle: tf.Tensor) -> tf.Tensor:
    """Returns an angle, or NaN."""
    return tf.where(is_there, angle, tf.constant(math.nan, angle.dtype))
