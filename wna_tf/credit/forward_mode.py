"""The forward estimate: finds updates without a reverse pass through the network.

Tangents `v_l` are added to the tangents of the outputs of every map that has weights, and pushed
forward to `df` at the initial weights. Since `df . e = sum_l v_l . d_l` for each example, the mean
of `v_l (df . e)` over draws with `E[v v^T] = I` is the delta `d_l`. A map's update is its own
transpose at that delta (in a recurrent layer: through time).

It takes two passes over the network. The first one finds the scalars `df . e`; the second one
draws the same tangents again, and makes each update while its presynaptic activity is there. So
nothing is stored, and the memory for activity does not grow with depth: one map's at a time, once
for the network and once for each draw (XLA is free to merge the two passes, and then keeps
activity). With K draws it costs K + 3 forward passes beside the
current network's: more than align_zero's three, for an estimate whose cosine to the exact deltas
is about .001 for K = 1 and .01 for K = 64 in the seven-block network of width 32 for CIFAR-10, and
less in wider ones. It is there for theory and small networks. With batch statistics it is biased:
a scalar for each example leaves out what an example does to the outputs of the others.
Source: forward gradients of Baydin et al. (2022), with perturbed activity as in Ren et al. (2023).
"""

from collections.abc import Callable, Iterator, Sequence

import tensorflow as tf

from wna_tf.credit.reverse_mode import collect
from wna_tf.graph.errors import Errors
from wna_tf.graph.forward_pass import Networks, State, evaluate
from wna_tf.graph.jvp import Tangent
from wna_tf.graph.maps import Delta, Map, Record, Value

Draw = Callable[[int, tf.Tensor], tf.Tensor]
"""`draw(index, like)`: tangents for the index-th output that gets some, [draws, *shape of like]."""


def estimate(networks: Networks, errors: Errors, draw: Draw) -> dict[int, tf.Tensor]:
    """Estimates the updates of a rule all of whose choices are initial.

    Args:
        networks: The network; its initial weights are used.
        errors: Derivatives of the loss, [batch, ...], with their places.
        draw: Gives the same tangents whenever it is asked for the same index.

    Returns:
        The update direction of every weight that gets one, by the `id` of its variable.
    """
    program, weights = networks.program, networks.weights["initial"]

    def walk() -> Iterator[tuple[Map, Record]]:
        state = State(program, weights)
        return evaluate(program, networks.inputs, weights, state, networks.known["initial"])

    def draw_in_turn(index: int, like: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([like]):
            return draw(index, like)

    tangents: dict[Value, Tangent] = {}
    scalars, index = 0.0, 0
    done: list[tf.Tensor] = []
    for step, record in _in_turn(walk(), done):
        pushed = _push(step, record, [tangents.get(place) for place in step.inputs])
        for place, output, tangent in zip(step.outputs, record.outputs, pushed, strict=True):
            if step.weights:
                drawn = draw_in_turn(index, output)
                tangent, index = drawn if tangent is None else tangent + drawn, index + 1
            tangents[place] = tangent
            done.append(output if tangent is None else tangent)
        for place in set(program.last_uses.get(step, ())) - {place for place, _ in errors}:
            tangents.pop(place, None)
    for place, error in errors:
        if tangents.get(place) is not None:
            products = tangents[place] * error
            scalars += tf.reduce_sum(products, range(2, products.shape.rank))

    # A recurrence carries deltas through time by it; nothing asks for what goes to maps below.
    kernels: dict[Map, tf.Tensor] = {step: weights[id(step.kernel)] for step in program.affine_maps}
    # Waiting for the scalars, so that TensorFlow does not take the two passes for one.
    updates, index, done = [], 0, [scalars]
    for step, record in _in_turn(walk(), done):
        if not step.weights:
            continue
        deltas = []
        for output in record.outputs:
            drawn = draw_in_turn(index, output)
            shape = tf.concat([tf.shape(scalars), [1] * (drawn.shape.rank - 2)], 0)
            delta = tf.reduce_mean(drawn * tf.reshape(tf.cast(scalars, drawn.dtype), shape), 0)
            deltas.append(Delta(delta, delta))
            index += 1
        _, made = step.transpose(record, record, deltas, kernels.get(step))
        updates.append((step, made))
        done += [update for update in made if update is not None]
    return collect(updates)


def _in_turn(
    steps: Iterator[tuple[Map, Record]], done: list[tf.Tensor]
) -> Iterator[tuple[Map, Record]]:
    """Evaluates a map only when the tensors in `done` are there, and empties that.

    A graph runs what it can as soon as it can: all random numbers at the start, and the network
    ahead of its tangents. Then it would keep them all.
    """
    while True:
        with tf.control_dependencies(done):
            following = next(steps, None)
        done.clear()
        if following is None:
            return
        yield following


def _push(step: Map, record: Record, tangents: Sequence[Tangent]) -> list[Tangent]:
    """Pushes a stack of tangents [draws, batch, ...] through a map, one draw after the other."""
    given = [index for index, tangent in enumerate(tangents) if tangent is not None]
    floating = [index for index, value in enumerate(record.outputs) if value.dtype.is_floating]
    pushed: list[Tangent] = [None] * len(record.outputs)
    if not given or not floating:
        return pushed

    def push(parts: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        filled: list[Tangent] = [None] * len(tangents)
        for index, part in zip(given, parts, strict=True):
            filled[index] = part
        values = step.push(record, filled, [None] * len(step.weights))
        return [
            tf.zeros_like(record.outputs[index]) if values[index] is None else values[index]
            for index in floating
        ]

    stacks = tf.map_fn(
        push,
        [tangents[index] for index in given],
        fn_output_signature=[record.outputs[index].dtype for index in floating],
        parallel_iterations=1,
    )
    for index, stack in zip(floating, stacks, strict=True):
        pushed[index] = stack
    return pushed
