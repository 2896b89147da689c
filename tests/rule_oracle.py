"""Training steps of rules whose feedback is drawn or learns, by hand in float64 NumPy.

A chain of blocks has a kernel and a bias per block; feedback weights are a list in the order of the
learner's. Draws are a list of arrays, one for each map or direct projection, given to each step.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tests import oracle
from tests.oracle import ACTIVATIONS, AFTER, Block, State

Weights = list[tuple[np.ndarray, np.ndarray]]


def _log_softmax(z: np.ndarray) -> np.ndarray:
    z = z - z.max(-1, keepdims=True)
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


def _softmax_cross_entropy(z, y):
    return -np.sum(y * _log_softmax(z)) / len(z), (np.exp(_log_softmax(z)) - y) / len(z)


def _sigmoid_cross_entropy(z, y):
    return np.mean(np.logaddexp(z, 0) - y * z), (oracle.sigmoid(z) - y) / z.size


def _binary_cross_entropy(o, y):
    value = -np.mean(y * np.log(o) + (1 - y) * np.log(1 - o))
    return value, (o - y) / (o * (1 - o)) / o.size


def _squared_error(f, y):
    return np.mean((f - y) ** 2), 2 * (f - y) / f.size


# The value at outputs and targets [batch, classes], and its derivative by the outputs.
LOSSES = {
    "softmax_cross_entropy": _softmax_cross_entropy,
    "sigmoid_cross_entropy": _sigmoid_cross_entropy,
    "binary_cross_entropy": _binary_cross_entropy,
    "squared_error": _squared_error,
}


@dataclasses.dataclass
class Step:
    """What a rule sees of a batch, before anything moves."""

    blocks: Sequence[Block]
    weights: Weights
    feedback: Sequence[np.ndarray]
    states: Sequence[State]
    targets: np.ndarray
    error: np.ndarray
    draws: Sequence[np.ndarray]

    @property
    def kernels(self) -> list[np.ndarray]:
        return [kernel for kernel, _ in self.weights]


@dataclasses.dataclass(frozen=True)
class Source:
    """Feedback weights, fixed, one for each kernel."""

    def carriers(self, step: Step) -> Sequence[np.ndarray]:
        return step.feedback

    def projected(self, step: Step) -> list[np.ndarray]:
        del step
        return []

    def learn(self, step: Step, updates: Weights) -> tuple[Weights, list[np.ndarray | None]]:
        """Returns what the optimizer subtracts from weights and from feedback weights."""
        return updates, [None] * len(step.feedback)

    def follow(
        self, blocks, before: Weights, weights: Weights, feedback, draws, steps: int
    ) -> tuple[Weights, list[np.ndarray]]:
        """Returns weights and feedback weights, changed after the optimizer's step."""
        del blocks, before, draws, steps
        return weights, feedback


@dataclasses.dataclass(frozen=True)
class Current(Source):
    def carriers(self, step):
        return step.kernels


# Signs of the current weights.


@dataclasses.dataclass(frozen=True)
class Sign(Source):
    scale: str = "fan_in"
    deviations: tuple[float, ...] = ()  # Of the initial weights; of N(0, 1 / fan_in) if empty.

    def carriers(self, step):
        shrink = np.sqrt(3) if self.scale == "fan_in" else 1
        deviations = self.deviations or [
            1 if block.ntk else np.prod(kernel.shape[:-1]) ** -0.5
            for block, kernel in zip(step.blocks, step.kernels, strict=True)
        ]
        return [s / shrink * np.sign(w) for s, w in zip(deviations, step.kernels, strict=True)]


@dataclasses.dataclass(frozen=True)
class SignMagnitude(Source):
    def carriers(self, step):
        return [np.abs(m) * np.sign(w) for m, w in zip(step.feedback, step.kernels, strict=True)]


@dataclasses.dataclass(frozen=True)
class SignRedrawn(Source):
    def carriers(self, step):
        return [np.abs(m) * np.sign(w) for m, w in zip(step.draws, step.kernels, strict=True)]


# Straight from the output.


@dataclasses.dataclass(frozen=True)
class Direct(Source):
    """Projections [*block output, classes] of a signal, for each block but the last."""

    def signal(self, step: Step) -> np.ndarray:
        return step.error

    def carriers(self, step):
        return [np.zeros_like(kernel) for kernel in step.kernels]

    def projected(self, step):
        return [oracle.project(self.signal(step), some) for some in step.feedback]


@dataclasses.dataclass(frozen=True)
class DirectTarget(Direct):
    def signal(self, step):
        return step.targets / len(step.targets)


@dataclasses.dataclass(frozen=True)
class DirectSign(Direct):
    def signal(self, step):
        return np.sign(step.error) / len(step.error)


