"""A feedback source of one's own, trained beside backpropagation and feedback alignment."""

import dataclasses

import keras
import numpy as np
from matplotlib.figure import Figure

import wna_tf

SHARES = (0.25, 0.75)
SEEDS = (0, 1, 2)
EPOCHS = 5


@wna_tf.feedback.register
@dataclasses.dataclass(frozen=True)
class Blend(wna_tf.feedback.Random):
    """A blend of the initial weights and of fixed random ones, of the size that both have."""

    name = "blend"
    share: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"Expected 0 <= share <= 1. Received: share={self.share}")

    def kernel(self, step, moment):
        random, initial = super().kernel(step, moment), moment.initial_kernel(step)
        return self.share**0.5 * initial + (1 - self.share) ** 0.5 * random


wna_tf.rules.register("blend", wna_tf.Rule("blend"))


def make_rules() -> dict[str, wna_tf.Rule]:
    """Returns the rules to compare, by what they are called in the figure."""
    found = {"feedback alignment": wna_tf.rules.get("feedback_alignment")}
    for share in SHARES:
        found[f"blend, share {share}"] = wna_tf.Rule(Blend(share))
    return found | {"backprop": wna_tf.rules.get("backprop")}


def make_network() -> keras.Model:
    """Returns a convolutional network, on which feedback alignment is known to be weak."""
    layers = [keras.Input((8, 8, 1))]
    for strides in (2, 1, 1):
        layers.append(keras.layers.Conv2D(32, 3, strides, padding="same", activation="relu"))
    return keras.Sequential([*layers, keras.layers.Flatten(), keras.layers.Dense(10)])


def train(rule: wna_tf.Rule) -> list[float]:
    """Returns the test accuracy, in percent, that a rule reaches from each seed."""
    learner = wna_tf.Learner(make_network(), rule=rule)
    learner.compile(
        optimizer=keras.optimizers.SGD(0.1),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    reached = []
    for seed in SEEDS:
        keras.utils.set_random_seed(seed)
        learner.begin_anew(make_network(), seed)  # Initial weights, and feedback weights.
        data = wna_tf.datasets.load("digits", batch_size=50, targets="labels", seed=seed)
        learner.fit(data.train, epochs=EPOCHS, shuffle=False, verbose=0)
        result = learner.evaluate(data.test, return_dict=True, verbose=0)
        reached.append(100 * result["accuracy"])
    return reached


def draw(reached: dict[str, list[float]]) -> None:
    """Draws mean and standard deviation over seeds, and each seed as a small dot."""
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.subplots()
    for place, values in enumerate(reached.values()):
        axes.errorbar(place, np.mean(values), np.std(values, ddof=1), fmt="ok", capsize=4)
        axes.plot([place + 0.12] * len(values), values, ".", color="grey", markersize=4)
    axes.set_xticks(range(len(reached)), reached)
    axes.set(xlim=(-0.5, len(reached) - 0.5), ylabel="test accuracy (%)")
    axes.grid(axis="y", alpha=0.3)
    figure.savefig("your_own_rule.png", dpi=120)


def main() -> None:
    """Compares the rules, prints what they reach, and draws it."""
    reached = {name: train(rule) for name, rule in make_rules().items()}
    for name, values in reached.items():
        each = ", ".join(f"{value:.1f}" for value in values)
        mean, deviation = np.mean(values), np.std(values, ddof=1)
        print(f"{name:20} test accuracy {mean:.1f}% +- {deviation:.1f} (seeds: {each})")
    draw(reached)


if __name__ == "__main__":
    main()
