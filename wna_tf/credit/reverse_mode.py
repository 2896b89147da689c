"""The reverse pass: turns any rule into updates, by transposing Jacobian-vector products of maps.

For tangents `T` of the weights, the tangent of block l is

    dz_l = A_l(dh_{l-1}; V_l) + A_l(p_{l-1}; T_l),    dh_l = J_phi dz_l,

from `dh_0 = 0` to `df`. The update is the transpose of `T -> df`, applied to the output error.
Both affine terms are forward-accumulator Jacobian-vector products, transposed one map at a time:
so no tangent is ever computed, since no transpose needs its value.
Source: Boopathy and Fiete (2022), section 3.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import tensorflow as tf

from wna_tf.feedback import Context, Feedback, Moment
from wna_tf.graph.errors import Errors
from wna_tf.graph.forward_pass import Evaluation
from wna_tf.graph.maps import Delta, Map, Updates, Value
from wna_tf.graph.program import Program


def carriers(
    feedback: Feedback, moment: Moment, trained: Collection[int]
) -> dict[Map, tf.Tensor | None]:
    """Returns the kernels that carry deltas, of the maps with something below them that learns.

    Args:
        feedback: Source of the feedback weights.
        moment: The weights.
        trained: The `id` of every variable that is trained.
    """
    above = moment.program.above(trained)
    return {
        step: feedback.kernel(step, moment)
        for step in moment.program.affine_maps
        if step.carries(above, trained)
    }


def walk_back(
    program: Program,
    carriers: Mapping[Map, tf.Tensor | None],
    derivative: Evaluation,
    activity: Evaluation,
    sources: Iterable[tuple[Value, tf.Tensor]],
    trained: Collection[int],
) -> Iterator[tuple[Map, list[Delta | None], Updates]]:
    """Carries deltas from the output to the input, map by map.

    Args:
        program: The network.
        carriers: The kernels that carry deltas.
        derivative: The network in which derivatives are taken.
        activity: The network whose presynaptic activity is read.
        sources: Deltas from outside, [batch, ...], by the place where they arrive.
        trained: The `id` of every variable that is trained: nothing goes to where none is.

    Yields:
        Each map that a delta reaches, what arrived at its outputs, and the updates of its weights.
    """
    above = program.above(trained)
    deltas: dict[Value, Delta] = {}

    def receive(place: Value, delta: Delta | None) -> None:
        if delta is not None and place in above:
            if place not in program.inside_blocks:
                delta = Delta(delta.carried, delta.carried)
            if place in deltas:
                delta = Delta(*map(tf.add, deltas[place], delta))
            deltas[place] = delta

    for place, delta in sources:
        receive(place, Delta(delta, delta))
    for step in reversed(program.maps):
        received = [deltas.pop(place, None) for place in step.outputs]
        if not any(received):
            continue
        below, updates = step.transpose(
            derivative.records[step], activity.records[step], received, carriers.get(step)
        )
        for place, delta in zip(step.inputs, below, strict=True):
            receive(place, delta)
        yield step, received, updates


class Credited(NamedTuple):
    """What credit assignment finds out.

    Attributes:
        updates: The update of every weight that gets one, by the `id` of its variable.
        deltas: What arrived at the outputs of each map, if a reverse pass was made.
    """

    updates: dict[int, tf.Tensor]
    deltas: Mapping[Map, Sequence[Delta | None]]


def collect(updates: Iterable[tuple[Map, Updates]]) -> dict[int, tf.Tensor]:
    """Returns the update of every weight that gets one, by the `id` of its variable.

    Args:
        updates: Those of each map's weights; a weight that several maps use gets their sum.
    """
    collected: dict[int, tf.Tensor] = {}
    for step, of_weights in updates:
        for variable, update in zip(step.weights, of_weights, strict=True):
            if update is not None:
                key = id(variable)
                collected[key] = collected[key] + update if key in collected else update
    return collected


def transpose(context: Context, feedback: Feedback, errors: Errors) -> Credited:
    """Applies the transposed Jacobian-vector product of a rule to the output error.

    Args:
        context: The step.
        feedback: The rule's source of feedback weights.
        errors: Derivatives of the loss, [batch, ...], with their places: this replica's part.
    """
    networks = context.networks
    derivative, activity = networks[context.derivative], networks[context.activity]
    projected = {place: context.weigh(delta) for place, delta in feedback.project(context).items()}
    sources = [
        (place, tf.cast(delta, derivative.values[place.index].dtype))
        for place, delta in (*errors, *projected.items())
    ]
    kernels = carriers(feedback, context, networks.trained)
    deltas: dict[Map, list[Delta | None]] = {}
    made: list[tuple[Map, Updates]] = []
    for step, received, updates in walk_back(
        context.program, kernels, derivative, activity, sources, networks.trained
    ):
        deltas[step] = received
        made.append((step, updates))
    return Credited(collect(made), deltas)
