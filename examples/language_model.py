"""Trains a small GPT on Python's own documentation by several rules, and prints perplexities."""

import math
import pydoc_data.topics
from collections.abc import Iterator

import keras
import numpy as np
from keras import layers, ops

import wna_tf

RULES = ("backprop", "align_prop", "align_ada", "feedback_alignment", "direct_feedback_alignment")
CONTEXT, WIDTH, HEADS, DEPTH = 64, 64, 4, 2
BATCH_SIZE, STEPS, RATE = 32, 3000, 2e-3
CHARACTERS = 128
"""Those of ASCII."""


class TokensAndPositions(layers.Layer):
    """The sum of an embedding of each character and of one of its position."""

    def __init__(self, width: int, **options: object):
        super().__init__(**options)
        self.tokens = layers.Embedding(CHARACTERS, width)
        self.positions = layers.Embedding(CONTEXT, width)

    def call(self, ids: keras.KerasTensor) -> keras.KerasTensor:
        return self.tokens(ids) + self.positions(ops.arange(ops.shape(ids)[1]))


def make_network(width: int = WIDTH) -> keras.Model:
    """Returns a transformer that sees only what is before a character, in plain Keras layers."""
    ids = keras.Input((CONTEXT,), dtype="int32")
    x = TokensAndPositions(width)(ids)
    for _ in range(DEPTH):
        h = layers.LayerNormalization()(x)
        h = layers.MultiHeadAttention(HEADS, width // HEADS)(h, h, use_causal_mask=True)
        x = x + h
        h = layers.LayerNormalization()(x)
        h = layers.Dense(width)(layers.Dense(4 * width, activation="gelu")(h))
        x = x + h
    return keras.Model(ids, layers.Dense(CHARACTERS)(layers.LayerNormalization()(x)))


def load_text() -> tuple[np.ndarray, np.ndarray]:
    """Returns the characters of the language reference's topics: nine tenths, and the last."""
    text = "\n".join(text for _, text in sorted(pydoc_data.topics.topics.items()))
    ids = np.frombuffer(text.encode("ascii", "ignore"), np.uint8).astype("int32")
    split = len(ids) * 9 // 10
    return ids[:split], ids[split:]


def draw(
    ids: np.ndarray, steps: int, seed: int, batch_size: int = BATCH_SIZE
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields batches of random pieces of a text, and of the characters that come next."""
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        starts = rng.integers(0, len(ids) - CONTEXT - 1, batch_size)
        pieces = ids[starts[:, None] + np.arange(CONTEXT + 1)]
        yield pieces[:, :-1], pieces[:, 1:]


def main() -> None:
    """Trains the network by each rule, and prints its perplexity on text that it has not seen."""
    train, test = load_text()
    counts = np.bincount(train, minlength=CHARACTERS) + 1
    unigram = -np.log(counts / counts.sum())[test].mean()
    print(f"{'characters alone':28} perplexity {math.exp(unigram):6.2f}")
    for rule in RULES:
        keras.utils.set_random_seed(0)
        try:
            learner = wna_tf.Learner(make_network(), rule=rule)
        except ValueError as refusal:
            print(f"{rule:28} {refusal}")
            continue
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        learner.compile(keras.optimizers.Adam(RATE, global_clipnorm=1.0), loss)
        learner.fit(
            draw(train, STEPS, seed=0), epochs=1, steps_per_epoch=STEPS, shuffle=False, verbose=0
        )
        value = learner.evaluate(draw(test, 100, seed=1), steps=100, verbose=0)
        print(f"{rule:28} perplexity {math.exp(value):6.2f}", flush=True)


if __name__ == "__main__":
    main()
