"""What a feedback source may see: the weights at a moment, and what a step did with a batch."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from wna_tf.graph.errors import Errors
from wna_tf.graph.forward_pass import Networks, Weights
from wna_tf.graph.maps import Delta, Map, Record, Value
from wna_tf.graph.operators import Affine
from wna_tf.graph.program import Program


class Owned(NamedTuple):
    """The feedback weights that a source owns for some maps.

    Attributes:
        maps: The affine maps; more than one if they share a kernel, or end in one block.
        variables: The feedback weights; none where nothing learns by them.
        values: What they are at this moment.
    """

    maps: tuple[Affine, ...]
    variables: tuple[keras.Variable, ...]
    values: tuple[tf.Tensor, ...]

    @property
    def kernel(self) -> keras.Variable:
        """The kernel that they stand in for."""
        return self.maps[0].kernel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moment:
    """The weights of a learner at a moment of its training.

    Attributes:
        program: The network.
        current: Current value of every weight, by the `id` of its variable.
        initial: Value of every weight at initialization.
        owned: The feedback weights that the source owns, in the order of the network.
        step: Number of steps that the optimizer has made, a scalar.
        seed: Seed of the step, int64 [2]: the same on every replica, and when resumed.
    """

    program: Program
    current: Weights
    initial: Weights
    owned: tuple[Owned, ...]
    step: tf.Tensor
    seed: tf.Tensor

    def kernel(self, step: Affine) -> tf.Tensor:
        """Returns the current kernel of a map.

        Args:
            step: An affine map of the program.
        """
        return self.current[id(step.kernel)]

    def initial_kernel(self, step: Affine) -> tf.Tensor:
        """Returns the kernel of a map at initialization.

        Args:
            step: An affine map of the program.
        """
        return self.initial[id(step.kernel)]

    def values(self, step: Map) -> list[tf.Tensor]:
        """Returns the current values of a map's weights.

        Args:
            step: A map of the program.
        """
        return [self.current[id(variable)] for variable in step.weights]

    def feedback(self, step: Affine) -> tuple[tf.Tensor, ...]:
        """Returns the feedback weights of a map, in the order in which the source named them.

        Args:
            step: An affine map of the program.
        """
        return self._feedback.get(step, ())

    @functools.cached_property
    def _feedback(self) -> dict[Affine, tuple[tf.Tensor, ...]]:
        return {step: some.values for some in self.owned for step in some.maps}

    def once_read(self, values: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Returns values that are not there before all weights of this moment have been read.

        A graph orders what reads a variable and what assigns it by edges of control. TensorFlow
        takes such an edge away where data leads the same way, even through what an optimizer of
        Keras does with all updates at once, which it then splits: so a kernel that carries deltas
        might be read after its update. What an edge of control holds back is therefore each update
        itself, and by an operation that is not taken for an identity.

        Args:
            values: What is to wait, as updates.
        """
        with tf.control_dependencies(
            [*self.current.values(), *(value for some in self.owned for value in some.values)]
        ):
            return [tf.ensure_shape(value, value.shape) for value in values]

    def seed_of(self, step: Affine, part: int = 0) -> tf.Tensor:
        """Returns a seed [2] for the kernel of a map, another for each of its parts.

        Args:
            step: An affine map of the program.
            part: Which part of its kernel.
        """
        kernels = list(dict.fromkeys(id(other.kernel) for other in self.program.affine_maps))
        return _fold_in(_fold_in(self.seed, kernels.index(id(step.kernel))), part)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Context(Moment):
    """What a step of training has found out about its batch.

    Everything is as on one device whose batch this is: a loss is the mean over its examples. With
    several replicas, the learner weighs what a source makes of it by their numbers of examples.

    Attributes:
        networks: The network at its current and its initial weights, on the batch.
        derivative: Name of the network at which the rule takes derivatives.
        activity: Name of the network whose presynaptic activity the rule reads.
        errors: Derivatives of the loss, [batch, ...], with their places.
        targets: The targets, as they were given.
        sample_weight: Weights of the examples, [batch], or None.
        examples: Where the examples are in the batch of all replicas, and how many those have, two
            scalars; None if there is one replica.
        share: This replica's share of the examples; None for 1.
        loss_scale: What the optimizer divides updates by, as it multiplied the loss; None for 1.
        deltas: What arrived at the outputs of maps; empty before the errors are sent back.
        updates: Updates of the weights, by the `id` of the variable, as `weigh` makes them.
    """

    networks: Networks
    derivative: str
    activity: str
    errors: Errors
    targets: Any
    sample_weight: tf.Tensor | None
    examples: tuple[tf.Tensor, tf.Tensor] | None
    share: tf.Tensor | None
    loss_scale: tf.Tensor | None
    deltas: Mapping[Map, Sequence[Delta | None]] = dataclasses.field(default_factory=dict)
    updates: Mapping[int, tf.Tensor] = dataclasses.field(default_factory=dict)

    @property
    def error(self) -> tf.Tensor | None:
        """The derivative of the loss by the one output, [batch, ...]; None if it ignores that.

        Raises:
            ValueError: If the loss looks at more than one place.
        """
        if len(self.errors) > 1:
            raise ValueError(
                "Expected a loss that looks at one output, or at the logits behind it. "
                f"Received: one that looks at {len(self.errors)} places"
            )
        return self.errors[0][1] if self.errors else None

    @property
    def batch_size(self) -> tf.Tensor:
        """Number of examples of the batch, an integer at least 1: a replica may get none."""
        return tf.maximum(tf.shape(self.networks.inputs[0])[0], 1)

    def record(self, step: Affine) -> Record:
        """Returns what a map did in the network whose activity is read.

        Args:
            step: An affine map of the program.
        """
        return self.networks[self.activity].records[step]

    def presynaptic(self, step: Affine) -> list[tf.Tensor]:
        """Returns what the parts of a map's kernel act on, [batch, ...] each; most have one.

        Args:
            step: An affine map of the program.
        """
        return step.presynaptic(self.record(step))

    def activation(self, place: Value) -> tf.Tensor:
        """Returns the value at a place, [batch, ...], in the network whose activity is read.

        Args:
            place: A place of the program, as `step.outputs` has them.
        """
        return self.networks[self.activity].values[place.index]

    def delta(self, step: Affine) -> tf.Tensor | None:
        """Returns the delta of a map's output, [batch, ...]; None if none arrived.

        Args:
            step: An affine map of the program.
        """
        (delta, *_) = self.deltas.get(step, [None])
        return None if delta is None else self._unweigh(delta.for_weights)

    def update(self, step: Affine) -> tf.Tensor | None:
        """Returns the update of a map's kernel; None if it does not learn.

        Args:
            step: An affine map of the program.
        """
        update = self.updates.get(id(step.kernel))
        return None if update is None else self._unweigh(update)

    def normal(self, like: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Draws N(0, 1), for each example the same however many replicas there are.

        Args:
            like: What the draws are like, [batch, ...].
            seed: A seed, as `seed_of` returns it.
        """
        return self._draw(tf.random.stateless_normal, like, seed)

    def uniform(self, like: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Draws from [0, 1), as `normal` does.

        Args:
            like: Tensor of the shape and dtype to draw.
            seed: Seed, [2], as `seed_of` returns it.
        """
        return self._draw(tf.random.stateless_uniform, like, seed)

    def _draw(self, draw: Any, like: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        size, *shape = tf.unstack(tf.shape(like))
        begin, total = (0, size) if self.examples is None else self.examples
        drawn = draw([total, *shape], seed, dtype=like.dtype, alg="philox")
        return tf.reshape(drawn[begin : begin + size], tf.shape(like))

    def weigh(self, tensor: tf.Tensor) -> tf.Tensor:
        """Returns what this replica gives the optimizer, of what is as on one device.

        Args:
            tensor: A sum or mean over the whole batch.
        """
        for factor in self._factors:
            tensor = tensor * tf.cast(factor, tensor.dtype)
        return tensor

    def _unweigh(self, tensor: tf.Tensor) -> tf.Tensor:
        for factor in self._factors:  # The share of a replica without examples is 0.
            tensor = tf.math.divide_no_nan(tensor, tf.cast(factor, tensor.dtype))
        return tensor

    @property
    def _factors(self) -> list[tf.Tensor]:
        return [factor for factor in (self.share, self.loss_scale) if factor is not None]


def _fold_in(seed: tf.Tensor, number: int) -> tf.Tensor:
    return tf.random.experimental.stateless_fold_in(seed, number, alg="philox")
