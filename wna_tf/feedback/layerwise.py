"""Feedback by weights that descend a term of their own map."""

import dataclasses

import tensorflow as tf

from wna_tf.feedback.context import Context
from wna_tf.feedback.random import Random
from wna_tf.feedback.source import Changes, FeedbackWeights, check_not_negative
from wna_tf.graph.operators import Affine
from wna_tf.graph.program import Program


@dataclasses.dataclass(frozen=True)
class Layerwise(Random):
    """Weights that descend a term of each map by itself, with coefficients of five primitives.

    With `x` the presynaptic activity of a map, `p = A(x; W)` and `q = A(x; F)`, without bias unless
    said otherwise, the term is the sum of

    * `decay (|W|^2 + |F|^2)`,
    * `- symmetry sum of W F`,
    * `- amplification mean of p . q`,
    * `sparsity mean of (p . p + q . q)`,
    * `nullity mean of |A^T(p; F)|^2`,

    where a mean is over the batch, and in a convolution over positions, and is in units of the
    squared factor that the parameterization has in `A`: `F` learns in NTK parameterization what it
    would learn in the standard one. Symmetric alignment,
    activation alignment, information alignment, the regularized weight mirror and the regularized
    Kolen-Pollack rule are choices of these. Source: Kunin et al. (2020), "Two routes to scalable
    credit assignment without weight symmetry", table 1; `symmetry` is their "self".

    Attributes:
        decay: Coefficient.
        symmetry: Coefficient. With twice the decay, `F` comes to be `W`.
        amplification: Coefficient.
        sparsity: Coefficient.
        nullity: Coefficient.
        update_forward: Whether `W` descends the term too, besides learning by the error.
        mirrored: Whether `F` gets the update that `W` gets by the error.
        noise: Whether `x` is N(0, 1) instead of presynaptic activity.
        bias: Whether `p` and `q` have the map's bias added.

    Raises:
        ValueError: If a coefficient is negative.
    """

    name = "layerwise"
    decay: float = 0.0
    symmetry: float = 0.0
    amplification: float = 0.0
    sparsity: float = 0.0
    nullity: float = 0.0
    update_forward: bool = False
    mirrored: bool = False
    noise: bool = False
    bias: bool = False

    def __post_init__(self) -> None:
        coefficients = ("decay", "symmetry", "amplification", "sparsity", "nullity")
        check_not_negative(**{name: getattr(self, name) for name in coefficients})

    @property
    def products(self) -> float:
        if not (self.amplification or self.sparsity or self.nullity):
            return 0
        forward = 1 + self.noise  # What activity becomes is known.
        return forward + 1 + self.update_forward + 2 * (self.nullity > 0)

    def weights(self, program: Program) -> list[FeedbackWeights]:
        return [some._replace(learned=True) for some in super().weights(program)]

    def draw(self, step: Affine, part: int, like: tf.Tensor, context: Context) -> tf.Tensor:
        """Draws what a part of a map's kernel acts on instead of activity, like a tensor.

        Args:
            step: The affine map.
            part: Which part of its kernel.
            like: Presynaptic activity of that part, [batch, ...].
            context: The step.
        """
        return context.normal(like, context.seed_of(step, part))

    def learn(self, context: Context) -> Changes:
        for some in context.owned:
            update = context.update(some.maps[0])
            if some.variables:
                (value,) = some.values
                kernel = context.kernel(some.maps[0])
                by_feedback, by_kernel = self.descend(some.maps, kernel, value, context)
                if self.mirrored and update is not None:
                    by_feedback += update
                yield some.variables[0], by_feedback
                if self.update_forward and update is not None:
                    yield some.kernel, by_kernel

    def term(
        self, step: Affine, kernel: tf.Tensor, weights: tf.Tensor, context: Context
    ) -> tf.Tensor:
        """Returns the part of the term that depends on what is given to a map, a scalar.

        Args:
            step: The affine map.
            kernel: Its kernel.
            weights: Its feedback weights.
            context: The step.
        """
        x = context.presynaptic(step)
        if self.noise:
            x = [self.draw(step, part, like, context) for part, like in enumerate(x)]
        biases = context.values(step)[1:] if self.bias else []
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            p = step.unfolded.complete(step.multiply(x, kernel), *biases)
            q = step.unfolded.complete(step.multiply(x, weights), *biases)
        total = self.sparsity * (p * p + q * q) - self.amplification * p * q
        term = tf.reduce_sum(total)
        if self.nullity:
            sent = tape.gradient(q, x, output_gradients=p)
            term += self.nullity * tf.add_n([tf.reduce_sum(tf.square(part)) for part in sent])
        answers = tf.maximum(tf.size(p) / step.units, 1)
        return term / (step.gain**2 * tf.cast(answers, term.dtype))

    def descend(
        self, maps: tuple[Affine, ...], kernel: tf.Tensor, weights: tf.Tensor, context: Context
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the derivatives of the term of a kernel by feedback weights and by kernel.

        Args:
            maps: The maps that share the kernel.
            kernel: The kernel.
            weights: Its feedback weights.
            context: The step.
        """
        by_feedback = 2 * self.decay * weights - self.symmetry * kernel
        by_kernel = 2 * self.decay * kernel - self.symmetry * weights
        if self.amplification or self.sparsity or self.nullity:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([weights, kernel])
                term = tf.add_n([self.term(step, kernel, weights, context) for step in maps])
            by_term = tape.gradient(term, [weights, kernel])
            by_feedback, by_kernel = by_feedback + by_term[0], by_kernel + by_term[1]
        return by_feedback, by_kernel
