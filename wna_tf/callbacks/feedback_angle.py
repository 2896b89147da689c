"""Angles between weights and feedback weights, and between updates and gradients."""

from typing import Any

import keras
import tensorflow as tf

from wna_tf import measures
from wna_tf.callbacks.diagnostic import BatchDiagnostic
from wna_tf.credit import reverse_mode


class FeedbackAngle(BatchDiagnostic):
    """How far the feedback weights are from the weights, and the updates from the gradients.

    Columns, in degrees:

    * `feedback_angle/<map>`, between the kernel of an affine map and the one that carries deltas
      back through it, for every map that deltas are carried through (none in
      `direct_feedback_alignment` and `readout`);
    * `update_angle/<map>`, between the rule's update of the kernel and backpropagation's on the
      same batch, in training mode, for every map that learns.

    Costs one step of the rule and one of backpropagation an epoch.
    Source: Lillicrap et al. (2016).

    Args:
        x: Inputs to compare updates on, [batch, ...]; None for the first validation batch.
        y: Targets, [batch, ...].
    """

    columns = ("feedback_angle", "update_angle")
    passes_an_epoch = 6

    def measure_batch(self, x: Any, y: Any) -> dict[str, tf.Tensor]:
        learner = self.model
        names = learner.program.affine_names
        moment = learner.moment()
        carriers = reverse_mode.carriers(learner.rule.feedback, moment, learner.trained)
        angles = {
            f"feedback_angle/{name}": measures.angle(moment.kernel(step), carriers[step])
            for step, name in names.items()
            if carriers.get(step) is not None
        }
        # Stateless: nothing is left in moving statistics, and both see the same random numbers.
        with keras.StatelessScope():
            with tf.GradientTape() as tape:
                loss = learner.compute_loss(x, y, learner.network(x, training=True), training=True)
            updates = learner.updates(x, y)
        variables = learner.trainable_variables
        gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
        by_variable = {
            id(variable): measures.angle(update, gradient)
            for variable, update, gradient in zip(variables, updates, gradients, strict=True)
        }
        return angles | {
            f"update_angle/{name}": by_variable[id(step.kernel)]
            for step, name in names.items()
            if id(step.kernel) in by_variable
        }
