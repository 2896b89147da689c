"""Updates of every learning rule for chains of blocks, by hand in float64 NumPy."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

RULES = {
    #                             feedback   derivative activity, error
    "backprop": ("current", "current", "current", "current"),
    "align_zero": ("initial", "initial", "initial", "current"),
    "align_ada": ("initial", "initial", "current", "current"),
    "align_prop": ("initial", "current", "current", "current"),
    "feedback_alignment": ("random", "current", "current", "current"),
    "sign_symmetry": ("sign", "current", "current", "current"),
    "sign_symmetry_fixed_magnitude": ("sign_magnitude", "current", "current", "current"),
    "kolen_pollack": ("mirrored", "current", "current", "current"),
    "direct_feedback_alignment": ("direct", "current", "current", "current"),
    "readout": ("none", "current", "current", "current"),
    "linearized": ("initial", "initial", "initial", "linearized"),
}


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


# The function, and its derivative.
ACTIVATIONS = {
    "linear": (lambda z: z, np.ones_like),
    "relu": (lambda z: np.maximum(z, 0), lambda z: np.heaviside(z, 0)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * sigmoid(-z)),
    "softplus": (lambda z: np.logaddexp(z, 0), sigmoid),
}

# The operation behind a block's activation, the transpose of its derivative at h, and the latter.
AFTER = {
    "nothing": (lambda h: h, lambda d, h: d, lambda t, h: t),
    "flatten": (
        lambda h: h.reshape(len(h), -1),
        lambda d, h: d.reshape(h.shape),
        lambda t, h: t.reshape(len(h), -1),
    ),
    "average": (
        lambda h: h.mean((1, 2)),
        lambda d, h: np.broadcast_to(d[:, None, None], h.shape) / np.prod(h.shape[1:3]),
        lambda t, h: t.mean((1, 2)),
    ),
    "maximum": (
        lambda h: h.max((1, 2)),
        lambda d, h: d[:, None, None] * (h == h.max((1, 2), keepdims=True)),
        lambda t, h: (t * (h == h.max((1, 2), keepdims=True))).sum((1, 2)),
    ),
}


@dataclasses.dataclass(frozen=True)
class Block:
    """`h = phi(norm(A(x; W) / sqrt(fan_in) + b))`, and an operation behind it."""

    units: int
    kernel_size: int | None = None  # None: dense.
    stride: int = 1
    padding: str = "same"
    ntk: bool = True
    normalize: bool = False
    activation: str = "linear"
    after: str = "nothing"


@dataclasses.dataclass
class State:
    """A block's tensors: input, z before normalization, z, phi(z)."""

    x: np.ndarray
    u: np.ndarray
    z: np.ndarray
    h: np.ndarray


