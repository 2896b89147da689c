"""What a step costs: against the traced network, and against what is known of the rules."""

import dataclasses
import math

import pytest

from wna_tf import datasets
from wna_tf.experiments import build, costs
from wna_tf.experiments.config import Config
from wna_tf.graph.tracing import trace

MACHINE = costs.Machine(1e-11, 16.0, 1e10, 1e-5)
CIFAR10 = Config(dataset="cifar10", model="cnn", strides=(1, 1, 1, 2, 1, 2, 1), width=32)
CONFIGS = {
    "cifar10": CIFAR10,
    "kmnist": Config(dataset="kmnist", model="cnn", width=8),
    "digits": Config(width=8, depth=2),
    "two_layer": Config(dataset="teacher", model="two_layer", width=8),
    "add": Config(dataset="add", model="rnn", width=8),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_blocks_are_those_of_the_network(name):
    config = CONFIGS[name]
    input_shape, target_shape = datasets.shapes(config.dataset)
    network = build.network(config, input_shape, target_shape[-1])
    program = trace(network)
    expected = [
        (
            math.prod(program.shapes[step.outputs[0].index][1:-1]),
            math.prod(step.kernel.shape[:-1]),
            step.kernel.shape[-1],
        )
        for step in program.affine_maps
    ]
    blocks = costs.blocks(config, input_shape, target_shape[-1])
    assert [block[:3] for block in blocks] == expected


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
    operations = costs.cost(rule, blocks, 100, True).operations
    # But for the first block, whose input gets neither delta nor tangent.
    assert operations / forward == pytest.approx(forward_passes, rel=0.02)


def test_a_normalization_adds_traffic_and_memory():
    blocks = costs.blocks(CIFAR10, (32, 32, 3), 10)
    plain, normalized = (costs.cost("backprop", blocks, 100, n) for n in (False, True))
    assert normalized.operations == plain.operations
    assert normalized.traffic > plain.traffic
    assert normalized.memory > plain.memory


def test_time_is_linear_in_the_batch_but_for_what_it_takes_to_start():
    blocks = costs.blocks(CIFAR10, (32, 32, 3), 10)
    one, two, three = (costs.seconds("align_ada", blocks, n, True, MACHINE) for n in (10, 20, 30))
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


def test_a_machine_is_measured():
    assert all(value >= 0 for value in costs.measure_machine(rounds=1))
