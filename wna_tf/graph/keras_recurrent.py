"""The maps of recurrent layers, Keras's and our own."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from keras import ops

from wna_tf import internals, layers
from wna_tf.graph.maps import Value
from wna_tf.graph.recurrence import Recurrence
from wna_tf.graph.registry import Emitter, Refused, register_layer
from wna_tf.layers.recurrent import Cell

Offset = Callable[[tf.Tensor], tf.Tensor]
Kernel = Callable[[tf.Tensor], tf.Tensor]


class Form(NamedTuple):
    """What a recurrent layer of Keras computes.

    Attributes:
        step: `step(recurrent, u_t, activities, *states) -> states`, where `recurrent` is what the
            recurrent kernel does, part by part, and `activities` is the output of the step before,
            as the dropout of each part leaves it.
        parts: Shares of the recurrent kernel's columns that act at once, without dropout.
        offsets: What the bias adds to the input's part and to the recurrent part of the gates; None
            if it belongs to the input's part alone.
    """

    step: Callable[..., list[tf.Tensor]]
    parts: tuple[int, ...] = (1,)
    offsets: tuple[Offset, Offset] | None = None


@register_layer(layers.Recurrent)
def _recurrent(layer: Any, emit: Emitter, x: Value) -> Value:
    u = emit.affine(
        layer,
        ops.matmul,
        x,
        layer.kernel,
        initializer=layer.kernel_initializer,
        fan_in=1,  # Its entries are N(0, 1) in either parameterization.
        is_product=True,
    )
    return emit.affine(
        layer,
        layer.recurrent,
        u,
        layer.recurrent_kernel,
        layer.bias,
        initializer=layer.recurrent_initializer,
        is_product=True,
        kind=Recurrence,
        cell=layer.cell,
        sizes=(layer.units,),
    )


@functools.singledispatch
def _form(layer: Any) -> Form:
    """Returns what a recurrent layer of Keras computes."""
    raise NotImplementedError(type(layer).__name__)


@_form.register
def _simple_rnn(layer: keras.layers.SimpleRNN) -> Form:
    def step(
        recurrent: Kernel, u: tf.Tensor, activities: list[tf.Tensor], h: tf.Tensor
    ) -> list[tf.Tensor]:
        del h
        return [layer.activation(u + _join(recurrent, activities))]

    return Form(step)


@_form.register
def _lstm(layer: keras.layers.LSTM) -> Form:
    def step(
        recurrent: Kernel, u: tf.Tensor, activities: list[tf.Tensor], h: tf.Tensor, c: tf.Tensor
    ) -> list[tf.Tensor]:
        del h
        i, f, g, o = ops.split(u + _join(recurrent, activities), 4, axis=-1)
        gate = layer.recurrent_activation
        c = gate(f) * c + gate(i) * layer.activation(g)
        return [gate(o) * layer.activation(c), c]

    return Form(step)


@_form.register
def _gru(layer: keras.layers.GRU) -> Form:
    def step(
        recurrent: Kernel, u: tf.Tensor, activities: list[tf.Tensor], h: tf.Tensor
    ) -> list[tf.Tensor]:
        uz, ur, uh = ops.split(u, 3, axis=-1)
        gate = layer.recurrent_activation
        if layer.reset_after:
            vz, vr, vh = ops.split(_join(recurrent, activities), 3, axis=-1)
            z, r = gate(uz + vz), gate(ur + vr)
            vh = r * vh
        else:
            *of_gates, of_candidate = activities
            vz, vr = ops.split(_join(recurrent, of_gates), 2, axis=-1)
            z, r = gate(uz + vz), gate(ur + vr)
            vh = recurrent(r * of_candidate)
        return [z * h + (1 - z) * layer.activation(uh + vh)]

    if layer.reset_after:
        return Form(step, offsets=(lambda bias: bias[0], lambda bias: bias[1]))
    return Form(step, parts=(2, 1))


def _join(recurrent: Kernel, activities: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns what parts of the recurrent kernel make of their activities, side by side."""
    return ops.concatenate(list(map(recurrent, activities)), axis=-1)


