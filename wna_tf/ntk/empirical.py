"""Empirical kernels of networks and of learning rules, block by block within a stated memory."""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from wna_tf import files
from wna_tf.graph.forward_pass import Networks
from wna_tf.graph.program import Program
from wna_tf.graph.tracing import trace
from wna_tf.ntk import blocks, ends
from wna_tf.ntk.ends import End
from wna_tf.ntk.kernel import FORMS, Columns, Kernel, Products

Ids = tuple[int, ...]

_LEAST_BLOCK = 64  # Examples of a block, if the memory allows: small products are slow.
_GRAPHS = "_wna_tf_kernels"  # The attribute of a model that keeps what was traced for it.


def empirical_ntk(
    model: keras.Model,
    x1: Any,
    x2: Any = None,
    *,
    output: str = "full",
    weights: str | None = None,
    layers: Sequence[keras.layers.Layer | str] | None = None,
    max_gigabytes: float = 2.0,
    filepath: str | os.PathLike | None = None,
) -> np.ndarray:
    """Returns the empirical neural tangent kernel `J(x1) J(x2)^T`, exactly.

    Layers are in inference mode, but normalizations use the statistics of each batch. The kernel is
    summed variable by variable, each by whatever takes the fewest operations: Jacobians, or Gram
    matrices of activities and deltas. Where examples of a batch depend on each other, by its
    statistics, `x1` and `x2` are each one batch, and the kernel takes a reverse and a forward pass
    for each output of each example of `x2`. Graphs are kept with the model: the second kernel of
    the same shapes begins at once. Source: Jacot et al. (2018); Novak et al. (2022), "Fast finite
    width neural tangent kernel".

    Args:
        model: A `Learner`, or a network that one takes.
        x1: Inputs, [examples1, ...].
        x2: Inputs, [examples2, ...]; None for `x1`.
        output: Which outputs: `"full"` for each with each, `"diagonal"` for each with itself,
            `"trace"` for the mean of these. Outputs of several axes count as one axis.
        weights: `"initial"` or `"current"` ones of a learner; None for the initial ones. A network
            has current ones alone.
        layers: Layers whose weights count, or their names; None for all that are trained.
        max_gigabytes: Memory for what is computed on the way, beside the kernel itself, in units
            of 1e9 bytes: examples are taken in blocks that fit.
        filepath: A `.npy` file to write, which is returned as a memory map. The blocks that are
            done lie beside it until it is whole: the same call goes on after an interruption.

    Returns:
        The kernel: [examples1, outputs, examples2, outputs] (full), [examples1, examples2] (trace)
        or [examples1, examples2, outputs] (diagonal).

    Raises:
        ValueError: If an argument is none of these, the network has several outputs or is none that
            a `Learner` takes, or one example of each side takes more than the memory.
    """
    if weights is None:
        weights = "initial" if _is_learner(model) else "current"
    trained = _trained(model, layers)
    traced = _traced(model, False, weights, trained)
    return _compute(traced, x1, x2, output, max_gigabytes, filepath)


