"""The engine: turns any rule into updates, by transposing Jacobian-vector products map by map.

For tangents `T` of the weights, the tangent of block l is

    dz_l = A_l(dh_{l-1}; V_l) + A_l(p_{l-1}; T_l),    dh_l = J_phi dz_l,

from `dh_0 = 0` to `df`. The update is the transpose of `T -> df`, applied to the output error.
Both affine terms are forward-accumulator Jacobian-vector products, transposed one map at a time:
so no tangent is ever computed, since no transpose needs its value.
Source: Boopathy and Fiete (2022), section 3.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from wna_tf.feedback import Feedback
from wna_tf.program import Affine, Evaluation, Local, Normalization, Program, Value, Weights


class Delta(NamedTuple):
    """What arrives at a value from above.

    The two differ between an affine map and its normalization, where a rule takes derivative and
    activity from different networks: what is carried passes through the normalization of the
    former, what is learned through that of the latter.

    Attributes:
        carried: Goes on to the maps below, [batch, ...].
        learned: Makes the update of the weights, [batch, ...].
    """

    carried: tf.Tensor
    learned: tf.Tensor


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
        errors: Derivative of the loss by each output, [batch, ...].

    Returns:
        The update direction of every weight that gets one, by the `id` of its variable.
    """
    deltas: dict[Value, Delta] = {}
    updates: dict[int, tf.Tensor] = {}

    def receive(value: Value, delta: Delta) -> None:
        if value in program.learned and delta.carried is not None:
            if value in deltas:
                delta = Delta(*map(tf.add, deltas[value], delta))
            deltas[value] = delta

    for value, error in zip(program.outputs, errors, strict=True):
        receive(value, Delta(error, error))
    for value, delta in feedback.project(program, own, errors).items():
        receive(value, Delta(delta, delta))

    for step in reversed(program.maps):
        received = [deltas.pop(value, None) for value in step.outputs]
        if not any(received):
            continue
        if isinstance(step, Affine):
            key, kernel = id(step.kernel), None
            if program.learned.issuperset(step.inputs):
                kernel = feedback.kernel(current[key], initial[key], own.get(step))
            below, learned = _transpose_affine(step, kernel, derivative, activity, *received)
        else:
            below, learned = _transpose_local(step, derivative, activity, received)
        for value, delta in zip(step.inputs, below, strict=True):
            receive(value, delta)
        for variable, update in zip(step.weights, learned, strict=True):
            if update is not None:
                key = id(variable)
                updates[key] = updates[key] + update if key in updates else update
    return updates


def _transpose_affine(
    step: Affine,
    kernel: tf.Tensor | None,
    derivative: Evaluation,
    activity: Evaluation,
    delta: Delta,
) -> tuple[list[Delta], list[tf.Tensor]]:
    """Transposes `dx, T -> A(dx; V), A(p; T)`; nothing goes on below if `V` is None."""
    (x,), (presynaptic,) = derivative.inputs(step), activity.inputs(step)
    weights = activity.weights(step)
    dx, tangents = tf.zeros_like(x), [tf.zeros_like(weight) for weight in weights]
    carried = None
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(tangents)
        with tf.autodiff.ForwardAccumulator(weights, tangents) as accumulator:
            z = step.apply(presynaptic, *weights)
        learned = accumulator.jvp(z)
    updates = tape.gradient(learned, tangents, output_gradients=delta.learned)
    if kernel is not None:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(dx)
            with tf.autodiff.ForwardAccumulator(x, dx) as accumulator:
                z = step.apply(x, kernel)
            carried = accumulator.jvp(z)
        carried = tape.gradient(carried, dx, output_gradients=delta.carried)
    return [Delta(carried, carried)], updates


def _transpose_local(
    step: Local, derivative: Evaluation, activity: Evaluation, received: Sequence[Delta | None]
) -> tuple[list[Delta], list[tf.Tensor | None]]:
    """Transposes the derivative of a local map."""
    carried, updates = derivative.pull_back(step, [delta and delta.carried for delta in received])
    learned = carried
    if activity is not derivative:
        through_activity, updates = activity.pull_back(
            step, [delta and delta.learned for delta in received]
        )
        if isinstance(step, Normalization):
            learned = through_activity
    return [Delta(*pair) for pair in zip(carried, learned, strict=True)], updates
