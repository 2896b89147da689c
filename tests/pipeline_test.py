"""Splits and batches: against index arithmetic."""

import collections
import itertools
import math

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from wna_tf import datasets
from wna_tf.datasets import pipeline
from wna_tf.datasets.batches import Source


def positions_source(size, offset=0):
    """A source whose inputs are the positions themselves, so that batches tell what they hold."""

    def fetch(positions, _):
        x = tf.cast(positions[:, None] + offset, tf.float32)
        return x, 2 * x

    return Source(size, fetch)


def split(n=60, batch_size=7, validation_size=10, **kwargs):
    examples = pipeline.Examples(positions_source(n), positions_source(13, offset=1000))
    return pipeline.split(examples, batch_size, validation_size, **kwargs)


def inputs(dataset):
    """One pass over a dataset, its inputs in one flat list."""
    return np.concatenate([x.numpy().ravel() for x, _ in dataset]).tolist()


def one_error_line(error):
    message = str(error.value)
    assert message.startswith("Expected ") and "Received: " in message and "\n" not in message
    return message


@settings(max_examples=25)
@given(st.data())
def test_any_split_is_first_n_with_ceil_many_batches(draws):
    n = draws.draw(st.integers(2, 80), "n")
    validation_size = draws.draw(st.integers(0, n - 1), "validation_size")
    remaining = n - validation_size
    batch_size = draws.draw(st.integers(1, remaining), "batch_size")
    data_limit = draws.draw(st.none() | st.integers(1, remaining), "data_limit")
    data = split(n, batch_size, validation_size, data_limit=data_limit)

    n_train = data_limit or remaining
    positions = {
        "train": list(range(validation_size, validation_size + n_train)),
        "validation": list(range(validation_size)),
        "test": list(range(1000, 1013)),
    }
    batches = {
        name: [x.ravel().tolist() for x, _ in dataset.as_numpy_iterator()]
        for name, dataset in zip(positions, data, strict=True)
        if dataset is not None
    }
    assert ("validation" in batches) == (validation_size > 0)
    for name, some in batches.items():
        held = [position for batch in some for position in batch]
        assert (sorted(held) if name == "train" else held) == positions[name]
    assert data.sizes == {name: len(some) for name, some in positions.items()}

    divides = data_limit is None or data_limit % batch_size == 0
    assert data.batch_size == (batch_size if divides else math.gcd(data_limit, batch_size))
    for name, some in batches.items():
        lengths = [len(batch) for batch in some]
        expected = math.ceil(data.sizes[name] / data.batch_size)
        assert len(getattr(data, name)) == len(lengths) == expected
        assert set(lengths[:-1]) <= {data.batch_size}


def test_inputs_stay_with_their_targets():
    for dataset in split():
        for x, y in dataset:
            np.testing.assert_array_equal(y, 2 * x)


def test_epochs_differ_and_the_seed_reproduces_them():
    first, same, other = (split(seed=seed).train for seed in (5, 5, 6))
    epochs = [inputs(first) for _ in range(3)]
    assert epochs == [inputs(same) for _ in range(3)]
    assert len({tuple(epoch) for epoch in [*epochs, inputs(other)]}) == 4
    assert len({tuple(sorted(epoch)) for epoch in epochs}) == 1


def test_some_training_examples_are_drawn_by_the_seed_and_move_no_order():
    data, same, other = (split(seed=seed) for seed in (5, 5, 6))
    drawn, again, others = (
        some.training.draw(20)[0].numpy().ravel() for some in (data, same, other)
    )
    np.testing.assert_array_equal(drawn, again)
    assert sorted({*drawn} & {*range(10, 60)}) == drawn.tolist() != others.tolist()
    assert inputs(data.train) == inputs(split(seed=5).train)
    x, y = data.training.draw(1000)
    assert x.numpy().ravel().tolist() == list(range(10, 60))
    np.testing.assert_array_equal(y, 2 * x)


def test_shuffling_is_uniform_over_the_whole_set():
    # A buffer shorter than the set would keep the last examples out of the first batch.
    batches = split(n=50, batch_size=10, validation_size=0).batches_from(0).take(5 * 200)
    means = [np.mean(x) for x, _ in batches][::5]
    # The mean of 10 of 0 .. 49 without replacement has variance (50 + 1) (50 - 10) / (12 * 10).
    assert abs(np.mean(means) - 24.5) < 5 * np.sqrt(51 * 40 / 120 / 200)


def test_every_order_is_as_likely():
    # All 120 orders of 5 examples, and so all that is uniform: chi-squared with 119 degrees.
    train = split(n=5, batch_size=5, validation_size=0, seed=7).batches_from(0)
    orders = [tuple(x.ravel()) for x, _ in train.take(2400).as_numpy_iterator()]
    counts = collections.Counter(orders)
    assert sum((counts[order] - 20) ** 2 / 20 for order in itertools.permutations(range(5))) < 190


def test_a_batch_is_a_function_of_seed_and_step():
    def batches(dataset):
        return [x.ravel().tolist() for x, _ in dataset.as_numpy_iterator()]

    data = split(n=33, seed=5)  # Batches of 7, 7, 7 and 2.
    passes = [batch for _ in range(3) for batch in batches(data.train)]
    assert data.steps == 4 and len(passes) == 12
    for step in (0, 3, 4, 10):
        tf.random.set_seed(step)
        again = split(n=33, seed=5).batches_from(step)
        assert again.cardinality() == tf.data.INFINITE_CARDINALITY
        assert batches(again.take(12 - step)) == passes[step:]
    for step in (-1, 1.5, True, None):
        with pytest.raises(ValueError, match=r"Expected step .* Received: step="):
            data.batches_from(step)


