"""A diagnostic of one's own: how far each kernel has gone from where it began, at two widths."""

import csv
import pathlib
import tempfile

import keras
from matplotlib.figure import Figure

import wna_tf

WIDTHS = (16, 256)
EPOCHS = 8


class WeightChange(wna_tf.callbacks.Diagnostic):
    """The distance of each kernel from its initial value, relative to the norm of that."""

    columns = ("weight_change",)

    def measure(self):
        moment = self.model.moment()
        found = {}
        for step, name in self.model.program.affine_names.items():
            kernel, initial = moment.kernel(step), moment.initial_kernel(step)
            change = keras.ops.norm(kernel - initial) / keras.ops.norm(initial)
            found[f"weight_change/{name}"] = change
        return found


wna_tf.callbacks.register("weight_change", WeightChange)


def train(width: int) -> list[dict[str, str]]:
    """Returns the rows of the `history.csv` of a training."""
    keras.utils.clear_session()  # Layers have the same names every time.
    keras.utils.set_random_seed(0)
    train, validation, _ = wna_tf.datasets.load("digits", batch_size=50)
    network = wna_tf.models.mlp(input_shape=(8, 8, 1), num_classes=10, width=width, depth=3)
    learner = wna_tf.Learner(network, rule="align_prop")
    learner.compile(keras.optimizers.SGD(5.0), loss="mse", metrics=["accuracy"])
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "history.csv"
        learner.fit(
            train,
            validation_data=validation,
            epochs=EPOCHS,
            shuffle=False,
            verbose=0,
            callbacks=[WeightChange(), wna_tf.callbacks.HistoryFile(path)],
        )
        with path.open() as file:
            return list(csv.DictReader(file))


def show(width: int, rows: list[dict[str, str]]) -> None:
    """Prints the last row of a `history.csv`, but for the seconds."""
    print(f"width {width}, epoch {rows[-1]['epoch']}")
    for column, value in rows[-1].items():
        if column not in ("epoch", "seconds"):
            print(f"  {column:24} {float(value):.3f}")


def draw(histories: dict[int, list[dict[str, str]]]) -> None:
    """Draws the change of each kernel over epochs, a panel for each width."""
    figure = Figure(figsize=(7, 3), layout="constrained")
    panels = figure.subplots(1, len(histories), sharey=True)
    for axes, (width, rows) in zip(panels, histories.items(), strict=True):
        for column in rows[0]:
            measure, _, layer = column.partition("/")
            if measure == "weight_change":
                values = [float(row[column]) for row in rows]
                axes.plot([int(row["epoch"]) for row in rows], values, ".-", label=layer)
        axes.set(title=f"width {width}", xlabel="epoch")
        axes.grid(alpha=0.3)
    panels[0].set(ylabel="change of the kernel, relative", ylim=(0, None))
    panels[-1].legend()
    figure.savefig("your_own_diagnostic.png", dpi=120)


def main() -> None:
    """Trains at each width, and prints and draws what the diagnostic tells."""
    histories = {width: train(width) for width in WIDTHS}
    for width, rows in histories.items():
        show(width, rows)
    draw(histories)


if __name__ == "__main__":
    main()
