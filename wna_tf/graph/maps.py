"""What the engine asks of a map: to evaluate it, to push tangents through it, to transpose it."""

import abc
import dataclasses
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from wna_tf.graph.jvp import Tangent


@dataclasses.dataclass(frozen=True)
class Value:
    """The place of a tensor that flows between maps.

    Args:
        index: Its number in the program.
    """

    index: int


class Delta(NamedTuple):
    """What arrives at a value from above.

    The two differ between an affine map and its normalization, where a rule takes derivative and
    activity from different networks: what is carried passes through the normalization of the
    former, what makes the update through that of the latter.

    Attributes:
        carried: Goes on to the maps below, [batch, ...].
        for_weights: Makes the update of the weights, [batch, ...].
    """

    carried: tf.Tensor
    for_weights: tf.Tensor


class Record(NamedTuple):
    """What the evaluation of a map keeps for its transpose.

    Attributes:
        inputs: Its inputs, [batch, ...] each.
        weights: The values of its weights.
        outputs: Its outputs, [batch, ...] each.
        tape: The tape of a local map, which can be asked any number of times.
        loop: The loop over time of a recurrence.
    """

    inputs: list[tf.Tensor]
    weights: list[tf.Tensor]
    outputs: list[tf.Tensor]
    tape: Any = None
    loop: Any = None


Below = list[Delta | None]
Updates = list[tf.Tensor | None]


@dataclasses.dataclass(frozen=True, eq=False)
class Map(abc.ABC):
    """One step of a program.

    Attributes:
        name: Name of the layer that the step belongs to.
        inputs: Where its inputs come from.
        outputs: Where its outputs go to.
        weights: The variables that it learns.
    """

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    weights: tuple[keras.Variable, ...]

    def learns(self, trained: Collection[int]) -> bool:
        """Returns whether some of its weights are among those with these `id`s.

        Args:
            trained: The `id`s of variables.
        """
        return any(id(variable) in trained for variable in self.weights)

    def carries(self, above: Collection[Value], trained: Collection[int]) -> bool:
        """Returns whether something that learns is below the map.

        Args:
            above: Places that depend on weights that are trained.
            trained: The `id` of each of these.
        """
        del trained
        return any(place in above for place in self.inputs)

    @abc.abstractmethod
    def evaluate(self, inputs: list[tf.Tensor], weights: list[tf.Tensor]) -> Record:
        """Evaluates the map.

        Args:
            inputs: Its inputs, [batch, ...] each.
            weights: The values of its weights.
        """

    @abc.abstractmethod
    def push(
        self, record: Record, inputs: Sequence[Tangent], weights: Sequence[Tangent]
    ) -> list[Tangent]:
        """Pushes tangents forward: the map's Jacobian-vector product.

        Args:
            record: The map where its Jacobian is taken.
            inputs: Tangents of its inputs, [batch, ...] each.
            weights: Tangents of its weights.

        Returns:
            The tangents of its outputs, [batch, ...] each. A tangent that is None is zero.
        """

    @abc.abstractmethod
    def transpose(
        self,
        derivative: Record,
        activity: Record,
        received: Sequence[Delta | None],
        feedback: tf.Tensor | None,
    ) -> tuple[Below, Updates]:
        """Transposes the map's Jacobian-vector product.

        Args:
            derivative: The map in the network whose derivatives are taken.
            activity: The map in the network whose presynaptic activity is read.
            received: What arrived at its outputs.
            feedback: The kernel that carries deltas through an affine map; None if nothing is to
                be carried.

        Returns:
            What goes to its inputs, and the updates of its weights; None where there is nothing.
        """