def _window(block: Block, size: int) -> tuple[int, int, int]:
    """Returns the output size along one axis, and the padding before and after."""
    if block.padding == "valid":
        return (size - block.kernel_size) // block.stride + 1, 0, 0
    out = -(-size // block.stride)
    total = max((out - 1) * block.stride + block.kernel_size - size, 0)
    return out, total // 2, total - total // 2


def _taps(block: Block, height: int, width: int):
    """Yields, for each position in the kernel, the pixels of the padded image it meets."""
    for row, column in itertools.product(range(block.kernel_size), repeat=2):
        yield (
            slice(None),
            slice(row, row + block.stride * height, block.stride),
            slice(column, column + block.stride * width, block.stride),
        )


def unfold(block: Block, x: np.ndarray) -> np.ndarray:
    """Returns the rows that the kernel multiplies, [batch, ..., fan_in]."""
    if block.kernel_size is None:
        return x
    (height, *rows), (width, *columns) = (_window(block, size) for size in x.shape[1:3])
    padded = np.pad(x, [(0, 0), rows, columns, (0, 0)])
    return np.concatenate([padded[tap] for tap in _taps(block, height, width)], -1)


def fold(block: Block, d: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the transpose of `unfold`, for inputs of `shape`."""
    if block.kernel_size is None:
        return d
    (height, *rows), (width, *columns) = (_window(block, size) for size in shape[1:3])
    padded = np.pad(np.zeros(shape), [(0, 0), rows, columns, (0, 0)])
    parts = np.split(d, block.kernel_size**2, -1)
    for tap, part in zip(_taps(block, height, width), parts, strict=True):
        padded[tap] += part
    return padded[:, rows[0] : rows[0] + shape[1], columns[0] : columns[0] + shape[2]]


def matrix(block: Block, kernel: np.ndarray) -> np.ndarray:
    """Returns a kernel as the matrix [fan_in, units] that multiplies rows."""
    rows = kernel.reshape(-1, block.units)
    return rows / np.sqrt(len(rows)) if block.ntk else rows


def _moments(u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return u.mean(0), np.sqrt(u.var(0) + 1e-6)


def normalization_transposed(block: Block, d: np.ndarray, u: np.ndarray) -> np.ndarray:
    if not block.normalize:
        return d
    mean, deviation = _moments(u)
    z = (u - mean) / deviation
    return (d - d.mean(0) - z * (d * z).mean(0)) / deviation


def _carriers(
    source: str,
    blocks: Sequence[Block],
    current: Sequence[tuple[np.ndarray, np.ndarray]],
    initial: Sequence[tuple[np.ndarray, np.ndarray]],
    random: Sequence[np.ndarray],
) -> Sequence[np.ndarray]:
    """Returns the kernels that carry deltas back, one for every block."""
    kernels = [kernel for kernel, _ in current]
    if source == "current":
        return kernels
    if source == "initial":
        return [kernel for kernel, _ in initial]
    if source in ("random", "mirrored"):
        return random
    if source == "sign":
        squares = [
            1 / 3 if block.ntk else 1 / (3 * np.prod(kernel.shape[:-1]))
            for block, kernel in zip(blocks, kernels, strict=True)
        ]
        return [np.sqrt(s) * np.sign(kernel) for s, kernel in zip(squares, kernels, strict=True)]
    if source == "sign_magnitude":
        return [np.abs(m) * np.sign(kernel) for m, kernel in zip(random, kernels, strict=True)]
    return [np.zeros_like(kernel) for kernel in kernels]


def forward(
    blocks: Sequence[Block], weights: Sequence[tuple[np.ndarray, np.ndarray]], x: np.ndarray
) -> tuple[np.ndarray, list[State]]:
    """Returns the output of a chain with (kernel, bias) per block, and its states."""
    states = []
    for block, (kernel, bias) in zip(blocks, weights, strict=True):
        z = u = unfold(block, x) @ matrix(block, kernel) + bias
        if block.normalize:
            mean, deviation = _moments(u)
            z = (u - mean) / deviation
        h = ACTIVATIONS[block.activation][0](z)
        states.append(State(x, u, z, h))
        x = AFTER[block.after][0](h)
    return x, states


def output(
    rule: str,
    blocks: Sequence[Block],
    current: Sequence[tuple[np.ndarray, np.ndarray]],
    initial: Sequence[tuple[np.ndarray, np.ndarray]],
    x: np.ndarray,
) -> np.ndarray:
    """Returns the output at which a rule takes the error."""
    if RULES[rule][-1] == "current":
        return forward(blocks, current, x)[0]
    f, states = forward(blocks, initial, x)
    tangent = np.zeros_like(x)
    for block, state, now, start in zip(blocks, states, current, initial, strict=True):
        du = unfold(block, tangent) @ matrix(block, start[0])
        du += unfold(block, state.x) @ matrix(block, now[0] - start[0]) + now[1] - start[1]
        # The derivative of the normalization is symmetric.
        dh = ACTIVATIONS[block.activation][1](state.z) * normalization_transposed(
            block, du, state.u
        )
        tangent = AFTER[block.after][2](dh, state.h)
    return f + tangent


def updates(
    rule: str,
    blocks: Sequence[Block],
    current: Sequence[tuple[np.ndarray, np.ndarray]],
    initial: Sequence[tuple[np.ndarray, np.ndarray]],
    random: Sequence[np.ndarray],
    x: np.ndarray,
    error: np.ndarray,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the updates of the kernel and the bias of every block.

    `random` are the feedback weights of the rules that have some: a kernel for every block, or
    in direct feedback alignment a projection for every block but the last. `error` is dL/df.
    """
    source, derivative, activity, _ = RULES[rule]
    networks = {"current": current, "initial": initial}
    carriers = _carriers(source, blocks, current, initial, random)
    projected = [project(error, some) for some in random] if source == "direct" else []
    _, at = forward(blocks, networks[derivative], x)
    _, read = forward(blocks, networks[activity], x)
    return transpose(blocks, at, read, carriers, error, projected)


def project(signal: np.ndarray, projection: np.ndarray) -> np.ndarray:
    """Returns signals [batch, classes] at a block's output, by weights [*output, classes]."""
    return np.tensordot(signal, projection, [[1], [-1]])


def transpose(
    blocks: Sequence[Block],
    at: Sequence[State],
    read: Sequence[State],
    carriers: Sequence[np.ndarray],
    error: np.ndarray,
    projected: Sequence[np.ndarray] = (),
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the updates of the kernel and the bias of every block.

    `at` and `read` are the states where derivatives are taken and activity is read. `projected`,
    if there are any, arrive at the outputs of the first blocks instead of what is carried down.
    """
    result = []
    delta = error
    for index in reversed(range(len(blocks))):
        block, here, there = blocks[index], at[index], read[index]
        arrived = AFTER[block.after][1](delta, here.h)
        d = projected[index] if index < len(projected) else arrived
        d = d * ACTIVATIONS[block.activation][1](here.z)

        learned = normalization_transposed(block, d, there.u).reshape(-1, block.units)
        rows = unfold(block, there.x)
        scale = 1 / np.sqrt(rows.shape[-1]) if block.ntk else 1
        gradient = scale * rows.reshape(-1, rows.shape[-1]).T @ learned
        result.insert(0, (gradient.reshape(carriers[index].shape), learned.sum(0)))

        carried = normalization_transposed(block, d, here.u)
        delta = fold(block, carried @ matrix(block, carriers[index]).T, here.x.shape)
    return result
