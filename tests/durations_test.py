"""What a plan counts of a run, part by part."""

import dataclasses
import re

import pytest

from wna_tf import callbacks, datasets, measures
from wna_tf.callbacks import Sizes
from wna_tf.experiments import build, costs, durations, executors
from wna_tf.experiments import plan as plans
from wna_tf.experiments.config import Config, Setup

MACHINE = costs.Machine(1e-11, 16.0, 1e10, 1e-5)
RUN = Config(rule="backprop", width=8, depth=2, epochs=10)


SETUP = Setup()


def parts(setup=SETUP, is_first=True, machine=MACHINE, **fields):
    return durations.parts(dataclasses.replace(RUN, **fields), machine, setup, is_first)


def test_every_part_takes_its_time():
    told = parts(diagnostics=("feedback_angle",))
    assert min(told.values()) > 0
    bare = parts()
    assert bare.pop("diagnostics") == 0
    assert bare == {part: told[part] for part in bare}


def test_a_run_behind_another_of_its_kind_builds_nothing():
    assert parts(is_first=False) == parts() | {"build": 0}
    assert parts(depth=4)["build"] > parts()["build"]


def test_batches_of_another_size_are_another_kind():
    def total(*limits):
        runs = [dataclasses.replace(RUN, data_limit=limit) for limit in limits]
        return durations.total(runs, MACHINE)

    def shared(*limits):
        return sum(map(total, limits)) - total(*limits)

    build = parts()["build"]
    assert shared(400, 1200) - shared(40, 1200) == pytest.approx(build)  # Batches of 100 and of 20.


def test_epochs_count_but_for_what_a_run_takes_once():
    once, twice = parts(), parts(epochs=20)
    assert twice["steps"] == pytest.approx(2 * once["steps"])
    assert once["evaluation"] < twice["evaluation"] < 2 * once["evaluation"]
    assert [twice[part] for part in ("build", "run")] == [once[part] for part in ("build", "run")]


def test_what_is_evaluated_counts():
    assert parts(validation_size=600)["evaluation"] > parts()["evaluation"]
    assert parts(validation_size=600)["steps"] < parts()["steps"]


def test_checkpoints_count():
    often, seldom = (parts(Setup(checkpoint_every=n))["checkpoints"] for n in (1, 1000))
    assert often > 50 * seldom > 0


def passes_of(diagnostic):
    some = Sizes(64, 10, (64, 10), turns=1, normalizes=False, is_last=True)
    return diagnostic.passes([some], 100) + diagnostic.passes_a_step


@pytest.mark.parametrize("name", callbacks.names())
def test_a_diagnostic_takes_the_passes_that_it_tells(name):
    diagnostic = callbacks.get(name)
    wide = parts(diagnostics=(name,), width=1024)["diagnostics"]
    narrow = parts(diagnostics=(name,))["diagnostics"]
    passes = passes_of(diagnostic)
    assert wide > narrow if passes else wide == narrow > 0


@pytest.mark.parametrize("name", callbacks.names())
def test_a_diagnostic_that_passes_through_the_network_writes_a_graph_of_each_map(name):
    diagnostic = callbacks.get(name)
    starts = MACHINE._replace(seconds_per_operation=0, bandwidth=1e30)
    deep, shallow = (
        parts(machine=starts, diagnostics=(name,), depth=depth, epochs=1)["diagnostics"]
        for depth in (4, 2)
    )
    if passes_of(diagnostic):
        assert deep > 1.3 * shallow
    else:
        assert deep == shallow < parts()["build"]


def applications(name, batch_size=100, **fields):
    """Forward passes of an example that a diagnostic takes in a network of KMNIST, each epoch."""
    config = dataclasses.replace(RUN, model="cnn", strides=(1, 2, 2), **fields)
    network = [durations._sizes(block) for block in costs.blocks(config, (28, 28, 1), 10)]
    return batch_size * callbacks.get(name).passes(network, batch_size), network


def test_scores_take_a_basis_where_they_are_exact(monkeypatch):
    taken, network = applications("alignment_score", width=16)
    shapes = [(784, 12544), (12544, 3136), (3136, 784), (16, 10)]
    assert [(some.inputs, some.outputs) for some in network] == shapes
    work = [some.multiplications for some in network]
    exact = sum(10 * min(pair) * each for pair, each in zip(shapes, work, strict=True))
    assert taken == pytest.approx(exact / sum(work))
    assert taken / 100 > 150  # Batches; 186 were measured.
    monkeypatch.setattr(measures, "EXACT_COST", 0)
    probed = 2500 * sum(work[:3]) + 10 * 10 * work[3]  # A dense map's are exact.
    taken, _ = applications("alignment_score", width=16)
    assert taken == pytest.approx(probed / sum(work))


def test_a_kernel_takes_more_where_examples_depend_on_each_other():
    taken, _ = applications("kernel_change", width=16, normalize=False)
    assert taken == pytest.approx(1.5 * (10 + 10) * 50)
    taken, _ = applications("kernel_change", width=16, normalize=True)
    assert taken == pytest.approx(3.5 * 50 * 10 * 50)


def test_sizes_of_tests_are_those_of_the_data():
    for name in ("add", "digits", "teacher"):
        test = build.load_data(Config(dataset=name, batch_size=50)).test
        assert datasets.get(name).test_size == sum(len(x) for x, _ in test)


def test_a_sweep_takes_what_its_runs_do_and_its_start():
    grid = [dataclasses.replace(RUN, seed=seed) for seed in range(5)]
    assert durations.total([], MACHINE) == 0
    totals = [durations.total(grid[:n], MACHINE) for n in (1, 2, 3)]
    first, again = (sum(parts(is_first=is_first).values()) for is_first in (True, False))
    assert totals[1] - totals[0] == pytest.approx(again)
    assert totals[2] - totals[1] == pytest.approx(again)
    assert totals[0] > first > again


def test_processes_share_out_what_is_not_arithmetic(monkeypatch):
    monkeypatch.setattr(executors.processes.environment, "cores", lambda: 4)
    grid = [dataclasses.replace(RUN, width=width) for width in range(1, 41)]
    assert [executors.count_processes(name, 100) for name in executors.names()] == [1, 4, 4]
    one, four = (durations.total(grid, MACHINE, executor=name) for name in ("local", "processes"))
    assert one / 4 < four < one / 2
    arithmetic = MACHINE._replace(overhead=0)
    one, four = (
        durations.total(grid, arithmetic, executor=name) for name in ("local", "processes")
    )
    assert one == four > 0


def test_a_plan_tells_less_for_more_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(executors.processes.environment, "cores", lambda: 4)
    monkeypatch.setattr(costs, "this_machine", lambda: MACHINE._replace(overhead=0.1))
    grid = [dataclasses.replace(RUN, width=width) for width in range(1, 41)]
    one, four = (plans.describe(grid, tmp_path, executor=name) for name in ("local", "processes"))
    assert one.splitlines()[:-1] == four.splitlines()[:-1]  # The time of each run.
    one, four = (float(re.search(r"about (\d+) h", plan)[1]) for plan in (one, four))
    assert four < one / 2


def test_what_is_not_known_takes_no_time():
    assert parts(credit="forward", rule="align_zero") is None
    assert parts(dataset="image_folder") is None
