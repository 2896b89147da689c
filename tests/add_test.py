"""The Add task, against its definition in loops."""

import keras
import numpy as np
import pytest

from wna_tf import datasets


def arrays(dataset):
    return [np.concatenate(parts) for parts in zip(*dataset.as_numpy_iterator(), strict=True)]


def answers(x):
    y = np.zeros_like(x)
    for n in range(len(x)):
        for t in range(x.shape[1]):
            y[n, t] = 0.5
            if t >= 2:
                y[n, t] += 0.5 * x[n, t - 2]
            if t >= 5:
                y[n, t] -= 0.25 * x[n, t - 5]
    return y


def test_answers_are_delayed_sums_of_fair_bits():
    data = datasets.load("add", batch_size=50, seed=99)
    assert data.sizes == {"train": 300, "validation": 100, "test": 100}
    assert data.input_shape == (100, 1) and data.num_outputs == 1 and data.num_classes is None
    bits = []
    for dataset, size in ((data.train, 300), (data.test, 100)):
        x, y = arrays(dataset)
        assert x.shape == y.shape == (size, 100, 1) and x.dtype == y.dtype == np.float32
        np.testing.assert_array_equal(y, answers(x))  # Eighths: exact in binary.
        bits.append(x)
    bits = np.concatenate(bits)
    assert set(np.unique(bits)) == {0, 1}
    assert abs(bits.mean() - 1 / 2) < 5 / 2 / np.sqrt(bits.size)
    assert len({sequence.tobytes() for sequence in bits}) == 400


def test_the_seed_makes_the_sequences():
    def test_inputs(seed):
        return arrays(datasets.load("add", seed=seed).test)[0]

    np.random.seed(1)
    first = test_inputs(3)
    np.random.seed(2)
    np.testing.assert_array_equal(test_inputs(3), first)
    assert 0.4 < np.mean(test_inputs(4) != first) < 0.6


def test_chance_is_the_loss_of_guessing_a_half_on_each_split():
    data = datasets.load("add", batch_size=30, validation_size=40, data_limit=60)
    assert list(data.chance) == ["train_loss", "validation_loss", "test_loss"]
    for dataset, chance in zip(data, data.chance.values(), strict=True):
        y = arrays(dataset)[1].astype(float)
        loss = sum(np.mean((0.5 - y[:, t]) ** 2) for t in range(100))
        assert chance == pytest.approx(loss, rel=1e-12)
    # From t = 5 on the expected square is 1/8 + 1/32 - 2 / 16 * 1/2; before, terms are missing.
    expected = 95 * (1 / 8 + 1 / 32 - 1 / 16) + 3 / 8
    assert datasets.load("add").chance["train_loss"] == pytest.approx(expected, rel=0.05)
    assert list(datasets.load("add").chance) == ["train_loss", "validation_loss", "test_loss"]


def test_keras_fits_it():
    data = datasets.load("add", batch_size=50)
    model = keras.Sequential([keras.layers.Conv1D(1, 6, padding="causal")])
    model.compile(keras.optimizers.Adam(0.05), "mse")
    history = model.fit(data.train, validation_data=data.validation, epochs=60, verbose=0)
    # A linear filter over six steps is all it takes.
    assert history.history["loss"][-1] < data.chance["train_loss"] / 100 / 10
