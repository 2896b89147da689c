"""What a step costs: against the traced network, and against what is known of the rules."""

import dataclasses
import resource
import time

import keras
import pytest

from wna_tf import datasets, models
from wna_tf.experiments import build, costs
from wna_tf.experiments.config import Config
from wna_tf.graph.tracing import trace

MACHINE = costs.Machine(1e-11, 16.0, 1e10, 1e-5)
CIFAR10 = Config(dataset="cifar10", model="cnn", strides=(1, 1, 1, 2, 1, 2, 1), width=32)
CIFAR10_SIZES = [(32, 3), (32, 32), (32, 32), (16, 32), (16, 32), (8, 32), (8, 32)]
# Positions, inputs of a unit and units of every affine map, from sizes that papers give.
BLOCKS = {
    "cifar10": (CIFAR10, [(n * n, 9 * c, 32) for n, c in CIFAR10_SIZES] + [(1, 32, 10)]),
    "kmnist": (
        Config(dataset="kmnist", model="cnn", width=8),
        [(28 * 28, 9, 8), (14 * 14, 72, 8), (7 * 7, 72, 8), (1, 8, 10)],
    ),
    "digits": (Config(width=8, depth=2), [(1, 64, 8), (1, 8, 8), (1, 8, 10)]),
    "two_layer": (
        Config(dataset="teacher", model="two_layer", width=8),
        [(1, 150, 8), (1, 8, 1)],
    ),
    "add": (
        Config(dataset="add", model="rnn", width=8),
        [(100, 1, 8), (100, 8, 8), (100, 8, 1)],
    ),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_are_those_of_the_network(name):
    config, expected = BLOCKS[name]
    input_shape, target_shape = datasets.shapes(config.dataset)
    blocks = costs.blocks(config, input_shape, target_shape[-1])
    assert [block[:3] for block in blocks] == expected
    assert [block.turns for block in blocks] == [1, 100, 1] if name == "add" else [1] * len(blocks)
    is_hidden = [name != "add" or block.turns > 1 for block in blocks]
    assert [block.is_hidden for block in blocks] == [*is_hidden[:-1], False]
    normalizes = config.normalize and name in ("cifar10", "kmnist", "digits")
    assert [block.normalizes for block in blocks] == [normalizes] * (len(blocks) - 1) + [False]
    assert [block.takes_inputs for block in blocks] == [True] + [False] * (len(blocks) - 1)
    assert [block.is_last for block in blocks] == [False] * (len(blocks) - 1) + [True]


def test_any_network_has_blocks():
    image, sequence = keras.Input((8, 8, 4)), keras.Input((5, 3))
    x = keras.layers.Conv2D(6, 3, strides=2, groups=2, padding="same")(image)
    x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
    x = keras.layers.DepthwiseConv2D(3, depth_multiplier=2, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    h, *states = keras.layers.LSTM(7, return_state=True, dropout=0.1)(sequence)
    h = keras.layers.LSTM(7, recurrent_dropout=0.1)(sequence, initial_state=[h, states[1]])
    x = keras.layers.Concatenate()([x, h])
    outputs = [keras.layers.Dense(2)(x), keras.layers.Dense(1)(x)]
    blocks = costs.read_blocks(trace(keras.Model([image, sequence], outputs)))
    assert sorted(blocks) == sorted(
        [
            costs.Block(
                16, 9 * 2, 6, is_hidden=True, normalizes=True, takes_inputs=True, inputs=8 * 8 * 4
            ),
            costs.Block(4, 9, 12, is_hidden=True, inputs=4 * 4 * 6),
            *[costs.Block(5, 3, 4 * 7, takes_inputs=True, inputs=5 * 3)] * 2,
            *[costs.Block(5, 7, 4 * 7, is_hidden=True, turns=5, inputs=7)] * 2,
            costs.Block(1, 12 + 7, 2, is_last=True, inputs=12 + 7),
            costs.Block(1, 12 + 7, 1, is_last=True, inputs=12 + 7),
        ]
    )
    assert costs.cost("align_ada", blocks, 10).memory > 0


def test_a_network_of_no_known_size_has_no_blocks():
    with pytest.raises(ValueError, match=r"Expected a network whose .* Received: .*recurrent"):
        costs.read_blocks(trace(models.rnn(4)))


def test_the_blocks_of_a_network_of_any_size_take_neither_time_nor_memory():
    keras.config.set_dtype_policy("float64")
    try:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        wide = dataclasses.replace(CIFAR10, width=2**14)
        blocks = costs.blocks(wide, (32, 32, 3), 10)
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert sum(block.fan_in * block.units for block in blocks) > 1e10
        assert kilobytes < 100_000
        # Nothing that makes or traces networks later finds what was not made.
        trace(models.two_layer((3,), 1, 4))
        assert keras.config.dtype_policy().name == "float64"
    finally:
        keras.config.set_dtype_policy("float32")


def test_networks_that_differ_in_other_fields_are_built_once(monkeypatch):
    built = []
    build_network = build.network
    monkeypatch.setattr(
        build, "network", lambda *given: built.append(given) or build_network(*given)
    )
    grid = [
        Config(width=width, rule=rule, seed=seed, learning_rate=2.5, strides=(seed,))
        for width in (37, 38)
        for rule in ("backprop", "align_ada")
        for seed in (1, 2)
    ]
    estimates = [costs.estimate(config, MACHINE) for config in grid]
    assert len(set(estimates)) == 4
    assert len(built) == 2


@pytest.mark.parametrize("name", ["add", "digits", "teacher"])
def test_shapes_are_those_of_the_data(name):
    x, y = datasets.load(name, batch_size=10).train.element_spec
    assert datasets.shapes(name) == (tuple(x.shape[1:]), tuple(y.shape[1:]))


@pytest.mark.parametrize(
    ("rule", "forward_passes"),
    [
        ("backprop", 3),
        ("align_zero", 4),
        ("align_ada", 4),
        ("align_prop", 3),
        ("feedback_alignment", 3),
        ("direct_feedback_alignment", 2),
        ("readout", 1),
        ("linearized", 6),
    ],
)
def test_a_step_costs_the_forward_passes_of_its_rule(rule, forward_passes):
    blocks = costs.blocks(dataclasses.replace(CIFAR10, width=256), (32, 32, 3), 10)
    forward = 2 * 100 * sum(block.multiplications for block in blocks)
    operations = costs.cost(rule, blocks, 100).operations
    # But for the first block, whose input gets neither delta nor tangent.
    assert operations / forward == pytest.approx(forward_passes, rel=0.02)


def test_a_normalization_adds_traffic_and_memory():
    plain, normalized = (
        costs.cost(
            "backprop",
            costs.blocks(dataclasses.replace(CIFAR10, normalize=n), (32, 32, 3), 10),
            100,
        )
        for n in (False, True)
    )
    assert normalized.operations == plain.operations
    assert normalized.traffic > plain.traffic
    assert normalized.memory > plain.memory


def test_time_is_linear_in_the_batch_but_for_what_it_takes_to_start():
    blocks = costs.blocks(CIFAR10, (32, 32, 3), 10)
    one, two, three = (costs.seconds("align_ada", blocks, n, MACHINE) for n in (10, 20, 30))
    assert three - two == pytest.approx(two - one)
    assert 0 < 2 * one - two < one


def test_an_estimate_is_none_where_it_is_not_known():
    assert costs.estimate(Config(dataset="image_folder"), MACHINE) is None
    assert costs.estimate(Config(rule="align_zero", credit="forward"), MACHINE) is None
    small, large = (costs.estimate(Config(width=w), MACHINE) for w in (8, 1024))
    assert all(a < b for a, b in zip(small, large, strict=True))
    size = dataclasses.replace(CIFAR10, dataset="imagenet", image_size=112)
    assert costs.estimate(size, MACHINE) < costs.estimate(
        dataclasses.replace(size, image_size=None), MACHINE
    )


@pytest.mark.parametrize("name", ["cifar10", "kmnist"])
def test_images_cost_by_the_size_that_they_are_given(name):
    size = dataclasses.replace(CIFAR10, dataset=name, image_size=96)
    as_they_are = costs.estimate(dataclasses.replace(size, image_size=None), MACHINE)
    assert costs.estimate(size, MACHINE) > as_they_are


def test_a_machine_is_measured():
    assert all(value >= 0 for value in costs.measure_machine(rounds=1))


def test_a_small_operation_takes_the_same_where_other_work_takes_turns():
    alone = costs._time_small_operation(30, time.thread_time)
    turn = 50 * alone  # The other work has the processor four times as long, after each.

    def clock():
        now = time.thread_time()
        return now + 4 * turn * (now // turn)

    assert costs._time_small_operation(30, clock) == pytest.approx(alone, rel=0.5)
