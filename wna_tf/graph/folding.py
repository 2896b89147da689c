"""Folding: what a normalization by batch statistics undoes is not computed before it."""

import collections
import dataclasses
from collections.abc import Sequence

from wna_tf.graph.maps import Map, Value
from wna_tf.graph.operators import Affine, Normalization
from wna_tf.graph.recurrence import Recurrence


def fold(maps: Sequence[Map], outputs: Sequence[Value]) -> list[Map]:
    """Leaves scale and bias out of affine maps whose outputs are only normalized.

    A normalization by moments over the batch undoes them, so that they need not be computed: the
    scale is a pass over the activity, forward and back, and so is the bias, forward and for its
    update, which is zero. The normalization keeps both in its epsilon and its moving statistics.

    Args:
        maps: The maps of a network.
        outputs: Places of its outputs.

    Returns:
        Maps that compute the same outputs and the same updates.
    """
    uses = collections.Counter(place for step in maps for place in step.inputs)
    uses.update(outputs)
    normalized = {
        step.inputs[0]: step
        for step in maps
        if isinstance(step, Normalization) and uses[step.inputs[0]] == 1
    }
    folded: dict[Map, Map] = {}
    for step in maps:
        if not isinstance(step, Affine) or isinstance(step, Recurrence):
            continue  # A recurrence uses its outputs itself.
        behind = normalized.get(step.outputs[0])
        if behind and behind.absorb:
            # The bias is still a weight, with updates that are zero.
            folded[step] = dataclasses.replace(step, scale=1.0, offset=None, original=step)
            folded[behind] = dataclasses.replace(behind, apply=behind.absorb(step))
    return [folded.get(step, step) for step in maps]
