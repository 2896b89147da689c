"""Training that begins at the weights of a saved model, in code and from the command line."""

import dataclasses
import re
import shutil

import keras
import numpy as np
import pytest

import wna_tf
from tests.command import TINY, contents, flags_of
from tests.pipeline_test import one_error_line
from tests.samples import rule_families
from wna_tf import pretrained
from wna_tf.experiments import build, reuse, run_directory, training


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The model of a run, trained by backpropagation on half of the classes."""
    config = dataclasses.replace(TINY, classes=(0, 1, 2, 3, 4), seed=1)
    directory = tmp_path_factory.mktemp("saved")
    training.train(config, directory)
    return directory / run_directory.MODEL


def begin(model, rule="align_ada", **options):
    return dataclasses.replace(TINY, initial_model=str(model), rule=rule, **options)


def mlp(num_classes=5, width=4, **options):
    return wna_tf.models.mlp((8, 8, 1), num_classes, width, depth=1, **options)


def weights(network):
    return [np.array(some) for some in network.weights]


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(np.array(one), np.array(other))


@pytest.mark.parametrize("is_plain", [False, True], ids=["learner", "network"])
def test_a_network_gets_all_weights_of_a_file(is_plain, saved, tmp_path, caplog):
    own = keras.models.load_model(saved).network
    file = tmp_path / "network.keras" if is_plain else saved
    if is_plain:
        own.save(file)
    network = mlp()
    pretrained.load_weights(network, file)
    assert_same(weights(network), weights(own))
    assert not caplog.records
    learner = wna_tf.Learner(network, rule="feedback_alignment")
    assert_same(learner.initial_weights, own.trainable_variables)


def test_another_head_stays_as_it_is_and_is_told(saved, caplog):
    network = mlp(num_classes=3)
    head = [np.array(some) for some in network.layers[-1].weights]
    pretrained.load_weights(network, saved)
    own = keras.models.load_model(saved).network
    assert_same(weights(network), [*weights(own)[: -len(head)], *head])
    (record,) = caplog.records
    assert record.getMessage().startswith("The layer head stays as it is: head has another shape")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"width": 5}, r"shapes: .* \(64, 5\) .*Received: .*model.keras, with .* \(64, 4\) "),
        ({"normalize": False}, r"of 2 layers that have weights\. Received: .*, with 3$"),
    ],
    ids=["width", "layers"],
)
def test_another_network_is_refused_as_a_whole(options, message, saved):
    network = mlp(**options)
    before = weights(network)
    with pytest.raises(ValueError) as error:
        pretrained.load_weights(network, saved)
    assert re.search(message, one_error_line(error))
    assert_same(weights(network), before)


@pytest.mark.parametrize("rule", rule_families())
def test_every_rule_begins_and_is_frozen_there(rule, saved):
    assert_begins(rule, "single", saved)


def test_replicas_begin_there(saved):
    assert_begins("align_ada", "mirrored", saved)


def assert_begins(rule, strategy, saved):
    own = keras.models.load_model(saved).network
    config = begin(saved, rule=rule, classes=(5, 6, 7, 8, 9), data_limit=20)
    with reuse.lent(config, strategy) as (data, learner):
        assert_same(weights(learner.network), weights(own))
        learner.fit(data.train, verbose=0)
        moved = zip(learner.trainable_variables, own.trainable_variables, strict=True)
        assert any(np.any(np.array(one) != np.array(other)) for one, other in moved)
        assert_same(learner.initial_weights, own.trainable_variables)


def test_a_grid_is_the_same_as_runs_alone(saved, tmp_path, command):
    flags = flags_of(TINY, tmp_path / "runs", initial_model=f"none,{saved}")
    flags = [flag for flag in flags if "--rule" not in flag]
    assert command(*flags, "--classes=5-9", "--rule=backprop,align_ada").status == 0
    runs = run_directory.read_runs(tmp_path / "runs")
    assert len(runs) == 4
    drawn, begun = (
        [run for run in runs if (run.config["initial_model"] == "none") is is_drawn]
        for is_drawn in (True, False)
    )
    assert {run.config["initial_digest"] for run in drawn} == {None}
    assert {run.config["initial_digest"] for run in begun} == {pretrained.digest(saved)}
    reuse.forget()
    for run in begun:
        alone = training.train(training.read_config(run.directory), tmp_path / run.directory.name)
        assert alone.result | {"seconds": 0} == run.result | {"seconds": 0}
    assert not {run.result["train_loss"] for run in drawn} & {r.result["train_loss"] for r in begun}
    assert command("--mode=evaluate", f"--run_dir={tmp_path}/runs").status == 0
    assert command("--mode=report", f"--run_dir={tmp_path}/runs").status == 0


def test_each_run_of_a_grid_begins_with_the_run_of_its_width(tmp_path, command):
    flags = [*flags_of(TINY, tmp_path / "first"), "--classes=0-4", "--width=3,4"]
    assert command(*flags).status == 0
    name = f"{tmp_path}/first/*_width{{width}}_*_seed{{seed}}_*/model.keras"
    flags = flags_of(TINY, tmp_path / "second", initial_model=name)
    assert command(*flags, "--classes=5-9", "--width=3,4").status == 0
    first, second = (run_directory.read_runs(tmp_path / each) for each in ("first", "second"))
    assert [run.config["width"] for run in second] == [3, 4]
    for one, other in zip(first, second, strict=True):
        digest = pretrained.digest(one.directory / run_directory.MODEL)
        assert other.config["initial_digest"] == digest
        assert other.config["initial_model"] == name
    ended = command(*flags_of(TINY, tmp_path / "third", initial_model=name.replace("{width}", "*")))
    assert ended.status == 2
    (line,) = ended.splitlines()
    assert re.search(r"Expected one saved model\. Received: .*, which is 2 of them", line)


def test_a_run_goes_on_with_the_same_file_alone(saved, tmp_path, command, at_step):
    file = shutil.copy(saved, tmp_path / "model.keras")
    config = begin(file, rule="backprop")
    flags = flags_of(config, tmp_path / "runs", checkpoint_every=2, initial_model=file)

    def stop():
        raise KeyboardInterrupt(2)

    at_step(5, stop)
    assert command(*flags).status == 130
    at_step(None, None)
    mlp(width=4).save(file)  # With another head, which would be drawn.
    ended = command(*flags)
    assert ended.status == 2
    (line,) = ended.splitlines()
    assert re.search(
        r"Expected the file that the run began with, of SHA-256 \w{64}\. Received: "
        r"initial_model='.*/model\.keras', of \w{64}",
        line,
    )
    shutil.copy(saved, file)
    assert "Going on from step 4 of 12." in command(*flags).out
    assert command(*flags).status == 0  # All are finished.
    file.unlink()
    assert command("--mode=evaluate", f"--run_dir={tmp_path}/runs").status == 0


def test_a_configuration_records_the_file_but_is_named_without(saved):
    config = begin(saved)
    pinned = build.pin(config)
    assert pinned.initial_digest == pretrained.digest(saved)
    assert build.pin(pinned) == pinned and build.pin(TINY) == TINY
    assert pinned.name == config.name != TINY.name
    with pytest.raises(ValueError, match="Expected the file that the run began with, of SHA-256 0"):
        build.pin(dataclasses.replace(config, initial_digest="0"))


MISTAKES = {
    "missing": ("{}/none.keras", "Expected the file of a saved model. Received: .*/none.keras"),
    "directory": ("{}", "Expected the file of a saved model. Received: "),
    "field": ("{}/{{wide}}.keras", "Expected initial_model to have fields of a run in braces"),
    "text": ("{}/text", r"Expected a model in Keras's format, whole .* Received: .*/text: "),
    "width": ("{}/wide.keras", r"weights of the network's shapes: .*\(64, 4\).* Received: "),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_file_that_does_not_fit_ends_with_one_line(name, tmp_path, command):
    (tmp_path / "text").write_text("text")
    mlp(10, width=5).save(tmp_path / "wide.keras")
    before = contents(tmp_path)
    path, message = MISTAKES[name]
    flags = flags_of(TINY, tmp_path / "runs", initial_model=f"none,{path.format(tmp_path)}")
    ended = command(*flags)
    assert ended.status == 2
    (line,) = ended.splitlines()
    assert re.search(message, line), line
    assert contents(tmp_path) == before