@register_layer(keras.layers.SimpleRNN, keras.layers.LSTM, keras.layers.GRU)
def _keras_recurrence(
    layer: Any,
    emit: Emitter,
    sequences: Value,
    initial_state: Value | Sequence[Value] | None = None,
    mask: Value | None = None,
    training: bool | None = None,
) -> Value | list[Value]:
    if layer.stateful:
        raise Refused(
            "it has stateful=True, so that its states outlive a batch: give them as initial_state, "
            "and take them from return_state"
        )
    if layer.go_backwards:
        sequences = emit.local(_reverse, sequences)
        mask = None if mask is None else emit.local(_reverse, mask)
    form, bias = _form(layer), layer.cell.bias if layer.use_bias else None
    of_input, of_output = form.offsets or (lambda bias: bias, lambda bias: bias)
    in_training = emit.training if training is None else training
    of_inputs, of_states = _draw_dropout(layer, emit, sequences) if in_training else ([], [])
    if of_inputs:
        sequences = emit.local(_drop, sequences, *of_inputs)
    u = emit.affine(
        layer,
        _multiply_parts if of_inputs else ops.matmul,
        sequences,
        layer.cell.kernel,
        bias,
        of_input,
        initializer=layer.kernel_initializer,
        is_product=form.offsets is None and not of_inputs,
    )
    masks = [] if mask is None else [emit.local(_as_steps, mask)]
    given = [] if initial_state is None else keras.tree.flatten(initial_state)
    initial = [emit.local(ops.cast, state, layer.compute_dtype) for state in given]
    others = [emit.new_value() for _ in layer.state_size[1:] if layer.return_state]
    parts = (1,) * len(of_states) or form.parts
    h = emit.affine(
        layer,
        ops.matmul,
        u,
        layer.cell.recurrent_kernel,
        bias if form.offsets else None,
        of_output,
        initializer=layer.recurrent_initializer,
        further_inputs=[*masks, *of_states, *initial],
        further_outputs=others,
        is_product=form.offsets is None and len(parts) == 1,
        kind=Recurrence,
        cell=_cell(form, len(masks), len(of_states)),
        sizes=tuple(layer.state_size),
        parts=parts,
        num_sequences=1 + len(masks),
        num_constants=len(of_states),
    )
    output, states = h, [h, *others]
    if masks:
        starts: list[Value | None] = [*initial] or [None] * len(states)
        output = (
            emit.local(_show, h, *masks)
            if layer.zero_output_for_mask
            else emit.local(_hold, h, *masks, last=not layer.return_sequences)
        )
        states = [
            emit.local(_hold, state, *masks, start, last=True)
            for state, start in zip(states, starts if layer.return_state else (), strict=False)
        ]
    if not layer.return_sequences:
        output = emit.local(_last, output)
    if not layer.return_state:
        return output
    return [output, *(emit.local(_last, state) for state in states)]


def _cell(form: Form, num_masks: int, num_dropouts: int) -> Cell:
    """Returns the cell of a `Recurrence`, given masks, dropout of the states, and states."""

    def cell(recurrent: Kernel, u: tf.Tensor, *given: tf.Tensor) -> list[tf.Tensor]:
        masks, dropouts = given[:num_masks], given[num_masks:][:num_dropouts]
        states = given[num_masks + num_dropouts :]
        activities = [states[0] * keep for keep in dropouts] or [states[0]] * len(form.parts)
        after = form.step(recurrent, u, activities, *states)
        for mask in masks:
            after = [tf.where(mask, *pair) for pair in zip(after, states, strict=True)]
        return after

    return cell


def _multiply_parts(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Returns the products of inputs [batch, time, parts, features] with parts of a kernel.

    It does not split and concatenate, whose derivatives XLA takes but twice.
    """
    parts = ops.reshape(kernel, (x.shape[-1], x.shape[-2], -1))
    product = ops.einsum("btpf,fpu->btpu", x, parts)
    return ops.reshape(product, (-1, ops.shape(x)[1], kernel.shape[-1]))


def _draw_dropout(layer: Any, emit: Emitter, sequences: Value) -> tuple[list[Value], list[Value]]:
    """Adds what dropout multiplies with: one for each part of a kernel, for all steps.

    Returns:
        Those of the inputs, [batch, features], and those of the states, [batch, units].
    """
    cell, rates = layer.cell, (layer.dropout, layer.recurrent_dropout)
    counts = [bool(rate) * (getattr(cell, "dropout_mask_count", None) or 1) for rate in rates]
    if not any(counts):
        return [], []

    def dropout(x: tf.Tensor) -> list[tf.Tensor]:
        drawn: list[tf.Tensor] = []
        for size, rate in zip((x.shape[-1], layer.units), rates, strict=True):
            if rate:
                ones = ops.ones([ops.shape(x)[0], size], cell.compute_dtype)
                drawn += internals.draw_dropout(cell, ones, rate)
        return drawn

    drawn = emit.local_outputs(sum(counts), dropout, sequences)
    return drawn[: counts[0]], drawn[counts[0] :]


def _drop(x: tf.Tensor, *dropouts: tf.Tensor) -> tf.Tensor:
    """Returns the inputs of each part of the kernel, [batch, time, parts, features]."""
    return ops.cast(x, dropouts[0].dtype)[:, :, None] * ops.stack(dropouts, 1)[:, None]


def _reverse(x: tf.Tensor) -> tf.Tensor:
    return ops.flip(x, 1)


def _last(x: tf.Tensor) -> tf.Tensor:
    return x[:, -1]


def _as_steps(mask: tf.Tensor) -> tf.Tensor:
    """Returns a mask as [batch, time, 1]."""
    return tf.reshape(tf.cast(mask, tf.bool), [*tf.unstack(tf.shape(mask)[:2]), 1])


def _show(x: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    """Returns a sequence, zero where it is masked."""
    return tf.where(mask, x, tf.zeros_like(x))


def _hold(
    x: tf.Tensor, mask: tf.Tensor, start: tf.Tensor | None = None, last: bool = False
) -> tf.Tensor:
    """Returns what a sequence was where it was last not masked.

    A recurrence holds its states there, so that only the start may have another value. But a delta
    goes to the step that the value is of, even where nothing is carried from step to step.

    Args:
        x: The sequence, [batch, time, units].
        mask: Where it is not masked, [batch, time, 1].
        start: What it was before, [batch, units]; None for zero.
        last: Whether the last step alone is asked for.
    """
    counts = tf.cumsum(tf.cast(mask[..., 0], tf.int32), 1)
    asked = counts[:, -1:] if last else counts
    steps = tf.searchsorted(counts, asked)  # Where a count was reached.
    held = tf.gather(x, steps, batch_dims=1)
    before = tf.zeros_like(held) if start is None else start[:, None]
    return tf.where(asked[..., None] > 0, held, before)
