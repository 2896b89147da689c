"""The error: the derivative of the loss by what it looks at, which is where deltas begin."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from wna_tf import internals
from wna_tf.graph.forward_pass import Networks
from wna_tf.graph.maps import Value
from wna_tf.graph.operators import Local

Errors = Sequence[tuple[Value, tf.Tensor]]
"""Derivatives of the loss, [batch, ...], each with its place."""


class Watched:
    """Outputs of a network for a loss to look at.

    Keras's cross-entropies look through a last softmax or sigmoid at its logits, since where it is
    saturated its output tells nothing more. They do so here too, and the error is then that of the
    logits.

    Args:
        networks: The network.
        outputs: Its outputs, [batch, ...] each.
        masks: Their masks, [batch, ...] each, or None.
        tape: The tape that records the loss.

    Attributes:
        outputs: The outputs as new tensors, with masks: one that is there twice has two errors.
        losses: What layers add to the loss.
        tensors: All that a loss may look at.
        masks: The mask of each of these, [batch, ...], or None.
    """

    def __init__(
        self,
        networks: Networks,
        outputs: Sequence[tf.Tensor],
        masks: Sequence[tf.Tensor | None],
        tape: tf.GradientTape,
    ):
        self._networks = networks
        self.outputs = [tf.identity(output) for output in outputs]
        attach_masks(self.outputs, masks)
        program = networks.program
        self.losses = [
            tf.identity(networks["current"].values[place.index]) for place in program.losses
        ]
        self.tensors = [*self.outputs, *self.losses]
        self.masks = [*masks, *(None for _ in self.losses)]
        self._logits: list[tuple[Local, tf.Tensor]] = []
        places, shapes = networks.program.outputs, networks.program.shapes
        for place, output, seen, mask in zip(places, outputs, self.outputs, masks, strict=True):
            made_by = (step for step in networks.program.maps if place in step.outputs)
            logits, step = internals.logits_of(output), next(made_by, None)
            if logits is not None and isinstance(step, Local) and _is_last_activation(step, shapes):
                self.tensors.append(tf.identity(logits))
                self.masks.append(mask)
                internals.set_logits(seen, self.tensors[-1])
                self._logits.append((step, logits))
        tape.watch(self.tensors)

    def errors(self, derivatives: Sequence[tf.Tensor | None]) -> Errors:
        """Returns the error.

        Args:
            derivatives: Those of the loss by `tensors`; None where it does not look.
        """
        places = (*self._networks.program.outputs, *self._networks.program.losses)
        count = len(places)
        pairs = list(zip(places, derivatives[:count], strict=True))
        for (step, logits), derivative in zip(self._logits, derivatives[count:], strict=True):
            if derivative is not None:
                record = self._networks["current"].records[step]
                below = record.tape.gradient(logits, record.inputs, output_gradients=derivative)
                pairs += zip(step.inputs, below, strict=True)
        return [(place, error) for place, error in pairs if error is not None]


def attach_masks(outputs: Sequence[tf.Tensor], masks: Sequence[tf.Tensor | None]) -> None:
    """Lets Keras's losses and metrics see the masks of outputs, as its layers do.

    Args:
        outputs: Outputs, [batch, ...] each.
        masks: Their masks, [batch, ...] each; None for an output without one.
    """
    for output, mask in zip(outputs, masks, strict=True):
        if mask is not None:
            internals.set_mask(output, mask)


def _is_last_activation(step: Local, shapes: Sequence[tuple[int | None, ...]]) -> bool:
    """Returns whether a map without weights makes an output of one input of its shape."""
    used = {shapes[place.index] for place in (*step.inputs, *step.outputs)}
    return not step.weights and len(step.inputs) == len(used) == 1


def keep_logits(replay: Callable, has_logits: Sequence[bool]) -> Callable[..., list[tf.Tensor]]:
    """Returns a function whose outputs have their logits attached.

    Args:
        replay: A function that puts out the logits behind the outputs.
        has_logits: Whether each output has some.
    """

    def apply(*tensors: tf.Tensor) -> list[tf.Tensor]:
        made = replay(*tensors)
        outputs, logits = made[: len(has_logits)], iter(made[len(has_logits) :])
        for output, has in zip(outputs, has_logits, strict=True):
            if has:
                internals.set_logits(output, next(logits))
        return outputs

    return apply