def test_augmentation_is_a_function_of_seed_and_step():
    def fetch(positions, seeds):
        seeds = tf.zeros_like(positions) if seeds is None else seeds
        return tf.cast(positions, tf.float32)[:, None], seeds[:, None]

    source = Source(20, fetch)
    data = pipeline.split(pipeline.Examples(source, source), 6, 0, seed=4)
    first = [y.ravel().tolist() for _, y in data.batches_from(0).take(9).as_numpy_iterator()]
    later = [y.ravel().tolist() for _, y in data.batches_from(5).take(4).as_numpy_iterator()]
    assert later == first[5:]


@pytest.mark.parametrize("examples", [32, 40])  # With and without a remainder.
@pytest.mark.parametrize("batch_size", [6, 5])
def test_replicas_share_each_batch_across_the_ends_of_epochs(examples, batch_size, mirrored):
    data = split(n=examples, batch_size=batch_size)
    distributed = iter(mirrored.experimental_distribute_dataset(data.batches_from(2)))
    for x, _ in data.batches_from(2).take(10):
        parts = mirrored.experimental_local_results(next(distributed)[0])
        np.testing.assert_array_equal(tf.concat(parts, 0), x)
        assert [len(part) for part in parts] == [(len(x) + 1) // 2, len(x) // 2]


@pytest.mark.parametrize("workers, replicas", [(2, 1), (2, 2), (3, 1)])
def test_workers_share_each_batch(workers, replicas):
    # What MultiWorkerMirroredStrategy does to a data set, without the other processes.
    from tensorflow.python.data.experimental.ops import distribute

    data = split(n=33)

    def of_worker(worker):
        parts = distribute._LegacyRebatchDataset(data.batches_from(2), workers * replicas)
        return iter(distribute._AutoShardDataset(parts, workers, worker, workers * replicas))

    assert distribute.compute_batch_size(data.train) == -1  # Or it would batch anew.
    parts = [of_worker(worker) for worker in range(workers)]
    for x, _ in data.batches_from(2).take(10):
        found = [next(part)[0] for _ in range(replicas) for part in parts]
        assert sorted(tf.concat(found, 0).numpy().ravel()) == sorted(x.numpy().ravel())


def test_official_validation_examples_serve_unless_others_are_set_aside():
    official = pipeline.Examples(
        positions_source(30), positions_source(5, 1000), positions_source(4, 2000)
    )
    data = pipeline.split(official, batch_size=10, validation_size=0)
    assert inputs(data.validation) == [2000, 2001, 2002, 2003]
    assert data.sizes == {"train": 30, "validation": 4, "test": 5}
    data = pipeline.split(official, batch_size=10, validation_size=3)
    assert inputs(data.validation) == [0, 1, 2]
    assert data.sizes == {"train": 27, "validation": 3, "test": 5}


def test_seeds_are_new_for_every_example_and_pass_and_only_for_training():
    asked = []

    def fetch(positions, seeds):
        asked.append(seeds)
        seeds = tf.zeros_like(positions) if seeds is None else seeds
        return tf.cast(positions, tf.float32)[:, None], tf.cast(seeds, tf.float32)[:, None]

    def targets(dataset):
        return np.concatenate([y for _, y in dataset]).ravel().tolist()

    source = Source(50, fetch)
    data, same, other = (
        pipeline.split(pipeline.Examples(source, source), 20, 10, seed=seed) for seed in (5, 5, 6)
    )
    assert asked[1] is asked[2] is None
    assert set(targets(data.validation) + targets(data.test)) == {0}
    passes = [targets(data.train) for _ in range(2)]
    assert [targets(same.train) for _ in range(2)] == passes
    assert len({*passes[0], *passes[1], *targets(other.train)}) == 3 * 40


def test_shapes_and_chance_follow_the_source_not_images():
    # A sequence task: inputs [batch, T, 1] and targets [batch, T, 2].
    def fetch(positions, _):
        y = tf.tile(tf.cast(positions, tf.float32)[:, None, None], [1, 100, 2])
        return y[..., :1], y

    source = Source(30, fetch)
    examples = pipeline.Examples(source, source, chance_loss=lambda y: float(np.max(y)))
    data = pipeline.split(examples, batch_size=10, validation_size=5, data_limit=10)
    assert data.input_shape == (100, 1) and data.num_outputs == 2 and data.num_classes is None
    assert data.chance == {"train_loss": 14, "validation_loss": 4, "test_loss": 29}
    data = pipeline.split(examples, batch_size=10, validation_size=0)
    assert data.chance == {"train_loss": 29, "test_loss": 29}


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 0},
        {"batch_size": 301},
        {"batch_size": 10.0},
        {"batch_size": True},
        {"validation_size": -1},
        {"validation_size": 300},
        {"validation_size": "10"},
        {"data_limit": 0},
        {"data_limit": 301},
        {"data_limit": 7.5},
        {"seed": 1.5},
        {"seed": -1},
        {"seed": None},
        {"image_size": 0},
        {"image_size": 2.5},
        {"skip_corrupt": 1},
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ValueError) as error:
        datasets.load("add", **wrong)
    message = one_error_line(error)
    assert message.startswith(f"Expected {name} ")
    assert message.endswith(f"Received: {name}={value!r}")
