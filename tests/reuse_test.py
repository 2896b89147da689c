"""Runs of a sweep that share a learner: the same bits as runs alone."""

import dataclasses
import multiprocessing

import pytest

from tests.run_files import bits
from tests.samples import rule_families, sample
from wna_tf.experiments import reuse, sweeps, training
from wna_tf.experiments.config import Config, Setup, expand
from wna_tf.learner import Learner

TINY = Config(
    width=4,
    depth=2,
    epochs=2,
    data_limit=60,
    batch_size=20,
    optimizer="adam",
    learning_rate=0.01,
    seed=1,
)
SETUP = Setup(checkpoint_every=2)
OTHER = {"seed": 2, "learning_rate": 0.1, "epochs": 3}


@pytest.fixture
def built(monkeypatch):
    """Networks that were wrapped: those that are not set anew."""
    reuse.forget()
    wrapped = []
    begin = Learner.__init__

    def counted(self, *args, **kwargs):
        wrapped.append(self)
        begin(self, *args, **kwargs)

    monkeypatch.setattr(Learner, "__init__", counted)
    yield wrapped
    reuse.forget()


def train(config, directory):
    training.train(config, directory, SETUP)
    return bits(directory)


def check(config, place, built, **other):
    """Checks that a run is the same behind another one, whose learner it shares, as alone."""
    alone = train(config, place / "alone")
    assert train(dataclasses.replace(config, **OTHER | other), place / "other") != alone
    assert train(config, place / "behind") == alone
    assert len(built) == 1


@pytest.mark.parametrize("rule", rule_families())
def test_a_run_behind_another_is_as_alone(rule, tmp_path, built):
    check(dataclasses.replace(TINY, rule=rule), tmp_path, built)


@pytest.mark.parametrize(
    "fields",
    [
        {"credit": "forward", "rule": "align_zero"},
        {"optimizer": "sgd", "momentum": 0.9, "ridge": 0.1, "ridge_epochs": 1},
        {"dataset": "add", "model": "rnn", "loss": "sum_squared_error"},
        {"diagnostics": ("alignment_score",)},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_all_that_a_run_draws_and_changes_begins_anew(fields, tmp_path, built):
    check(dataclasses.replace(TINY, **fields), tmp_path, built)


def test_a_run_behind_another_is_that_of_a_process_of_its_own(tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["wna_tf.experiments.training"])
    process = context.Process(target=training.train, args=(TINY, tmp_path / "alone", SETUP))
    process.start()
    train(dataclasses.replace(TINY, **OTHER), tmp_path / "other")
    behind = train(TINY, tmp_path / "behind")
    process.join()
    assert process.exitcode == 0
    assert bits(tmp_path / "alone") == behind


FIELDS = [{"width": 5}, {"ridge": 0.1}, {"data_limit": 30}]


@pytest.mark.parametrize("field", sample(FIELDS))
def test_a_run_of_another_graph_has_a_learner_of_its_own(field, tmp_path, built):
    train(TINY, tmp_path / "first")
    train(dataclasses.replace(TINY, **field), tmp_path / "second")
    assert len(built) == 2


def test_a_sweep_builds_a_learner_of_each_kind_once(tmp_path, built):
    cheap = {"rule": ["readout"], "depth": [1], "batch_size": [20], "epochs": [1]}
    grid = expand({"data_limit": [20, 40, 30], "width": [4, 5], **cheap})
    runs, _ = sweeps.sweep(grid, tmp_path)
    assert [run.config for run in runs] == [each.to_dict() for each in grid]
    assert len(built) == 4  # 30 examples are three batches of 10.


def test_the_learner_of_a_failure_is_left(tmp_path, built, monkeypatch):
    with pytest.raises(MemoryError), reuse.lent(TINY):
        raise MemoryError
    with reuse.lent(TINY):
        pass
    assert len(built) == 2
