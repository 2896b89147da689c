"""Trains six rules at two widths, and prints what they reach and what they keep in memory."""

import keras

import wna_tf

RULES = (
    "backprop",
    "align_prop",
    "align_zero",
    "feedback_alignment",
    "direct_feedback_alignment",
    "readout",
)
WIDTHS = (16, 128)
EPOCHS = 6


def train(rule: str, width: int) -> wna_tf.Learner:
    """Returns a learner that a rule has trained on digits."""
    keras.utils.set_random_seed(0)
    network = wna_tf.models.mlp(input_shape=(8, 8, 1), num_classes=10, width=width, depth=3)
    learner = wna_tf.Learner(network, rule=rule)
    learner.compile(optimizer=keras.optimizers.SGD(5.0), loss="mse", metrics=["accuracy"])
    data = wna_tf.datasets.load("digits", batch_size=50)
    learner.fit(data.train, epochs=EPOCHS, shuffle=False, verbose=0)
    return learner


def count(variables: list[keras.Variable]) -> int:
    """Returns how many numbers some variables hold."""
    return sum(int(keras.ops.size(variable)) for variable in variables)


def main() -> None:
    """Prints test accuracies by width, and feedback weights for each weight of the network."""
    test = wna_tf.datasets.load("digits", batch_size=50).test
    heads = [f"width {width}" for width in WIDTHS]
    print(f"{'rule':26}" + "".join(f"{head:>12}" for head in heads) + "   feedback weights each")
    for rule in RULES:
        learners = [train(rule, width) for width in WIDTHS]
        reached = [some.evaluate(test, return_dict=True, verbose=0) for some in learners]
        share = count(learners[-1].feedback_weights) / count(learners[-1].trainable_variables)
        accuracies = "".join(f"{result['accuracy']:12.3f}" for result in reached)
        print(f"{rule:26}{accuracies}{share:15.2f}")


if __name__ == "__main__":
    main()