def rule_ntk(
    learner: keras.Model,
    x1: Any,
    x2: Any = None,
    *,
    output: str = "full",
    layers: Sequence[keras.layers.Layer | str] | None = None,
    max_gigabytes: float = 2.0,
    filepath: str | os.PathLike | None = None,
) -> np.ndarray:
    """Returns the kernel of a learner's rule, `J(x1) U(x2)^T`, at its current weights.

    `U(x2)^T` maps errors at the outputs to the rule's updates, so a small step of gradient descent
    of rate `r` on the errors `e` of `x2` changes the outputs of `x1` by `-r J U^T e`. The kernel of
    `backprop` is the tangent kernel; that of another rule tells how its training differs. It need
    not be symmetric, nor positive. What a rule does without an error, as letting weights decay, is
    no part of it. Layers are in training mode, as in the rule's steps; with the rule `linearized`,
    `J` is that of the linearized network.

    Args:
        learner: A `Learner`, whose rule is linear in the error and reads no targets.
        x1: Inputs, [examples1, ...].
        x2: Inputs, [examples2, ...]; None for `x1`.
        output: As in `empirical_ntk`.
        layers: As in `empirical_ntk`.
        max_gigabytes: As in `empirical_ntk`.
        filepath: As in `empirical_ntk`.

    Returns:
        The kernel, as in `empirical_ntk`; the error is that of `x2`.

    Raises:
        ValueError: If an argument is none of these, or the rule's updates are not linear in the
            error.
    """
    if not _is_learner(learner):
        raise ValueError(f"Expected a Learner, which has a rule. Received: {learner!r}")
    if not learner.rule.feedback.is_linear:
        raise ValueError(
            "Expected a rule whose updates are linear in the error. "
            f"Received: one with the feedback {learner.rule.feedback.name!r}"
        )
    traced = _traced(learner, True, "current", _trained(learner, layers))
    return _compute(traced, x1, x2, output, max_gigabytes, filepath)


def measure(learner: keras.Model, x: Any) -> "Measured":
    """Returns what the kernel at the initial weights takes for an example, found out on a few.

    Args:
        learner: A `Learner`.
        x: Inputs, [batch, ...].
    """
    traced = _traced(learner, False, "initial", _trained(learner, None))
    return traced.measured(traced.standardize(x))


@dataclasses.dataclass(frozen=True, eq=False)
class _Traced:
    """What is known of a kernel before its inputs are, and the graphs that were written for it.

    Attributes:
        model: A `Learner` or a network.
        program: The network.
        of_rule: Whether it is the kernel of the learner's rule.
        weights: Those at which Jacobians are taken.
        trained: The `id` of every variable that has a part in it.
        kernels: Kernels by their form and memory.
        measures: What was found out on examples, by the shapes of these.
    """

    model: keras.Model
    program: Program
    of_rule: bool
    weights: str
    trained: tuple[int, ...]
    kernels: dict[tuple, Kernel] = dataclasses.field(default_factory=dict)
    measures: dict[tuple, "Measured"] = dataclasses.field(default_factory=dict)

    def standardize(self, x: Any) -> list[tf.Tensor]:
        """Returns inputs in the order and dtypes of the network's."""
        return self.program.signature.standardize(x)

    def networks(self, inputs: list[tf.Tensor]) -> Networks:
        """Returns the network on some inputs."""
        if _is_learner(self.model):
            nested = keras.tree.pack_sequence_as(self.program.signature.inputs, inputs)
            return self.model.evaluate_networks(nested, training=self.of_rule)
        values = {key: tf.convert_to_tensor(v.value) for key, v in self.program.variables.items()}
        return Networks(self.program, inputs, values, values, self.trained)

    def ends(self, x1: list[tf.Tensor], x2: list[tf.Tensor] | None) -> tuple[End, End]:
        """Returns the two ends on two blocks of inputs."""
        first = self.networks(x1)
        second = first if x2 is None else self.networks(x2)
        if self.of_rule:
            name = "initial" if self.model.rule.error == "linearized" else "current"
            return (
                ends.of_network(first, name, self.trained),
                ends.of_rule(self.model, second, self.trained),
            )
        end = ends.of_network(first, self.weights, self.trained)
        return end, end if x2 is None else ends.of_network(second, self.weights, self.trained)

    def measured(self, x: list[tf.Tensor]) -> "Measured":
        """Returns what blocks of examples take, found out on a few of them."""
        few = [tensor[:4] for tensor in x]
        key = tuple(tuple(tensor.shape) for tensor in few)  # One alone depends on no other.
        if key not in self.measures:
            self.measures[key] = self._measure(few)
        return self.measures[key]

    def _measure(self, few: list[tf.Tensor]) -> "Measured":
        both = list(dict.fromkeys(self.ends(few, None)))
        output = both[0].output
        examples = output.shape[0]
        names = {(end.networks, name) for end in both for name in (end.derivative, end.activity)}
        activity = sum(
            sum(tf.size(value).numpy() for value in networks[name].values if value is not None)
            for networks, name in names
        )
        records = both[0].networks[both[0].derivative].records
        products = [step for step in records if ends.is_product(step)]
        sizes = {step: tf.size(records[step].outputs[0]).numpy() for step in products}
        rows = max((tf.size(both[0].rows(step)).numpy() for step in products), default=0)
        return Measured(
            outputs=ends.size(output),
            dtype=output.dtype,
            once=(activity + rows) / examples,
            for_each_output=(sum(sizes.values()) + activity) / examples,
            is_coupled=any(map(_couples_examples, both)),
        )