@dataclasses.dataclass(frozen=True)
class DirectKolenPollack(Direct):
    rate: float = 1.0
    decay: float = 0.0

    def learn(self, step, updates):
        return updates, [
            self.rate * (np.tensordot(state.h, step.error, [[0], [0]]) + self.decay * some)
            for state, some in zip(step.states[:-1], step.feedback, strict=True)
        ]


@dataclasses.dataclass(frozen=True)
class DirectForward(Direct):
    rate: float = 1.0

    def learn(self, step, updates):
        tangent = np.zeros_like(step.states[0].x)
        blocks = zip(step.blocks, step.states, step.kernels, strict=True)
        for index, (block, state, kernel) in enumerate(blocks):
            du = oracle.unfold(block, tangent) @ oracle.matrix(block, kernel)
            # The derivative of the normalization is symmetric.
            dz = oracle.normalization_transposed(block, du, state.u)
            dh = ACTIVATIONS[block.activation][1](state.z) * dz
            if index < len(step.draws):
                dh = dh + step.draws[index]
            tangent = AFTER[block.after][2](dh, state.h)
        return updates, [
            self.rate * (some - np.tensordot(v, tangent, [[0], [0]]) / len(v))
            for v, some in zip(step.draws, step.feedback, strict=True)
        ]


# Learned layer by layer.


@dataclasses.dataclass(frozen=True)
class Mirrored(Source):
    decay: float = 0.0

    def follow(self, blocks, before, weights, feedback, draws, steps):
        kernels = [
            (after - self.decay * kernel, bias)
            for (kernel, _), (after, bias) in zip(before, weights, strict=True)
        ]
        feedback = [
            (1 - self.decay) * some + after - kernel
            for some, (kernel, _), (after, _) in zip(feedback, before, weights, strict=True)
        ]
        return kernels, feedback


@dataclasses.dataclass(frozen=True)
class WeightMirror(Source):
    rate: float = 1.0
    decay: float = 0.0
    noise: float = 1.0
    every: int = 1

    def follow(self, blocks, before, weights, feedback, draws, steps):
        if steps % self.every:
            return weights, feedback
        mirrored = []
        for block, (kernel, bias), some, noise in zip(
            blocks, weights, feedback, draws, strict=True
        ):
            rows = oracle.unfold(block, noise)
            answer = ACTIVATIONS[block.activation][0](rows @ oracle.matrix(block, kernel) + bias)
            rows = rows.reshape(-1, rows.shape[-1])
            correlation = rows.T @ answer.reshape(-1, block.units) / len(rows) / self.noise**2
            correlation = correlation.reshape(kernel.shape) / scale_of(block, kernel)
            mirrored.append((1 - self.rate * self.decay) * some + self.rate * correlation)
        return weights, mirrored


@dataclasses.dataclass(frozen=True)
class Layerwise(Source):
    decay: float = 0.0
    symmetry: float = 0.0
    amplification: float = 0.0
    sparsity: float = 0.0
    nullity: float = 0.0
    update_forward: bool = False
    mirrored: bool = False
    noise: bool = False
    bias: bool = False

    def terms(self, step: Step) -> list[tuple[float, np.ndarray, np.ndarray]]:
        """Returns the term of each map, and its derivatives by kernel and feedback weights."""
        inputs = step.draws if self.noise else [state.x for state in step.states]
        return [
            self.term(block, x, kernel, some, bias if self.bias else 0)
            for block, x, (kernel, bias), some in zip(
                step.blocks, inputs, step.weights, step.feedback, strict=True
            )
        ]

    def term(self, block, x, kernel, feedback, bias):
        """Returns the term of a map with inputs x, and its derivatives."""
        rows = oracle.unfold(block, x)
        w, f = oracle.matrix(block, kernel), oracle.matrix(block, feedback)
        p, q = rows @ w + bias, rows @ f + bias
        back = oracle.fold(block, p @ f.T, x.shape)
        scale = scale_of(block, kernel)
        count = p.size / block.units * scale**2
        value = self.decay * (np.sum(kernel**2) + np.sum(feedback**2))
        value -= self.symmetry * np.sum(kernel * feedback)
        value -= self.amplification * np.sum(p * q) / count
        value += self.sparsity * np.sum(p**2 + q**2) / count
        value += self.nullity * np.sum(back**2) / count

        # Those by p, by q, and by f where p is taken back through it.
        by_back = 2 * self.nullity / count * oracle.unfold(block, back)
        by_p = (2 * self.sparsity * p - self.amplification * q) / count + by_back @ f
        by_q = (2 * self.sparsity * q - self.amplification * p) / count
        flat, by_back, p, by_p, by_q = (
            array.reshape(-1, array.shape[-1]) for array in (rows, by_back, p, by_p, by_q)
        )
        by_kernel = scale * (flat.T @ by_p).reshape(kernel.shape)
        by_feedback = scale * (flat.T @ by_q + by_back.T @ p).reshape(kernel.shape)
        by_kernel += 2 * self.decay * kernel - self.symmetry * feedback
        by_feedback += 2 * self.decay * feedback - self.symmetry * kernel
        return value, by_kernel, by_feedback

    def learn(self, step, updates):
        terms = self.terms(step)
        learned = [
            by_feedback + self.mirrored * kernel
            for (kernel, _), (_, _, by_feedback) in zip(updates, terms, strict=True)
        ]
        updates = [
            (kernel + self.update_forward * by_kernel, bias)
            for (kernel, bias), (_, by_kernel, _) in zip(updates, terms, strict=True)
        ]
        return updates, learned


