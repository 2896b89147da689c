"""Trains a network by several rules, and measures what each is aligned with, beside controls."""

import keras
from matplotlib.figure import Figure

import wna_tf

RULES = {
    "backprop": "#000000",
    "align_ada": "#0072b2",
    "feedback_alignment": "#d55e00",
    "readout": "#009e73",
}
"""The rules, with their colours."""
WIDTH, EPOCHS, RATE = 128, 15, 3.0
PANELS = {
    "alignment_score/second": ("alignment score, second layer", "alignment_score_shuffled/second"),
    "feedback_angle/second": ("feedback angle, second layer (degrees)", None),
    "network_update_angle": ("update angle, all weights (degrees)", "network_update_angle_frozen"),
    "linearization_gap": ("linearization gap", None),
}
"""What is drawn, with its title and its control or baseline."""


def make_network() -> keras.Model:
    """Returns a network of two hidden layers, in the parameterization of the theory."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Flatten(),
            wna_tf.layers.Dense(WIDTH, activation="relu", name="first"),
            wna_tf.layers.Dense(WIDTH, activation="relu", name="second"),
            wna_tf.layers.Dense(10, name="head"),
        ]
    )


def measure(rule: str) -> dict[str, list[float]]:
    """Returns what was measured after every epoch of training by a rule, by column."""
    train, validation, _ = wna_tf.datasets.load("digits", batch_size=50)
    keras.utils.set_random_seed(0)
    learner = wna_tf.Learner(make_network(), rule=rule)
    learner.compile(keras.optimizers.SGD(RATE), loss="mse", metrics=["accuracy"])
    history = learner.fit(
        train,
        validation_data=validation,
        epochs=EPOCHS,
        shuffle=False,
        verbose=0,
        callbacks=[
            wna_tf.callbacks.AlignmentScore(),
            wna_tf.callbacks.FeedbackAngle(),
            wna_tf.callbacks.LinearizationGap(),
        ],
    )
    return history.history


def print_last(histories: dict[str, dict[str, list[float]]]) -> None:
    """Prints what was measured after the last epoch, a line for each quantity."""
    columns = {column: None for history in histories.values() for column in history}
    hidden = ("accuracy", "loss", "val_loss", "alignment_score_error", "gradient_norm")
    print(f"{'after the last epoch':32}", *(f"{rule:>18}" for rule in histories))
    for column in columns:
        if not column.startswith(hidden):
            last = [history.get(column, [float("nan")])[-1] for history in histories.values()]
            print(f"{column:32}", *(f"{value:18.2f}".replace("nan", "  -") for value in last))


def draw(histories: dict[str, dict[str, list[float]]]) -> None:
    """Draws some quantities over epochs, with dashes where there is a control or a baseline."""
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    for axes, (column, (title, control)) in zip(
        figure.subplots(2, 2).flat, PANELS.items(), strict=True
    ):
        for rule, history in histories.items():
            for name, dashes in ((column, "-"), (control, "--")):
                if name in history:
                    label = rule if dashes == "-" else None
                    epochs = range(1, EPOCHS + 1)
                    axes.plot(epochs, history[name], dashes, color=RULES[rule], label=label)
        axes.set(title=title, xlabel="epoch")
    handles, labels = figure.axes[2].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.savefig("reading_alignment.png", dpi=120, metadata={"Software": None})


def main() -> None:
    """Measures each rule, prints the last values and draws all."""
    histories = {rule: measure(rule) for rule in RULES}
    print_last(histories)
    draw(histories)


if __name__ == "__main__":
    main()
