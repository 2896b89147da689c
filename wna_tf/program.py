"""Programs: networks as sequences of local maps, and their evaluation at given weights.

A learning rule acts on two kinds of maps. An `Affine` map is linear in its input and in its
kernel each; feedback weights stand in for its kernel on the way back. Every other map is `Local`:
it contributes its derivative alone, and its parameters, if it has any, learn by that.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

Weights = Mapping[int, tf.Tensor]
"""Values of variables, by the `id` of the variable."""


@dataclasses.dataclass(frozen=True)
class Value:
    """The place of a tensor that flows between maps."""

    index: int


@dataclasses.dataclass(frozen=True, eq=False)
class Map:
    """One step of a program.

    Attributes:
        name: Name of the layer that the step belongs to.
        apply: The function of its inputs (a local map), or of its inputs and weights (an affine
            one).
        inputs: Where its inputs come from.
        outputs: Where its outputs go to.
        weights: The variables that it learns.
    """

    name: str
    apply: Callable[..., Any]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    weights: tuple[keras.Variable, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Affine(Map):
    """A map `apply(x, kernel[, bias])`, linear in `x` and in `kernel` each.

    Attributes:
        initializer: Initializer of the kernel, the distribution of random feedback weights.
    """

    initializer: Callable[..., Any] | None = None

    @property
    def kernel(self) -> keras.Variable:
        return self.weights[0]


class Local(Map):
    """A map `apply(*inputs)` that is not affine; it reads its own weights, if it has any."""


class Normalization(Local):
    """A normalization. Behind an affine map it is a part of that map's block."""


class Activation(Local):
    """An elementwise activation: the end of an affine map's block."""


class Program:
    """A network as a sequence of maps.

    Args:
        maps: The maps in the order of their evaluation.
        inputs: Places of the network's inputs.
        output_structure: Places of the network's outputs, nested as the network returns them.
        signature: Shapes and dtypes of the inputs; the batch is None.
        size: Number of places.
    """

    def __init__(
        self,
        maps: Sequence[Map],
        inputs: Sequence[Value],
        output_structure: Any,
        signature: Sequence[tf.TensorSpec],
        size: int,
    ):
        self.maps = tuple(maps)
        self.inputs = tuple(inputs)
        self.output_structure = output_structure
        self.outputs = tuple(keras.tree.flatten(output_structure))
        self.signature = tuple(signature)
        self.size = size

    @property
    def affine_maps(self) -> tuple[Affine, ...]:
        return tuple(step for step in self.maps if isinstance(step, Affine))

    @functools.cached_property
    def variables(self) -> dict[int, keras.Variable]:
        """Every weight of every map, by its `id`."""
        return {id(variable): variable for step in self.maps for variable in step.weights}

    @functools.cached_property
    def learned(self) -> frozenset[Value]:
        """Values that depend on some weight: the only ones that need a delta."""
        learned: set[Value] = set()
        for step in self.maps:
            if step.weights or not learned.isdisjoint(step.inputs):
                learned.update(step.outputs)
        return frozenset(learned)

    @functools.cached_property
    def last_affine_maps(self) -> frozenset[Affine]:
        """Affine maps with no other one between them and an output."""
        last, reached = set(), set(self.outputs)
        for step in reversed(self.maps):
            if reached.isdisjoint(step.outputs):
                continue
            if isinstance(step, Affine):
                last.add(step)
            else:
                reached.update(step.inputs)
        return frozenset(last)

    def block_output(self, affine: Affine) -> Value:
        """Returns the output of the block of `affine`: `phi(z)`, behind its normalization."""
        (value,) = affine.outputs
        while True:
            consumers = [step for step in self.maps if value in step.inputs]
            if len(consumers) != 1 or not isinstance(consumers[0], Normalization | Activation):
                return value
            (value,) = consumers[0].outputs
            if isinstance(consumers[0], Activation):
                return value

    @functools.cached_property
    def shapes(self) -> tuple[tuple[int | None, ...], ...]:
        """Shape of every value, by its index; the batch is None."""
        shapes = []

        @tf.function(input_signature=self.signature)
        def evaluate(*inputs):
            weights = {key: variable.value for key, variable in self.variables.items()}
            values = Evaluation(self, inputs, weights).values
            shapes.extend(tuple(value.shape) for value in values)

        evaluate.get_concrete_function()
        return tuple(shapes)


class Evaluation:
    """A network evaluated at some weights, with the derivative of every local map.

    Evaluating leaves no trace: what layers write to their variables (moving statistics, random
    seeds) is kept in `state`.

    Args:
        program: The network.
        inputs: Its inputs, [batch, ...] each.
        weights: The value of every weight of the program.

    Attributes:
        values: The tensors at the program's places, [batch, ...] each.
        state: Scope to ask for the new value of a variable.

    Raises:
        ValueError: If a layer adds a loss of its own, which no rule assigns to weights.
    """

    def __init__(self, program: Program, inputs: Sequence[tf.Tensor], weights: Weights):
        self.values: list[Any] = [None] * program.size
        self._weights = weights
        self._tapes: dict[Map, tf.GradientTape] = {}
        for value, tensor in zip(program.inputs, inputs, strict=True):
            self.values[value.index] = tensor
        mapping = [(variable, weights[key]) for key, variable in program.variables.items()]
        with keras.StatelessScope(mapping, collect_losses=True) as self.state:
            for step in program.maps:
                outputs = keras.tree.flatten(self._evaluate(step))
                for value, tensor in zip(step.outputs, outputs, strict=True):
                    self.values[value.index] = tensor
                if self.state.losses:
                    raise ValueError(
                        "Expected layers without losses of their own, which depend on "
                        f"activity. Received: layer {step.name!r} adds one"
                    )
        self.outputs = [self.values[value.index] for value in program.outputs]

    def inputs(self, step: Map) -> list[tf.Tensor]:
        """Returns the inputs of a step."""
        return [self.values[value.index] for value in step.inputs]

    def weights(self, step: Map) -> list[tf.Tensor]:
        """Returns the weights of a step."""
        return [self._weights[id(variable)] for variable in step.weights]

    def _evaluate(self, step: Map):
        inputs, weights = self.inputs(step), self.weights(step)
        if isinstance(step, Affine):
            return step.apply(*inputs, *weights)
        # A tape for each map, not one for the network: a rule may combine two networks.
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([x for x in inputs + weights if x.dtype.is_floating])
            outputs = step.apply(*inputs)
        self._tapes[step] = tape
        return outputs

    def pull_back(
        self, step: Local, deltas: Sequence[tf.Tensor | None]
    ) -> tuple[list[tf.Tensor | None], list[tf.Tensor | None]]:
        """Applies the transposed Jacobian of a local map.

        Args:
            step: The map; each can be pulled back once.
            deltas: One for each output, or None.

        Returns:
            The deltas of the inputs, and the updates of the weights; None where there is no
            dependence.
        """
        outputs = [self.values[value.index] for value in step.outputs]
        pairs = [pair for pair in zip(outputs, deltas, strict=True) if pair[1] is not None]
        targets, output_gradients = zip(*pairs, strict=True)
        return self._tapes.pop(step).gradient(
            targets,
            [self.inputs(step), self.weights(step)],
            output_gradients=output_gradients,
        )
