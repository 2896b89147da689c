"""The weights that a learner keeps beside its network: initial and feedback weights."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from wna_tf import internals, replicas
from wna_tf.feedback import Context, Feedback, Moment, Owned
from wna_tf.feedback.source import reseed
from wna_tf.graph.forward_pass import Weights
from wna_tf.graph.operators import Affine
from wna_tf.graph.program import Program


class OwnWeights:
    """Initial weights, and the feedback weights that a rule owns where something learns by them.

    Args:
        add: `add(name, shape, initializer, dtype)` makes a variable.
        trained: The network's variables that are trained.
        program: The network as a program.
        feedback: Source of the feedback weights.
        seed: Seed of feedback weights.

    Attributes:
        trained: The `id` of every variable that is trained.
        initial: Their values at initialization, variables in the same order.
        feedback: The feedback weights, variables.
        learned: Those of them that the optimizer trains.

    """

    def __init__(
        self,
        add: Callable[[str, Any, Any, str], keras.Variable],
        trained: Sequence[keras.Variable],
        program: Program,
        feedback: Feedback,
        seed: int,
    ):
        self._program = program
        self._source = feedback
        # How each of them begins, as an initializer for a seed.
        self._begin: list[tuple[keras.Variable, Callable[[int], Any]]] = []

        def make(name: str, shape: Any, begin: Callable[[int], Any], dtype: str) -> keras.Variable:
            made = add(name, shape, begin(seed), dtype)
            self._begin.append((made, begin))
            return made

        self.trained = tuple(id(variable) for variable in trained)
        self.initial = [
            make(
                f"initial_weight_{index}",
                variable.shape,
                functools.partial(_copy, variable),
                variable.dtype,
            )
            for index, variable in enumerate(trained)
        ]
        self._served = tuple(feedback.weights(program))
        # Seeds, names and files have the index among all: other weights may be trained next time.
        self._feedback = {
            index: make(
                f"feedback_weight_{index}",
                some.shape,
                functools.partial(_reseed, some.initializer, index),
                some.maps[0].kernel.dtype,
            )
            for index, some in enumerate(self._served)
            if feedback.needs(program, some, self.trained)
        }
        self.feedback = list(self._feedback.values())
        self.learned = [v for index, v in self._feedback.items() if self._served[index].learned]

    def begin_anew(self, seed: int) -> None:
        """Sets all of them to what they would be if the network, as it is, was wrapped now."""
        for variable, begin in self._begin:
            variable.assign(begin(seed)(variable.shape, dtype=variable.dtype))

    def values(self) -> tuple[Weights, Weights]:
        """Returns the current and the initial weights, by the `id` of the variable."""
        variables = self._program.variables
        current = dict(zip(variables, internals.values_of(variables.values()), strict=True))
        initial = zip(self.trained, internals.values_of(self.initial), strict=True)
        return current, current | dict(initial)

    def owned(self) -> tuple[Owned, ...]:
        """Returns the feedback weights, by the maps that they serve, in the network's order."""
        variables: dict[tuple[Affine, ...], list[keras.Variable]] = {}
        for index, some in enumerate(self._served):
            made = variables.setdefault(some.maps, [])
            if index in self._feedback:
                made.append(self._feedback[index])
        return tuple(
            Owned(maps, tuple(made), tuple(tf.convert_to_tensor(v.value) for v in made))
            for maps, made in variables.items()
        )

    def evolve(self, before: Context, after: Moment, applied: tf.Tensor) -> None:
        """Changes what the source changes after a step; the same on all replicas.

        Args:
            before: The step.
            after: The weights after the optimizer's update.
            applied: Whether the optimizer applied updates in it, a boolean tensor.
        """
        changes = list(self._source.evolve(before, after))
        values = before.once_read(
            [
                replicas.mean(value, tf.convert_to_tensor(variable), before.share)
                for variable, value in changes
            ]
        )
        for (variable, _), value in zip(changes, values, strict=True):
            variable.assign(tf.where(applied, value, variable))

    def by_key(self) -> dict[str, keras.Variable]:
        """Returns all of them, by their keys in files."""
        own = [*enumerate(self.initial)]
        own += [(len(self.initial) + index, some) for index, some in self._feedback.items()]
        return {str(key): variable for key, variable in own}

    def load(self, store: Mapping[str, Any]) -> None:
        """Loads all of them from a file, which may hold feedback weights for other maps too.

        Raises:
            ValueError: If some are missing.
        """
        variables = self.by_key()
        missing = [variable.name for key, variable in variables.items() if key not in store]
        if missing:
            raise ValueError(
                "Expected a file with the initial and feedback weights of this learner. "
                f"Received: one without {', '.join(missing)}"
            )
        for key, variable in variables.items():
            variable.assign(store[key])


def _copy(variable: keras.Variable, seed: int) -> Callable[..., tf.Tensor]:
    del seed
    return lambda *_, **__: tf.convert_to_tensor(variable.value)


def _reseed(initializer: Any, index: int, seed: int) -> keras.initializers.Initializer:
    return reseed(initializer, seed, index)


def choose_trained(network: keras.Model, indices: Sequence[int] | None) -> Sequence[keras.Variable]:
    """Returns the variables of a network that are trained.

    Args:
        network: The network.
        indices: Indices of those of `network.variables`; None for the trainable ones.

    Raises:
        ValueError: If there are no variables of these indices.
    """
    variables = network.variables
    if indices is None:
        return network.trainable_variables
    if not all(isinstance(index, int) and 0 <= index < len(variables) for index in indices):
        raise ValueError(
            f"Expected trained to be indices of the network's {len(variables)} variables. "
            f"Received: trained={indices!r}"
        )
    return [variables[index] for index in indices]
