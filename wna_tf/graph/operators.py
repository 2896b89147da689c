"""The kinds of maps that networks are made of, forward and transposed.

A learning rule acts on two kinds. An `Affine` map is linear in its input and in its kernel each;
feedback weights stand in for its kernel on the way back. Every other map is `Local`: it contributes
its derivative alone, and its parameters, if it has any, learn by that.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from wna_tf.graph.jvp import Tangent, push_through, transpose_jvp
from wna_tf.graph.maps import Below, Delta, Map, Record, Updates


@dataclasses.dataclass(frozen=True, eq=False)
class Affine(Map):
    """A map `scale * linear(x, kernel) + offset(bias)`; its weights are kernel and bias.

    Attributes:
        linear: A function that is linear in `x` and in `kernel` each.
        scale: A factor of all its outputs.
        offset: What the bias adds, which broadcasts to an output; None if nothing does.
        initializer: Initializer of the kernel, the distribution of random feedback weights.
        fan_in: Inputs of one output unit.
        magnitude: Root mean square of the kernel's entries at initialization, as the
            parameterization has it: 1 (NTK), or 1 / sqrt(fan_in) (standard).
        is_product: Whether the kernel, as a matrix [fan_in, units], multiplies rows of the input,
            and the bias is added to each row of the product.
        original: The map with scale and bias, where a normalization absorbs them; else None.
    """

    linear: Callable[..., tf.Tensor]
    scale: float
    offset: Callable[[tf.Tensor], tf.Tensor] | None
    initializer: Callable[..., Any]
    fan_in: int
    magnitude: float
    is_product: bool = False
    original: "Affine | None" = None

    @property
    def units(self) -> int:
        """Output units that the kernel makes at each of its places, as of an image or sequence."""
        size, last = math.prod(self.kernel.shape), self.kernel.shape[-1]
        return last if self.is_product else size // self.fan_in

    @property
    def gain(self) -> float:
        """What the parameterization multiplies products by: 1 / sqrt(fan_in) (NTK), or 1."""
        return 1 / (math.sqrt(self.fan_in) * self.magnitude)

    @property
    def unfolded(self) -> "Affine":
        """The map as its layer has it: what a normalization behind it absorbs left in it."""
        return self.original or self

    @property
    def kernel(self) -> keras.Variable:
        """The weight that feedback weights stand in for on the way back."""
        return self.weights[0]

    def apply(self, x: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | None = None) -> tf.Tensor:
        """Returns the map's output, [batch, ...].

        Args:
            x: Input, [batch, ...].
            kernel: Value of the kernel.
            bias: Value of the bias; None if there is none.
        """
        return self.complete(self.linear(x, kernel), bias)

    def complete(self, product: tf.Tensor, bias: tf.Tensor | None = None) -> tf.Tensor:
        """Returns a product of activity and kernel with the map's scale, and its bias added.

        Args:
            product: What `linear` returned, [batch, ...].
            bias: Value of the bias; None if there is none.
        """
        outputs = self._scale(product)
        return outputs if bias is None or self.offset is None else outputs + self.offset(bias)

    def _scale(self, tensor: tf.Tensor) -> tf.Tensor:
        return tensor if self.scale == 1 else tensor * self.scale

    def evaluate(self, inputs: list[tf.Tensor], weights: list[tf.Tensor]) -> Record:
        return Record(inputs, weights, [self.apply(*inputs, *weights)])

    def push(
        self, record: Record, inputs: Sequence[Tangent], weights: Sequence[Tangent]
    ) -> list[Tangent]:
        """Returns `A(dx; W) + A(x; dW)`: since the map is linear in each, its own values.

        Args:
            record: What `evaluate` returned.
            inputs: Tangents of the inputs; None for zero.
            weights: Tangents of the weights; None for zero.
        """
        (dx,) = inputs
        terms = [
            None if dx is None else self.apply(dx, record.weights[0]),
            self._push_weights(record, weights),
        ]
        given = [term for term in terms if term is not None]
        return [tf.add_n(given) if given else None]

    def _push_weights(self, record: Record, tangents: Sequence[Tangent]) -> Tangent:
        """Pushes tangents of the weights alone."""
        if all(tangent is None for tangent in tangents):
            return None
        kernel, *biases = [
            tf.zeros_like(value) if tangent is None else tangent
            for value, tangent in zip(record.weights, tangents, strict=True)
        ]
        outputs = self._scale(self.multiply(self.presynaptic(record), kernel))
        return sum((self.offset(bias) for bias in biases if self.offset), outputs)

    def transpose(
        self,
        derivative: Record,
        activity: Record,
        received: Sequence[Delta | None],
        feedback: tf.Tensor | None,
    ) -> tuple[Below, Updates]:
        carried, product = self.carry(derivative, received, feedback)
        below = [None if delta is None else Delta(delta, delta) for delta in carried]
        return below, self._learn(activity, product)

    def _learn(self, record: Record, delta: tf.Tensor) -> Updates:
        """Transposes the Jacobian-vector product of the weights.

        What has the delta's shape takes it from the delta: to take it from the product of the
        kernel would be to compute that.
        """
        _, *biases = record.weights
        update = self._learn_kernel(record, self._scale(delta))
        offset = self.offset
        if offset is None:
            return [update, *map(tf.zeros_like, biases)]
        return [
            update,
            *(
                transpose_jvp(lambda bias: tf.zeros_like(delta) + offset(bias), bias, delta)
                for bias in biases
            ),
        ]

    def _learn_kernel(self, record: Record, delta: tf.Tensor) -> tf.Tensor:
        """Transposes the Jacobian-vector product of the kernel, without scale."""
        return self.transpose_kernel(self.presynaptic(record), record.weights[0], delta)

    def presynaptic(self, record: Record) -> list[tf.Tensor]:
        """Returns what the parts of the kernel act on, [batch, ...] each; most have one.

        Args:
            record: What `evaluate` returned.
        """
        return record.inputs

    def multiply(self, activities: Sequence[tf.Tensor], kernel: tf.Tensor) -> tf.Tensor:
        """Returns what a kernel makes of presynaptic activities, without scale and bias.

        Args:
            activities: As `presynaptic` returns them.
            kernel: Value of the kernel.
        """
        return self.linear(activities[0], kernel)

    def transpose_kernel(
        self, activities: Sequence[tf.Tensor], like: tf.Tensor, delta: tf.Tensor
    ) -> tf.Tensor:
        """Transposes `multiply` as a function of the kernel: a Hebbian product.

        Args:
            activities: Presynaptic activities, [batch, ...] each.
            like: A tensor of the shape of the kernel.
            delta: What to apply the transpose to, of the shape of the product.
        """
        return transpose_jvp(lambda kernel: self.multiply(activities, kernel), like, delta)

    def rows(self, record: Record) -> tf.Tensor:
        """Returns what the kernel of a product multiplies, [batch, rows, fan_in].

        Args:
            record: What `evaluate` returned.
        """
        *shape, _ = self.kernel.shape
        identity = tf.eye(math.prod(shape), dtype=self.kernel.dtype)
        # A kernel that is the identity makes patches of an image, scaled as the map scales them.
        kernels = tf.reshape(identity, [*shape, -1])
        unfolded = self.multiply(self.presynaptic(record), kernels)
        return self.as_rows(self._scale(unfolded))

    def as_rows(self, product: tf.Tensor) -> tf.Tensor:
        """Returns a tensor of the shape of the kernel's product as [batch, rows, features].

        Args:
            product: The tensor, [batch, ...].
        """
        batch, features = tf.shape(product)[0], product.shape[-1]
        return tf.reshape(product, [batch, -1, features])

    def carry(
        self, derivative: Record, received: Sequence[Delta | None], feedback: tf.Tensor | None
    ) -> tuple[Updates, tf.Tensor]:
        """Carries deltas to the map's inputs.

        Args:
            derivative: The map in the network whose derivatives are taken.
            received: What arrived at its outputs.
            feedback: The kernel that carries deltas, or None if nothing is to be carried.

        Returns:
            The deltas of its inputs, None where there is none, and that of what its kernel makes of
            the presynaptic activity, from which the kernel learns.
        """
        (delta,) = received
        assert delta is not None, "a map without a delta is passed over"
        carried = None
        if feedback is not None:
            (x,) = derivative.inputs
            carried = self._carry(x, feedback, delta.carried)
        return [carried], delta.for_weights

    def _carry(self, x: tf.Tensor, feedback: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
        """Transposes the Jacobian-vector product of the input."""
        return transpose_jvp(lambda x: self.linear(x, feedback), x, self._scale(delta))


@dataclasses.dataclass(frozen=True, eq=False)
class Local(Map):
    """A map `apply(*inputs)` that is not affine; it reads its own weights, if it has any.

    Attributes:
        apply: The function of its inputs.
        is_symmetric: Whether its Jacobian is known to be symmetric, so that its Jacobian-vector
            product is its own transpose: that of any elementwise function, and of a normalization
            by moments over the batch without scale and offset.
    """

    apply: Callable[..., Any]
    is_symmetric: bool = False

    def evaluate(self, inputs: list[tf.Tensor], weights: list[tf.Tensor]) -> Record:
        # A tape for each map, not one for the network: a rule may combine two networks.
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch([x for x in inputs + weights if x.dtype.is_floating])
            outputs = [x for x in keras.tree.flatten(self.apply(*inputs)) if x is not None]
        return Record(inputs, weights, outputs, tape)

    def push(
        self, record: Record, inputs: Sequence[Tangent], weights: Sequence[Tangent]
    ) -> list[Tangent]:
        if self.is_symmetric:
            return self._push_by_transpose(record, *inputs)
        primals = [*record.inputs, *record.weights]
        return push_through(record.tape, primals, record.outputs, [*inputs, *weights])

    def _push_by_transpose(self, record: Record, tangent: Tangent) -> list[Tangent]:
        if tangent is None:
            return [None]
        dtype = record.outputs[0].dtype  # A layer may compute in another one than its input's.
        ((pushed,), _) = self._pull_back(record, [tf.cast(tangent, dtype)])
        return [pushed if pushed is None else tf.cast(pushed, dtype)]

    def transpose(
        self,
        derivative: Record,
        activity: Record,
        received: Sequence[Delta | None],
        feedback: tf.Tensor | None,
    ) -> tuple[Below, Updates]:
        del feedback
        carried, updates = self._pull_back(
            derivative, [delta and delta.carried for delta in received]
        )
        for_weights = carried
        if activity is not derivative:
            for_weights, updates = self._pull_back(
                activity, [delta and delta.for_weights for delta in received]
            )
        return self._combine(carried, for_weights), updates

    def _combine(self, carried: Updates, for_weights: Updates) -> Below:
        del for_weights  # A block ends here: what it is sent is the derivative network's.
        return [None if delta is None else Delta(delta, delta) for delta in carried]

    def _pull_back(
        self, record: Record, deltas: Sequence[tf.Tensor | None]
    ) -> tuple[Updates, Updates]:
        """Returns the transposed Jacobian's deltas of the inputs, and those of the weights."""
        pairs = zip(record.outputs, deltas, strict=True)
        outputs, deltas = zip(*[pair for pair in pairs if pair[1] is not None], strict=True)
        below, updates = record.tape.gradient(
            outputs, [record.inputs, record.weights], output_gradients=deltas
        )
        # An embedding's are slices.
        return below, [None if u is None else tf.convert_to_tensor(u) for u in updates]


class Continuation(Local):
    """A map that continues the block of an affine map before it: what it is sent stays in two."""

    def _combine(self, carried: Updates, for_weights: Updates) -> Below:
        return [
            None if pair[0] is None else Delta(*pair)
            for pair in zip(carried, for_weights, strict=True)
        ]


class Rearrangement(Continuation):
    """What an affine map's layer does to what its kernel makes: reshapes it, and adds a bias."""


@dataclasses.dataclass(frozen=True, eq=False)
class Normalization(Continuation):
    """A normalization. Behind an affine map it is a part of that map's block.

    Attributes:
        absorb: `absorb(affine) -> apply`: the normalization as a function of `linear(x, kernel)`
            alone, if scale and bias of an affine map before it do not change what it puts out.
    """

    absorb: Callable[[Affine], Callable[..., Any]] | None = None


class Activation(Local):
    """An elementwise activation: the end of an affine map's block."""
