"""The engine: turns any rule into updates, by transposing Jacobian-vector products map by map.

For tangents `T` of the weights, the tangent of block l is

    dz_l = A_l(dh_{l-1}; V_l) + A_l(p_{l-1}; T_l),    dh_l = J_phi dz_l,

from `dh_0 = 0` to `df`. The update is the transpose of `T -> df`, applied to the output error.
Both affine terms are forward-accumulator Jacobian-vector products, transposed one map at a time:
so no tangent is ever computed, since no transpose needs its value.
Source: Boopathy and Fiete (2022), section 3.
"""

from collections.abc import Mapping, Sequence

import tensorflow as tf

from wna_tf.feedback import Feedback
from wna_tf.kinds import Affine, Delta, Value
from wna_tf.program import Evaluation, Program, Weights


def transpose(
    program: Program,
    feedback: Feedback,
    own: Mapping[Affine, tf.Tensor],
    current: Weights,
    initial: Weights,
    derivative: Evaluation,
    activity: Evaluation,
    errors: Sequence[tf.Tensor],
) -> dict[int, tf.Tensor]:
    """Applies the transposed Jacobian-vector product of a rule to the output error.

    Args:
        program: The network.
        feedback: Source of the feedback weights.
        own: Feedback weights that the source owns.
        current: Current weights.
        initial: Weights at initialization.
        derivative: The network in which derivatives are taken.
        activity: The network whose presynaptic activity is read.
        errors: Derivative of the loss by each output, [batch, ...], or None.

    Returns:
        The update direction of every weight that gets one, by the `id` of its variable.
    """
    carriers = {
        step: feedback.kernel(
            step, current[id(step.kernel)], initial[id(step.kernel)], own.get(step)
        )
        for step in program.affine_maps
        if program.learned.issuperset(step.inputs)
    }
    deltas: dict[Value, Delta] = {}
    updates: dict[int, tf.Tensor] = {}

    def receive(place: Value, delta: Delta | None) -> None:
        if delta is not None and place in program.learned:
            if place in deltas:
                delta = Delta(*map(tf.add, deltas[place], delta))
            deltas[place] = delta

    for place, error in zip(program.outputs, errors, strict=True):
        if error is not None:  # No loss is asked of this output.
            receive(place, Delta(error, error))
    for place, projection in feedback.project(program, own, errors).items():
        delta = tf.cast(projection, derivative.values[place.index].dtype)
        receive(place, Delta(delta, delta))

    for step in reversed(program.maps):
        received = [deltas.pop(place, None) for place in step.outputs]
        if not any(received):
            continue
        below, learned = step.transpose(
            derivative.records[step], activity.records[step], received, carriers.get(step)
        )
        for place, delta in zip(step.inputs, below, strict=True):
            receive(place, delta)
        for variable, update in zip(step.weights, learned, strict=True):
            if update is not None:
                key = id(variable)
                updates[key] = updates[key] + update if key in updates else update
    return updates
