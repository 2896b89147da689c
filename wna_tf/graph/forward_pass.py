"""The evaluation of programs at given weights."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from wna_tf.graph.jvp import Tangent
from wna_tf.graph.maps import Map, Record, Value
from wna_tf.graph.program import Program

Weights = Mapping[int, tf.Tensor]
"""Values of variables, by the `id` of the variable."""

Known = Mapping[Map, tf.Tensor]
"""Outputs of affine maps that need not be computed, [batch, ...]."""

_NOTHING: Any = MappingProxyType({})


class Remembered(NamedTuple):
    """Inputs of a learner, with what its network at the initial weights makes of them.

    Attributes:
        inputs: Inputs, [batch, ...].
        outputs: Outputs of affine maps at the initial weights, [batch, ...], by the keys of
            `Learner.maps_by_key`.
    """

    inputs: Any
    outputs: Mapping[str, tf.Tensor] = _NOTHING

    @classmethod
    def of(cls, x: Any) -> "Remembered":
        """Returns inputs that may be remembered ones as such."""
        return x if isinstance(x, cls) else cls(x)


class State(keras.StatelessScope):
    """The variables of a network while it is evaluated; what layers write leaves no trace.

    What a layer writes to a variable and reads again has no derivative, as in Keras, where a
    gradient does not pass through an assignment.

    Args:
        program: The network.
        weights: The value of every weight of the program.
    """

    def __init__(self, program: Program, weights: Weights):
        values = [(variable, weights[key]) for key, variable in program.variables.items()]
        super().__init__(values)

    def add_update(self, update: tuple[keras.Variable, tf.Tensor]) -> None:
        variable, value = update
        super().add_update((variable, tf.stop_gradient(value)))


def evaluate(
    program: Program,
    inputs: Sequence[tf.Tensor],
    weights: Weights,
    state: State,
    known: Known = _NOTHING,
) -> Iterator[tuple[Map, Record]]:
    """Evaluates a network map by map, and keeps no value longer than it is used.

    Args:
        program: The network.
        inputs: Its inputs, [batch, ...] each.
        weights: The value of every weight of the program.
        state: Takes what layers write to their variables.
        known: What affine maps put out at these weights, if it is known.

    Yields:
        Each map, and what it keeps for its transpose.

    """
    live = dict(zip(program.inputs, inputs, strict=True))
    with state:
        for step in program.maps:
            given = (
                [live[place] for place in step.inputs],
                [weights[id(variable)] for variable in step.weights],
            )
            record = Record(*given, [known[step]]) if step in known else step.evaluate(*given)
            live.update(zip(step.outputs, record.outputs, strict=True))
            yield step, record
            for place in program.last_uses.get(step, ()):
                del live[place]


class Evaluation:
    """A network evaluated at some weights.

    Evaluating leaves no trace: what layers write to their variables (moving statistics, random
    seeds) is kept in `state`.

    Args:
        program: The network.
        inputs: Its inputs, [batch, ...] each.
        weights: The value of every weight of the program.
        known: What affine maps put out at these weights, if it is known.

    Attributes:
        values: The tensors at the program's places, [batch, ...] each.
        outputs: Those of the network's outputs.
        records: What each map keeps for its transpose.
        state: Scope to ask for the new value of a variable.
    """

    def __init__(
        self,
        program: Program,
        inputs: Sequence[tf.Tensor],
        weights: Weights,
        known: Known = _NOTHING,
    ):
        self.program = program
        self.values: list[Any] = [None] * len(program.shapes)
        self.records: dict[Map, Record] = {}
        self.state = State(program, weights)
        for place, tensor in zip(program.inputs, inputs, strict=True):
            self.values[place.index] = tensor
        for step, record in evaluate(program, inputs, weights, self.state, known):
            self.records[step] = record
            for place, tensor in zip(step.outputs, record.outputs, strict=True):
                self.values[place.index] = tensor
        self.outputs = [self.values[place.index] for place in program.outputs]

    def push(
        self,
        weights: Mapping[int, tf.Tensor],
        perturbed: Mapping[Value, tf.Tensor] = MappingProxyType({}),
        places: Sequence[Value] | None = None,
    ) -> list[Tangent]:
        """Pushes tangents forward: the network's Jacobian-vector product.

        Args:
            weights: Tangents of weights, by the `id` of the variable; zero for those left out.
            perturbed: Tangents that are added at some places behind maps, [batch, ...].
            places: Where tangents are asked for; None for the outputs.

        Returns:
            The tangent at each of these places, [batch, ...]; None where it is zero.
        """
        tangents: dict[Value, Tangent] = {}
        for step in self.program.maps:
            pushed = step.push(
                self.records[step],
                [tangents.get(place) for place in step.inputs],
                [weights.get(id(variable)) for variable in step.weights],
            )
            for place, *parts in zip(
                step.outputs, pushed, map(perturbed.get, step.outputs), strict=True
            ):
                given = [part for part in parts if part is not None]
                tangents[place] = tf.add_n(given) if given[1:] else next(iter(given), None)
        asked = self.program.outputs if places is None else places
        return [tangents.get(place) for place in asked]


class Networks:
    """A network at its current and at its initial weights, on one batch.

    Args:
        program: The network.
        inputs: Its inputs, [batch, ...] each.
        current: Current value of every weight.
        initial: Value of every weight at initialization.
        trained: The `id` of every variable that may differ between the two.
        known: What affine maps put out at the initial weights, if it is known.
    """

    def __init__(
        self,
        program: Program,
        inputs: Sequence[tf.Tensor],
        current: Weights,
        initial: Weights,
        trained: Sequence[int],
        known: Known = _NOTHING,
    ):
        self.program = program
        self.inputs = inputs
        self.weights = {"current": current, "initial": initial}
        self.trained = trained
        self.known = {"current": _NOTHING, "initial": known}
        self._evaluations: dict[str, Evaluation] = {}

    def __getitem__(self, name: str) -> Evaluation:
        """Returns the evaluation of the `"current"` or the `"initial"` network."""
        if name not in self._evaluations:
            self._evaluations[name] = Evaluation(
                self.program, self.inputs, self.weights[name], self.known[name]
            )
        return self._evaluations[name]

    def at(self, inputs: Sequence[tf.Tensor]) -> "Networks":
        """Returns the same networks on another batch."""
        current, initial = self.weights["current"], self.weights["initial"]
        return Networks(self.program, inputs, current, initial, self.trained)

    def anew(self) -> "Networks":
        """Returns the same networks on the same batch, with tapes that are not used up."""
        current, initial = self.weights["current"], self.weights["initial"]
        known = self.known["initial"]
        return Networks(self.program, self.inputs, current, initial, self.trained, known)

    def outputs(self, name: str) -> list[tf.Tensor]:
        """Returns the outputs of the `"current"` or the `"linearized"` network, [batch, ...].

        The linearized network is `f_0 + J(theta_0) (theta_t - theta_0)`. Source: Lee et al. (2019),
        "Wide neural networks of any depth evolve as linear models", equation 4.
        """
        if name == "current":
            return self["current"].outputs
        current, initial = self.weights["current"], self.weights["initial"]
        pushed = self["initial"].push({key: current[key] - initial[key] for key in self.trained})
        return [
            output if tangent is None else output + tangent
            for output, tangent in zip(self["initial"].outputs, pushed, strict=True)
        ]

    def masks(self, name: str) -> list[tf.Tensor | None]:
        """Returns the masks of these outputs, [batch, ...]; None for an output without one."""
        values = self["current" if name == "current" else "initial"].values
        return [None if place is None else values[place.index] for place in self.program.masks]
