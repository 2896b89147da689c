"""Predicts the training of networks from their kernels, and trains them."""

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

import wna_tf

WIDTHS = (16, 256, 4096)
RULES = ("backprop", "align_ada", "feedback_alignment", "readout")
EXAMPLES, STEPS, RATE = 40, 60, 2.0
SMALL = 0.01
"""A learning rate at which the loss changes as its derivative says."""


def load() -> tuple[np.ndarray, np.ndarray]:
    """Returns a few digits and their targets."""
    train, _, _ = wna_tf.datasets.load("digits", batch_size=EXAMPLES, data_limit=EXAMPLES)
    return next(train.as_numpy_iterator())


def make_network(width: int) -> keras.Model:
    """Returns a network without normalization, by which an example would depend on others."""
    keras.utils.set_random_seed(0)
    return wna_tf.models.mlp((8, 8, 1), 10, width=width, depth=1, normalize=False)


def predict(network: keras.Model, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns the outputs before each step of gradient descent, as the kernel predicts them."""
    kernel = wna_tf.ntk.empirical_ntk(network, x)
    predictor = wna_tf.ntk.Predictor(kernel, initial=network(x), targets=y)
    return predictor.descend(RATE, STEPS)


def train(width: int, rule: str, x: np.ndarray, y: np.ndarray) -> tuple[list[float], np.ndarray]:
    """Returns the losses before each step of training by a rule, and the outputs at its end."""
    learner = wna_tf.Learner(make_network(width), rule=rule)
    learner.compile(keras.optimizers.SGD(RATE), loss="mse")
    batches = tf.data.Dataset.from_tensors((x, y)).repeat()
    history = learner.fit(batches, epochs=STEPS, steps_per_epoch=1, shuffle=False, verbose=0)
    return history.history["loss"], learner(x).numpy()


def compare_curves(x: np.ndarray, y: np.ndarray) -> None:
    """Prints and draws what was predicted beside what was trained, at each width."""
    figure = Figure(figsize=(9, 3), layout="constrained")
    print(f"after {STEPS} steps: loss, and the part of the outputs' change that was not predicted")
    print(f"{'width':>5}  {'predicted':>9}  {'backprop':>16}  {'linearized':>16}")
    for width, axes in zip(WIDTHS, figure.subplots(1, len(WIDTHS), sharey=True), strict=True):
        outputs = predict(make_network(width), x, y)
        losses = np.mean((outputs - y) ** 2, axis=(1, 2))
        axes.semilogy(losses, color="0.75", linewidth=5, label="predicted")
        line = f"{width:5}  {losses[-1]:9.4f}"
        for rule, colour, dashes in (("backprop", "#0072b2", "-"), ("linearized", "#d55e00", "--")):
            trained, ends = train(width, rule, x, y)
            axes.semilogy(trained, color=colour, linestyle=dashes, label=rule)
            missed = np.linalg.norm(ends - outputs[-1]) / np.linalg.norm(ends - outputs[0])
            line += f"  {np.mean((ends - y) ** 2):8.4f} {missed:7.3f}"
        print(line)
        axes.set(title=f"width {width}", xlabel="step")
    figure.axes[0].set_ylabel("loss")
    figure.axes[0].legend()
    figure.savefig("kernels.png", dpi=120, metadata={"Software": None})


def step(learner: wna_tf.Learner, x: np.ndarray, y: np.ndarray) -> float:
    """Makes one step on all examples, and returns the loss before it."""
    history = learner.fit(x, y, batch_size=len(x), epochs=1, shuffle=False, verbose=0)
    return history.history["loss"][0]


def compare_rules(x: np.ndarray, y: np.ndarray) -> None:
    """Prints what the kernel of each rule says of its first step, beside what the step does."""
    print(f"\nhow fast the loss falls at first, for each unit of rate, at width {WIDTHS[-1]}")
    print(f"{'rule':20}  {'as its kernel says':>18}  {'measured':>8}")
    for rule in RULES:
        learner = wna_tf.Learner(make_network(WIDTHS[-1]), rule=rule)
        kernel = wna_tf.ntk.rule_ntk(learner, x)
        error = 2 * (learner(x) - y) / y.size  # The derivative of the loss by the outputs.
        said = np.einsum("ai,aibj,bj->", error, kernel, error)
        learner.compile(keras.optimizers.SGD(SMALL), loss="mse")
        before, after = (step(learner, x, y) for _ in range(2))
        measured = (before - after) / SMALL
        print(f"{rule:20}  {said:18.4f}  {measured:8.4f}")


def main() -> None:
    """Compares curves, then rules."""
    x, y = load()
    compare_curves(x, y)
    compare_rules(x, y)


if __name__ == "__main__":
    main()