class Measured(NamedTuple):
    """What a network takes for an example.

    Attributes:
        outputs: Outputs of an example.
        dtype: That of the outputs.
        once: Numbers of activities, and of patches of the layer that has most.
        for_each_output: Numbers of deltas, for an output.
        is_coupled: Whether examples of a batch depend on each other.
    """

    outputs: int
    dtype: tf.DType
    once: float
    for_each_output: float
    is_coupled: bool


def _couples_examples(end: End) -> bool:
    """Returns whether an error of some examples leads to deltas of others."""
    examples = end.output.shape[0]
    is_even = np.arange(examples) % 2 == 0
    error = np.random.default_rng(0).normal(size=end.output.shape)
    error[~is_even] = 0
    for _, received, _ in end.walk(tf.constant(error, end.output.dtype)):
        for delta in received:
            # An axis that is not that of the examples says nothing of them.
            if delta is not None and (
                delta.for_weights.shape[0] != examples
                or np.any(delta.for_weights.numpy()[~is_even])
            ):
                return True
    return False


def _trained(model: keras.Model, layers: Sequence[keras.layers.Layer | str] | None) -> Ids:
    """Returns the `id` of every variable that has a part in a kernel."""
    trained = [id(variable) for variable in model.trainable_variables]
    if layers is None:
        return tuple(trained)
    network = getattr(model, "network", model)
    known = {layer.name: layer for layer in _layers(network)}
    chosen: set[int] = set()
    for layer in layers:
        found = known.get(layer) if isinstance(layer, str) else layer
        own = None if found is None else {id(v) for v in getattr(found, "trainable_variables", [])}
        if own is None or not own <= set(trained):
            raise ValueError(
                f"Expected layers of {network.name!r}, or their names: {', '.join(known)}. "
                f"Received: {layer!r}"
            )
        chosen |= own
    return tuple(key for key in trained if key in chosen)


def _is_learner(model: keras.Model) -> bool:
    return hasattr(model, "evaluate_networks")  # Its class imports this module's package.