@dataclasses.dataclass(frozen=True)
class Product(Source):
    """Feedback weights are R and B of each map, in turn."""

    expand_ratio: int = 1
    decay: float = 0.0

    def carriers(self, step):
        pairs = zip(step.feedback[::2], step.feedback[1::2], strict=True)
        return [np.tensordot(r, b, 1) for r, b in pairs]

    def learn(self, step, updates):
        learned = []
        for index, (kernel, _) in enumerate(updates):
            r, b = step.feedback[2 * index : 2 * index + 2]
            learned += [np.tensordot(kernel, b.T, 1) + self.decay * r, None]
        updates = [
            (update + self.decay * kernel, bias)
            for (update, bias), kernel in zip(updates, step.kernels, strict=True)
        ]
        return updates, learned


SOURCES = {
    "current": Current,
    "sign": Sign,
    "sign_magnitude": SignMagnitude,
    "sign_redrawn": SignRedrawn,
    "direct": Direct,
    "direct_target": DirectTarget,
    "direct_sign": DirectSign,
    "direct_kolen_pollack": DirectKolenPollack,
    "direct_forward": DirectForward,
    "mirrored": Mirrored,
    "weight_mirror": WeightMirror,
    "layerwise": Layerwise,
    "product": Product,
}


def scale_of(block: Block, kernel: np.ndarray) -> float:
    return np.prod(kernel.shape[:-1]) ** -0.5 if block.ntk else 1.0


@dataclasses.dataclass
class Training:
    """A chain that learns by stochastic gradient descent, with coupled decay of its weights."""

    source: Source
    blocks: Sequence[Block]
    weights: Weights
    feedback: list[np.ndarray]
    rate: float
    loss: str = "squared_error"
    loss_factor: float = 1.0
    momentum: float = 0.0
    kernel_decay: float = 0.0
    bias_decay: float = 0.0

    def __post_init__(self) -> None:
        self.steps = 0
        self._velocities = [0.0] * (2 * len(self.weights) + len(self.feedback))

    def see(self, x: np.ndarray, targets: np.ndarray, draws: Sequence[np.ndarray] = ()):
        """Returns the loss of a batch, and what a rule sees of it."""
        output, states = oracle.forward(self.blocks, self.weights, x)
        value, error = (self.loss_factor * part for part in LOSSES[self.loss](output, targets))
        return value, Step(self.blocks, self.weights, self.feedback, states, targets, error, draws)

    def updates(self, step: Step) -> tuple[Weights, list[np.ndarray | None]]:
        """Returns the updates of the weights and of the feedback weights."""
        updates = oracle.transpose(
            self.blocks,
            step.states,
            step.states,
            self.source.carriers(step),
            step.error,
            self.source.projected(step),
        )
        return self.source.learn(step, updates)

    def train_on_batch(
        self, x: np.ndarray, targets: np.ndarray, draws: Sequence[np.ndarray] = ()
    ) -> float:
        """Makes a step, and returns the loss before it."""
        value, step = self.see(x, targets, draws)
        updates, learned = self.updates(step)
        before = self.weights
        gradients = [
            gradient + decay * some
            for weights, pair in zip(before, updates, strict=True)
            for some, gradient, decay in zip(
                weights, pair, (self.kernel_decay, self.bias_decay), strict=True
            )
        ]
        for index, gradient in enumerate([*gradients, *learned]):
            if gradient is not None:
                velocity = self.momentum * self._velocities[index] + gradient
                self._velocities[index] = velocity
        moved = [self.rate * velocity for velocity in self._velocities]
        count = len(before)
        weights = [
            (kernel - moved[2 * i], bias - moved[2 * i + 1])
            for i, (kernel, bias) in enumerate(before)
        ]
        feedback = [f - m for f, m in zip(self.feedback, moved[2 * count :], strict=True)]
        self.steps += 1
        self.weights, self.feedback = self.source.follow(
            self.blocks, before, weights, feedback, draws, self.steps
        )
        return value
