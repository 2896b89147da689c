"""Learns some digits by each rule from few examples, with a network that knows the others."""

import pathlib
import statistics
import tempfile

import keras

import wna_tf

RULES = ("backprop", "align_ada", "feedback_alignment", "readout")
FIRST, SECOND = range(5), range(5, 10)
WIDTH, EXAMPLES, EPOCHS, SEEDS = 64, 50, 20, (0, 1, 2)
RATE = 1.0


def make_network() -> keras.Model:
    """Returns a network for five classes, of weights that are drawn."""
    return wna_tf.models.mlp(input_shape=(8, 8, 1), num_classes=5, width=WIDTH)


def make_learner(rule: str) -> wna_tf.Learner:
    """Returns a learner that is ready to be trained."""
    learner = wna_tf.Learner(make_network(), rule=rule)
    learner.compile(keras.optimizers.SGD(RATE), loss="mse", metrics=["accuracy"])
    return learner


def learn_the_first(path: pathlib.Path) -> None:
    """Trains a network by backpropagation on all examples of the first classes, and saves it."""
    keras.utils.set_random_seed(0)
    train, _, test = wna_tf.datasets.load("digits", batch_size=10, classes=FIRST)
    learner = make_learner("backprop")
    learner.fit(train.repeat(10), shuffle=False, verbose=0)
    learner.save(path)
    _, accuracy = learner.evaluate(test, verbose=0)
    print(f"classes 0 to 4, all examples: test accuracy {accuracy:.3f}")


def learn_the_second(learner: wna_tf.Learner, path: pathlib.Path | None, seed: int) -> float:
    """Returns the test accuracy on the other classes after few examples of them."""
    keras.utils.set_random_seed(seed)
    network = make_network()
    if path is not None:
        wna_tf.pretrained.load_weights(network, path)
    learner.begin_anew(network, seed)  # Its weights are the initial ones of the rule by now.
    train, _, test = wna_tf.datasets.load(
        "digits", batch_size=10, classes=SECOND, data_limit=EXAMPLES, seed=seed
    )
    learner.fit(train.repeat(EPOCHS), shuffle=False, verbose=0)  # Each pass has its own order.
    _, accuracy = learner.evaluate(test, verbose=0)
    return accuracy


def main() -> None:
    """Compares networks that go on with ones that begin anew, by each rule."""
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory) / "first.keras"
        learn_the_first(path)
        print(f"classes 5 to 9, {EXAMPLES} examples: test accuracy, mean of {len(SEEDS)} draws")
        print(f"{'':20} {'from the first':>16} {'from drawn weights':>20}")
        for rule in RULES:
            learner = make_learner(rule)
            known, drawn = (
                statistics.mean(learn_the_second(learner, begin, seed) for seed in SEEDS)
                for begin in (path, None)
            )
            print(f"{rule:20} {known:16.3f} {drawn:20.3f}", flush=True)


if __name__ == "__main__":
    main()
