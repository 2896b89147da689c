"""Feedback by the network's own weights, or by none."""

import tensorflow as tf

from wna_tf.feedback.context import Moment
from wna_tf.feedback.source import Feedback
from wna_tf.graph.operators import Affine


class Current(Feedback):
    """The current weights `W(t)`: backpropagation."""

    name = "current"

    def kernel(self, step: Affine, moment: Moment) -> tf.Tensor:
        return moment.kernel(step)


class Initial(Feedback):
    """The weights at initialization `W(0)`: the align rules."""

    name = "initial"

    def kernel(self, step: Affine, moment: Moment) -> tf.Tensor:
        return moment.initial_kernel(step)


class Nothing(Feedback):
    """No feedback: only the last affine map learns.

    That of a recurrent layer is one step of it, `x_t W + h_{t-1} R`: if it is the last one, both
    kernels learn, each step from what it puts out, and nothing is carried from step to step.
    """

    name = "none"
    carries = False
    reaches = False