def _layers(network: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yields the layers of a network, and those of the networks among them."""
    for layer in network.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)


def _traced(model: keras.Model, of_rule: bool, weights: str, trained: Ids) -> _Traced:
    """Returns what is kept with a model for one of its kernels."""
    allowed = ("initial", "current") if _is_learner(model) else ("current",)
    if weights not in allowed:
        raise ValueError(
            f"Expected weights of {model.name!r} to be {' or '.join(map(repr, allowed))}. "
            f"Received: weights={weights!r}"
        )
    # Not by attribute, which Keras would watch and save.
    kept = vars(model).setdefault(_GRAPHS, {})
    key = (of_rule, weights, trained)
    if key not in kept:
        if _is_learner(model):
            program = model.program if of_rule else model.program.for_jacobians
        else:
            program = trace(model).for_jacobians
        if len(program.outputs) != 1:
            raise ValueError(
                "Expected a network with one output. "
                f"Received: {len(program.outputs)} outputs of {model.name!r}"
            )
        kept[key] = _Traced(model, program, of_rule, weights, trained)
    return kept[key]


def _compute(
    traced: _Traced,
    x1: Any,
    x2: Any,
    output: str,
    max_gigabytes: float,
    filepath: str | os.PathLike | None,
) -> np.ndarray:
    """Computes a kernel, see `empirical_ntk`."""
    if output not in FORMS:
        raise ValueError(
            f"Expected output to be one of {', '.join(FORMS)}. Received: output={output!r}"
        )
    first = traced.standardize(x1)
    second = None if x2 is None else traced.standardize(x2)
    larger = first if second is None else max(first, second, key=lambda x: x[0].shape[0])
    measured, examples = traced.measured(larger), larger[0].shape[0]
    at_a_time, entries, outputs_at_a_time = fit(measured, examples, output, max_gigabytes)
    key = (output, entries, outputs_at_a_time, measured.is_coupled)
    if key not in traced.kernels:
        traced.kernels[key] = (
            Columns(traced.ends, output)
            if measured.is_coupled
            else Products(traced.ends, output, outputs_at_a_time, entries)
        )
    axes = {
        "full": ((measured.outputs,),) * 2,
        "trace": ((), ()),
        "diagonal": ((), (measured.outputs,)),
    }
    plan = blocks.Blocks(
        compute=traced.kernels[key].compute,
        x1=first,
        x2=second,
        at_a_time=examples if measured.is_coupled else at_a_time,
        outputs=axes[output],
        # A file of NumPy's has no bfloat16.
        dtype="float64" if measured.dtype == tf.float64 else "float32",
        is_symmetric=not traced.of_rule,
        strategy=traced.model.distribute_strategy,
    )
    if filepath is None:
        return blocks.in_memory(plan)
    told = [traced.of_rule, traced.weights, output, at_a_time, plan.shape]
    return blocks.in_file(
        plan, files.expand(filepath), _digest(traced, told, first + (second or []))
    )


def fit(
    measured: Measured, examples: int, output: str, max_gigabytes: float
) -> tuple[int, int, int]:
    """Returns how many examples, numbers of a result and outputs are taken at a time.

    Args:
        measured: What the network takes for an example.
        examples: Examples of the larger side.
        output: As in `empirical_ntk`.
        max_gigabytes: As in `empirical_ntk`.

    Raises:
        ValueError: If one example of each side takes more than the memory.
    """
    if not 0 < max_gigabytes < math.inf:
        raise ValueError(
            f"Expected max_gigabytes to be above 0. Received: max_gigabytes={max_gigabytes}"
        )
    numbers = max_gigabytes * 1e9 / measured.dtype.size
    entries = int(numbers / 8)
    outputs = {"full": measured.outputs, "diagonal": 1, "trace": measured.outputs}[output]
    for_an_end = numbers / 4
    if output == "trace":  # Fewer of them at a time make larger blocks.
        each = for_an_end / min(examples, _LEAST_BLOCK) - measured.once
        outputs = int(min(max(each / measured.for_each_output, 1), outputs))
    of_example = measured.once + outputs * measured.for_each_output
    at_a_time = int(for_an_end / of_example)
    if output == "full":
        at_a_time = min(at_a_time, int(math.sqrt(entries) / outputs))
    if at_a_time < 1:
        raise ValueError(
            "Expected max_gigabytes to be enough for an example of each side, "
            f"{4 * of_example * measured.dtype.size / 1e9:.2g}. "
            f"Received: max_gigabytes={max_gigabytes}"
        )
    blocks_needed = math.ceil(examples / at_a_time)
    return math.ceil(examples / blocks_needed), entries, outputs  # All of about one size.


def _digest(traced: _Traced, told: list[Any], inputs: Sequence[tf.Tensor]) -> str:
    """Returns what tells a kernel from others: of what it is, and of what."""
    digest = hashlib.sha256(json.dumps(told).encode())
    for tensor in [*traced.model.variables, *inputs]:
        digest.update(np.ascontiguousarray(tensor).tobytes())
    chosen = (id(variable) in traced.trained for variable in traced.model.variables)
    digest.update(bytes(chosen))
    return digest.hexdigest()
