"""Measures of learning, as functions of tensors: nothing here needs a run.

Angles and conserved quantities cost a pass over the weights; what the others cost is said there.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from wna_tf import progress
from wna_tf.graph.jvp import transpose_jvp
from wna_tf.graph.operators import Affine
from wna_tf.graph.recurrence import Recurrence

# The score is exact if one application to every basis vector takes at most so many multiply-adds,
# about half a second on two cores.
EXACT_COST = 2**32
# Entries of the probes that are pushed through an operator at a time: 64 MB in float32.
_CHUNK_ENTRIES = 2**24


class Score(NamedTuple):
    """An alignment score.

    Attributes:
        value: In [0, 1]; NaN if a change is zero.
        error: Its standard error; 0 where it is exact.
    """

    value: tf.Tensor
    error: tf.Tensor


def alignment_score(
    learner: keras.Model,
    layer: keras.layers.Layer | str,
    companion: keras.Model | Sequence[Any],
    probes: int = 100,
    seed: int = 0,
) -> Score:
    """Alignment score of a layer: what its learner changed, beside what a companion did.

    Both changes are from the learner's initial weights; see `operator_alignment`.

    ```python
    score = callbacks.AlignmentScore()
    learner.fit(train, epochs=10, callbacks=[score])
    measures.alignment_score(learner, "conv2d_1", score.companion)
    ```

    Args:
        learner: A `Learner`.
        layer: A layer of its network with a kernel, or its name; `layer.kernel` is the name of one
            of several kernels.
        companion: A `Learner` that `align_zero` trained from the same initial weights, or its
            trainable variables' values, as `callbacks.AlignmentScore` keeps them.
        probes: Number of random probes, where the score is not exact.
        seed: Seed of the probes.

    Raises:
        ValueError: If the network has no such kernel, or several, or the layer's input has an
            unknown shape.
    """
    name = layer if isinstance(layer, str) else layer.name
    names = learner.program.affine_names
    found = [step for step, own in names.items() if name in (own, step.name)]
    if len(found) != 1:
        raise ValueError(
            f"Expected the name of one kernel, of {', '.join(names.values())}. "
            f"Received: layer={name!r}, which has {len(found)}"
        )
    (step,) = found
    others = companion.trainable_variables if isinstance(companion, keras.Model) else companion
    index = [id(variable) for variable in learner.trainable_variables].index(id(step.kernel))
    current, initial = learner.weight_values()
    start = initial[id(step.kernel)]
    shape = kernel_input_shape(step, learner.program.shapes[step.inputs[0].index])
    change, reference = (
        current[id(step.kernel)] - start,
        tf.convert_to_tensor(others[index]) - start,
    )
    return operator_alignment(step, shape, change, reference, probes, seed)


@tf.autograph.experimental.do_not_convert
def operator_alignment(
    step: Affine,
    input_shape: Sequence[int],
    change: tf.Tensor,
    reference: tf.Tensor,
    probes: int = 100,
    seed: int = 0,
) -> Score:
    """Cosine between two changes of a kernel, as correlations of the map's whole input.

    With A and B the changes as operators on the input (a convolution's on the whole image, with
    its stride and padding), `tr(A'A B'B) / sqrt(tr((A'A)^2) tr((B'B)^2))`. The traces are sums over
    the vectors `e` of a basis: of `|A B'e|^2`, `|A A'e|^2` and `|B B'e|^2` for a basis of the
    outputs, of `(A'Ae) . (B'Be)`, `|A'Ae|^2` and `|B'Be|^2` for one of the inputs; the smaller one
    is taken. The score is exact for dense maps, and if the map takes at most `EXACT_COST`
    multiply-adds for the whole basis. Otherwise random signs, whose mean outer product is the
    identity, stand in for the basis, and the standard error is that of the ratio to first order.

    Costs at most five applications of the map to a batch of so many examples as there are vectors.
    Source: Boopathy and Fiete (2022), where B is the change of a network that `align_zero` trains.

    Args:
        step: The map; only its `apply` is used.
        input_shape: Shape of its input without the batch, see `kernel_input_shape`.
        change: Change A of its kernel.
        reference: Change B of its kernel.
        probes: Number of random probes.
        seed: Seed of the probes.

    Raises:
        ValueError: If there is no probe, or an axis of the input is unknown.
    """
    if probes < 2:
        raise ValueError(f"Expected probes to be at least 2. Received: probes={probes}")
    if None in input_shape:
        raise ValueError(
            f"Expected an input of known shape for the alignment score of layer {step.name!r}. "
            f"Received: input_shape={tuple(input_shape)}"
        )
    # The score has no scale; without this, fourth powers of small changes would underflow.
    a, b = change / tf.norm(change), reference / tf.norm(reference)
    dtype = a.dtype
    outputs = (
        tf.function(step.apply, autograph=False)
        .get_concrete_function(
            tf.TensorSpec([None, *input_shape], dtype), tf.TensorSpec(a.shape, dtype)
        )
        .structured_outputs
    )
    shapes = {"inputs": tuple(input_shape), "outputs": tuple(outputs.shape[1:])}
    sizes = {side: math.prod(shape) for side, shape in shapes.items()}
    side = min(sizes, key=sizes.__getitem__)
    basis = exact_basis(sizes["inputs"], sizes["outputs"], a.shape)
    is_exact, count = basis is not None, basis or probes
    chunk = min(count, max(1, _CHUNK_ENTRIES // max(sizes.values())))

    def forward(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return tf.cast(step.apply(x, kernel), dtype)

    def backward(y: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        primal = tf.zeros([chunk, *input_shape], dtype)
        return transpose_jvp(lambda x: step.apply(x, kernel), primal, tf.cast(y, outputs.dtype))

    def moments(start: tf.Tensor) -> tf.Tensor:
        """Returns the summands of the three traces for one chunk of vectors, [chunk, 3]."""
        if is_exact:  # Rows behind the last vector are zero.
            vectors = tf.one_hot(start + tf.range(chunk), count, dtype=dtype)
        else:
            uniform = tf.random.stateless_uniform([chunk, sizes[side]], [seed, start])
            vectors = tf.cast(tf.where(uniform < 0.5, -1.0, 1.0), dtype)
        vectors = tf.reshape(vectors, [chunk, *shapes[side]])
        if side == "inputs":
            u, v = (backward(forward(vectors, kernel), kernel) for kernel in (a, b))
            products = [(u, v), (u, u), (v, v)]
        else:
            u, v = (backward(vectors, kernel) for kernel in (a, b))
            products = [(image, image) for image in (forward(v, a), forward(u, a), forward(v, b))]
        stage.advance()  # Within a graph it is the graph that is told of.
        return tf.stack([tf.reduce_sum(tf.reshape(x * y, [chunk, -1]), 1) for x, y in products], 1)

    starts = tf.range(0, count, chunk)
    with progress.Stage(f"Alignment of {step.name}", "chunks", math.ceil(count / chunk)) as stage:
        summands = tf.map_fn(moments, starts, parallel_iterations=1, fn_output_signature=dtype)
    summands = tf.reshape(summands, [-1, 3])[:count]
    means = tf.reduce_mean(summands, 0)
    value = means[0] / tf.sqrt(means[1] * means[2])
    if is_exact:
        return Score(value, tf.zeros_like(value))
    influence = value * tf.linalg.matvec(summands / means, tf.constant([1, -0.5, -0.5], dtype))
    return Score(value, tf.math.reduce_std(influence) / math.sqrt(count - 1))


def exact_basis(inputs: int, outputs: int, kernel_shape: Sequence[int]) -> int | None:
    """Returns how many vectors an exact score takes, or None if it would take too long.

    Args:
        inputs: Size of the input of the map.
        outputs: Size of its output.
        kernel_shape: Shape of its kernel.
    """
    is_dense = inputs * outputs == math.prod(kernel_shape)
    multiply_adds = math.prod(kernel_shape[:-1]) * outputs  # More, in depthwise maps.
    count = min(inputs, outputs)
    return count if is_dense or count * multiply_adds <= EXACT_COST else None


def shuffle(kernel: tf.Tensor, seed: int = 0) -> tf.Tensor:
    """Returns a kernel with its entries permuted: the control of the alignment score.

    The control is the score of `shuffle(trained) - initial`. Source: Boopathy and Fiete (2022).

    Args:
        kernel: The kernel.
        seed: Seed of the order.
    """
    entries = tf.random.experimental.stateless_shuffle(tf.reshape(kernel, [-1]), [seed, 0])
    return tf.reshape(entries, kernel.shape)


def kernel_input_shape(step: Affine, shape: Sequence[int | None]) -> tuple[int | None, ...]:
    """Returns the shape, without the batch, of what the kernel of an affine map acts on.

    Args:
        step: The map.
        shape: That of its input, with the batch.
    """
    if isinstance(step, Recurrence):  # Its input is added to what its kernel makes of a state.
        return step.sizes[:1]
    return tuple(shape[1:])


def norm(tensors: Any) -> tf.Tensor:
    """Norm of tensors as one vector, a float64 scalar.

    Args:
        tensors: A tensor, or a nested structure of them.
    """
    return tf.norm(_as_vector(tensors))


def angle(a: Any, b: Any) -> tf.Tensor:
    """Angle between two tensors of one shape as vectors, in degrees from 0 to 180.

    NaN if one is zero. Exact near 0 and 180, where the arc cosine of a cosine is not.
    Source: Kahan (2006), "How futile are mindless assessments of roundoff", section 12.

    Args:
        a: A tensor, or a nested structure of them, which is one vector.
        b: Another of the same shape.
    """
    a, b = _as_vector(a), _as_vector(b)
    a, b = a / tf.norm(a), b / tf.norm(b)
    return 2 * tf.atan2(tf.norm(a - b), tf.norm(a + b)) * (180 / math.pi)


def linearization_gap(outputs: Any, linearized: Any, initial: Any) -> tf.Tensor:
    """How far a network is from its linearization, `|f - f_lin| / |f - f_0|`.

    The part of the change of the outputs since initialization that the linearization at the
    initial weights misses: 0 in the lazy regime, 1 for a guess that nothing changes. NaN if the
    outputs did not change. Source: Lee et al. (2019), who compare `|f - f_lin|` across widths.

    Args:
        outputs: `f`, outputs of the network, [batch, ...] each.
        linearized: `f_lin`, those of the linearized network at the same weights.
        initial: `f_0`, those of the network at its initial weights.
    """
    f, linear, f_0 = map(_as_vector, (outputs, linearized, initial))
    return tf.norm(f - linear) / tf.norm(f - f_0)


def kernel_change(kernel: Any, initial: Any) -> tf.Tensor:
    """How far a tangent kernel is from the initial one, `|K - K_0| / |K_0|`.

    Norms are Frobenius's. 0 in the lazy regime, where training is kernel regression. Source: Fort
    et al. (2020), "Deep learning versus kernel learning", who follow the kernel in training.

    Args:
        kernel: `K`, [examples, examples], or of any form of `ntk.empirical_ntk`.
        initial: `K_0`, of the same form.
    """
    k, k_0 = _as_vector(kernel), _as_vector(initial)
    return tf.norm(k - k_0) / tf.norm(k_0)


def label_alignment(kernel: Any, targets: Any, num_classes: int | None = None) -> tf.Tensor:
    """Alignment of a kernel with the targets, `<K, Y Y^T> / (|K| |Y Y^T|)`.

    A cosine: 1 if the kernel is large where targets are alike, and nowhere else. Source:
    Cristianini et al. (2001), "On kernel-target alignment".

    Args:
        kernel: `K`, traced, [examples, examples].
        targets: `Y`, [examples, ...], numbers as they are, but for one-hot rows of classes, which
            become `one_hot - 1 / C`; or labels of classes, which become the same.
        num_classes: Number of classes `C`, if the targets are labels.

    Raises:
        ValueError: If the kernel is not that of as many examples as have targets.
    """
    if tuple(kernel.shape) != (len(targets),) * 2:
        raise ValueError(
            "Expected a kernel [examples, examples] and targets [examples, ...]. "
            f"Received: shapes {tuple(kernel.shape)} and {tuple(targets.shape)}"
        )
    if num_classes is not None:
        targets = tf.one_hot(tf.cast(targets, tf.int32), num_classes)
    y = tf.cast(targets, tf.float64)
    if y.shape.rank > 1 and y.shape[-1] != 1:
        are_one_hot = tf.reduce_all((y == 0) | (y == 1)) & tf.reduce_all(tf.reduce_sum(y, -1) == 1)
        y -= tf.where(are_one_hot, tf.reduce_mean(y), 0)
    rows = tf.reshape(y, [tf.shape(y)[0], -1])
    k = tf.cast(kernel, tf.float64)
    product = tf.reduce_sum(rows * tf.matmul(k, rows))
    # |Y Y^T| is |Y^T Y|, which is small.
    return product / (tf.norm(k) * tf.norm(tf.matmul(rows, rows, transpose_a=True)))


def effective_rank(eigenvalues: Any) -> tf.Tensor:
    """Effective rank of a kernel, `exp(-sum_i p_i log p_i)`, `p_i = d_i / sum_j d_j`.

    It is the number of eigenvalues if these are equal, and 1 if one alone is not 0. Source: Roy and
    Vetterli (2007), "The effective rank: a measure of effective dimensionality".

    Args:
        eigenvalues: Eigenvalues d of a kernel; those that rounding has made negative count as 0.
    """
    kept = tf.nn.relu(tf.cast(eigenvalues, tf.float64))
    shares = kept / tf.reduce_sum(kept)
    return tf.exp(-tf.reduce_sum(tf.math.xlogy(shares, shares)))


def conserved_quantity(
    kernel: tf.Tensor, next_kernel: tf.Tensor, feedback: tf.Tensor | None = None
) -> tf.Tensor:
    """What learning conserves of two consecutive affine maps, `|W|^2 / 2 - <V, W_next>`.

    Under gradient flow, without biases and normalization, for activations with
    `phi(z) = phi'(z) z` (linear, ReLU, leaky ReLU), and also through pooling. Derivation: let
    `z = s W h_below`, `h = phi(z)`, `z_next = s_next W_next h`, with `s = 1 / sqrt(fan_in)` in NTK
    parameterization and 1 in standard, and `d = phi'(z) * (s_next V' d_next)`. The flows are
    `dW/dt = -s d h_below'` and `dW_next/dt = -s_next d_next h'`, summed over examples. Then

        d/dt |W|^2 / 2  = <W, dW/dt>      = -d . (s W h_below) = -d . z = -(s_next V' d_next) . h
        <V, dW_next/dt> = -s_next d_next . (V h)

    are equal: both factors are in `d . z` already, and none is left between the two terms. (In
    terms of the effective weights `s W` the terms would have the factors fan_in and fan_in_next.)
    So `|W|^2 / 2` less the integral of `<V, dW_next>` is conserved. The integral is `<V, W_next>`
    for a constant V (`feedback_alignment`, `align_prop`), and for signs of W_next times constant
    magnitudes; for `V = W_next` (`backprop`) it is `|W_next|^2 / 2`. With steps of rate eta the
    drift over a fixed time is O(eta). Source: Robertson and Koyejo (2023), theorem 1.

    Args:
        kernel: W, of the lower map.
        next_kernel: W_next, of the map behind it.
        feedback: V, constant, of the shape of W_next; None if it is W_next itself.

    Returns:
        A float64 scalar.
    """
    kernel, next_kernel = (tf.cast(x, tf.float64) for x in (kernel, next_kernel))
    above = next_kernel / 2 if feedback is None else tf.cast(feedback, tf.float64)
    return tf.reduce_sum(kernel**2) / 2 - tf.reduce_sum(above * next_kernel)


def _as_vector(tensors: Any) -> tf.Tensor:
    """Returns all numbers of a nested structure of tensors in a row, in float64."""
    flat = [tf.reshape(tf.cast(x, tf.float64), [-1]) for x in keras.tree.flatten(tensors)]
    return tf.concat(flat, 0)
