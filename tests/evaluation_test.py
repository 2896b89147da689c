"""Evaluations: against what training measured, scikit-learn, and the same after an export."""

import csv
import dataclasses
import json
import re
import shutil
import warnings

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

import wna_tf
from tests.conftest import SHARED
from tests.image_folder_test import tree
from wna_tf import files
from wna_tf.experiments import build, classification, evaluation, export, run_directory, training
from wna_tf.experiments.config import Config
from wna_tf_command import cli

KMNIST = SHARED / "data" / "tfds"
SMALL = {"width": 8, "epochs": 1, "data_limit": 100, "learning_rate": 0.5}


def train(directory, **options):
    training.train(Config(**SMALL | options), directory)
    return directory


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs")
    for rule in ("align_ada", "backprop"):
        train(directory / rule, rule=rule)
    export.export_runs(directory / "backprop")
    return directory


@pytest.fixture(scope="module")
def add_run(tmp_path_factory):
    options = {"learning_rate": 0.001, "loss": "sum_squared_error", "batch_size": 30}
    return train(tmp_path_factory.mktemp("add") / "run", dataset="add", model="rnn", **options)


def command_line(*flags):
    with flagsaver.flagsaver():
        cli.run(["main.py", "--mode=evaluate", *flags])


def read(path):
    with path.open(newline="") as file:
        head, *rows = csv.reader(file)
    return head, rows


@pytest.mark.parametrize("split", evaluation.SPLITS)
def test_a_directory_of_runs_scores_what_training_measured(runs, split):
    for found, rule in zip(
        evaluation.evaluate(runs, split), ("align_ada", "backprop"), strict=True
    ):
        assert found.directory == runs / rule / "evaluation" / f"digits_{split}"
        result = run_directory.read_run(runs / rule).result
        for name in ("accuracy", "loss"):
            np.testing.assert_allclose(found.numbers[name], result[f"{split}_{name}"], rtol=1e-5)
        assert found.numbers["examples"] == result["examples"][split]
        assert found.numbers["versions"] == result["versions"]
        assert found.numbers["options"]["data_limit"] == 100


def rows_of(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


def test_the_summary_has_means_and_standard_errors_over_seeds(runs, tmp_path):
    (one,) = evaluation.evaluate(runs / "backprop")
    assert "over seeds" not in evaluation.describe([one])
    accuracies = {"align_zero": (0.25, 0.75), "backprop": (0.5,), "readout": (0.5, None)}
    made = [
        one._replace(
            directory=tmp_path / f"{rule}{seed}",
            numbers=one.numbers
            | {"accuracy": accuracy, "loss": accuracy, "not_finite": int(accuracy is None)}
            | {"run": one.numbers["run"] | {"rule": rule, "seed": seed}},
        )
        for rule, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]
    text = evaluation.describe(made)
    each, _, summary = text.partition("Means over seeds and their standard errors:")
    assert len(rows_of(each)) == 2 + len(made)
    head, _, *rows = rows_of(summary)
    assert head == ["rule", "seeds", "accuracy (%)", "loss"]
    error = np.std([25, 75], ddof=1) / np.sqrt(2)
    assert rows == [
        ["Backpropagation", "1", "50.0", "0.500"],
        ["Align-zero", "2", f"50 ± {error:.0f}", f"0.50 ± {error / 100:.2f}"],
        ["Readout", "2", "50.0 (1 diverged)", "0.500 (1 diverged)"],
    ]


def test_the_files_agree_with_scikit_learn(runs):
    (found,) = evaluation.evaluate(runs / "backprop")
    names = {"evaluation.json", "classes.md", "confusion.csv", "predictions.csv"}
    figures = {"confusion.png", "confusion.svg"}
    assert {path.name for path in found.directory.iterdir()} == names | figures
    assert json.loads((found.directory / "evaluation.json").read_text()) == found.numbers

    head, rows = read(found.directory / "predictions.csv")
    assert head == ["index", "label", "prediction", *(f"score {digit}" for digit in range(10))]
    assert [row[0] for row in rows] == [str(index) for index in range(297)]
    labels, predictions = ([int(row[column]) for row in rows] for column in (1, 2))
    outputs = np.array([row[3:] for row in rows], np.float32)
    test = np.concatenate([x for x, _ in wna_tf.datasets.load("digits").test])
    expected = export.load(runs / "backprop").predict(test, verbose=0)
    np.testing.assert_allclose(outputs, expected, atol=1e-5)
    assert predictions == list(expected.argmax(1))

    head, rows = read(found.directory / "confusion.csv")
    matrix = [[int(cell) for cell in row[1:]] for row in rows]
    np.testing.assert_array_equal(matrix, metrics.confusion_matrix(labels, predictions))
    assert found.numbers["accuracy"] == metrics.accuracy_score(labels, predictions)
    assert "| 9     |" in (found.directory / "classes.md").read_text()


@settings(max_examples=30)
@given(st.lists(st.tuples(*[st.integers(0, 4)] * 2), min_size=1))
def test_scores_of_classes_are_scikit_learns(pairs):
    labels, predictions = np.transpose(pairs)
    confusion = classification.confusion_matrix(labels, predictions, 5)
    expected = metrics.precision_recall_fscore_support(
        labels, predictions, labels=range(5), zero_division=np.nan
    )
    for ours, theirs in zip(classification.by_class(confusion), expected, strict=True):
        np.testing.assert_allclose(ours, theirs)


def test_classes_that_are_not_there_have_no_scores():
    table = classification.class_table(
        classification.by_class(np.array([[2, 0], [0, 0]])), ["cat", "dog"]
    )
    assert "| dog   | -             | -          | -      | 0       |" in table


def assert_same_after_export(run, **options):
    (before,) = evaluation.evaluate(run, given=options)
    files = {path for path in (run / "saved_model").rglob("*")}
    (after,) = evaluation.evaluate(run / "saved_model", given=options)
    assert after.directory.parent == run / "saved_model_evaluation"
    assert {path for path in (run / "saved_model").rglob("*")} == files
    for name in ("loss", "accuracy", "mean_squared_error"):
        np.testing.assert_allclose(
            after.numbers.get(name, 0), before.numbers.get(name, 0), rtol=1e-5
        )
    return before


def test_a_saved_model_scores_as_its_run(runs):
    assert_same_after_export(runs / "backprop", dataset="digits")


@pytest.mark.slow
@pytest.mark.skipif(not KMNIST.is_dir(), reason="needs KMNIST on disk")
def test_kmnist_by_the_names_of_its_classes(tmp_path):
    run = train(tmp_path / "run", dataset="kmnist", data_dir=str(KMNIST))
    export.export_runs(run)
    found = assert_same_after_export(run, dataset="kmnist", data_dir=str(KMNIST))
    assert found.numbers["examples"] == 2000
    assert [row["name"] for row in found.numbers["classes"]][:3] == ["o", "ki", "su"]
    np.testing.assert_allclose(
        found.numbers["accuracy"], run_directory.read_run(run).result["test_accuracy"], rtol=1e-5
    )


def test_sequences_have_an_error_for_each_time_step(add_run):
    export.export_runs(add_run)
    found = assert_same_after_export(add_run, dataset="add", loss="sum_squared_error")
    result = run_directory.read_run(add_run).result
    np.testing.assert_allclose(found.numbers["loss"], result["test_loss"], rtol=1e-5)
    _, rows = read(found.directory / "errors.csv")
    assert len(rows) == 100
    np.testing.assert_allclose(sum(float(row[1]) for row in rows), result["test_loss"], rtol=1e-4)
    stored = np.load(found.directory / "predictions.npz")
    assert stored["target"].shape == stored["prediction"].shape == (100, 100, 1)
    assert (found.directory / "errors.svg").is_file()
    assert "mean_squared_error" in found.numbers and "accuracy" not in found.numbers


def test_other_data_is_evaluated_with_the_flags_and_defaults_for_it(tmp_path, capsys):
    tree(tmp_path / "images", classes=["cat", "dog"])
    options = {"data_limit": None, "batch_size": 4, "dataset": "image_folder"}
    run = train(tmp_path / "run", data_dir=str(tmp_path / "images"), **options)
    tree(tmp_path / "others", classes=["cat", "dog"], size=5)
    command_line(f"--run_dir={run}", f"--data_dir={tmp_path}/others")
    assert "| cat" in capsys.readouterr().out
    numbers = files.read_json(run / "evaluation" / "image_folder_test" / evaluation.RESULT)
    assert numbers["examples"] == 10
    assert numbers["options"]["data_dir"] == f"{tmp_path}/others"
    config = Config(dataset="kmnist", data_dir="a", validation_size=7, data_limit=3, width=5)
    assert evaluation._override(config, {"dataset": "add"}) == Config(dataset="add", width=5)
    assert evaluation._override(config, {"seed": 5}).data_dir == "a"


def test_many_classes_are_written_in_binary(runs, monkeypatch):
    monkeypatch.setattr(evaluation, "_MANY", 5)
    (found,) = evaluation.evaluate(runs / "align_ada")
    stored = np.load(found.directory / "predictions.npz")
    np.testing.assert_array_equal(stored["prediction"], stored["score"].argmax(1))
    assert not (found.directory / "predictions.csv").exists()  # Of the evaluation before.


def test_a_diverged_network_has_no_accuracy(runs, tmp_path, capsys):
    run = tmp_path / "run"
    learner = export.load(runs / "backprop")
    head = learner.network.weights[-2]
    head.assign(head + np.where(np.arange(10) == 3, np.nan, 0))
    run.mkdir()
    for name in (run_directory.CONFIG, run_directory.RESULT):
        (run / name).write_bytes((runs / "backprop" / name).read_bytes())
    learner.save(run / run_directory.MODEL)
    command_line(f"--run_dir={run}")
    assert "Diverged: the outputs of 297 of 297 examples are not" in capsys.readouterr().out
    numbers = files.read_json(run / "evaluation" / "digits_test" / evaluation.RESULT)
    assert numbers["not_finite"] == 297 and numbers["loss"] is None
    assert "accuracy" not in numbers
    assert len(list((run / "evaluation" / "digits_test").iterdir())) == 1


def mistake(capsys, *flags):
    with pytest.raises(SystemExit) as exit_info:
        command_line(*flags)
    assert exit_info.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--run_dir={}/nothing"], r"Expected an existing directory\. Received: .*/nothing"),
        (["--run_dir={}"], r"Expected a run, a directory .* or, to evaluate, a SavedModel"),
        (["--run_dir={}/unfinished"], r"Expected a finished run\. Received: .*/unfinished"),
        (["--run_dir={}/run", "--dataset=add"], r"inputs of shape \(None, 8, 8, 1\).* add"),
        (["--run_dir={}/run", "--seed=1,2"], r"Expected one seed .* Received: seed=\[1, 2\]"),
        (["--run_dir={}/run", "--loss=mze"], r"Received: loss='mze'"),
        (["--run_dir={}/run/saved_model"], r"Expected a data set by its name"),
        (["--run_dir={}/run/saved_model", "--dataset=add"], r"Expected a data set for inputs"),
        (["--run_dir={}/damaged", "--dataset=digits"], r"a SavedModel that TensorFlow reads"),
        (["--run_dir={}/occupied"], r"Expected a directory that can be written to"),
    ],
)
def test_a_mistake_ends_with_one_line(flags, message, runs, tmp_path, capsys):
    (tmp_path / "run").symlink_to(runs / "backprop")
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / run_directory.CONFIG).write_text("{}")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "saved_model.pb").write_bytes(b"\x12\x34")
    (tmp_path / "occupied").mkdir()
    for name in (run_directory.CONFIG, run_directory.RESULT, run_directory.MODEL):
        (tmp_path / "occupied" / name).symlink_to(runs / "backprop" / name)
    (tmp_path / "occupied" / "evaluation").write_text("a file")
    if flags == ["--run_dir={}"]:
        tmp_path = tmp_path / "damaged"
        (tmp_path / "saved_model.pb").unlink()
    line = mistake(capsys, *(flag.format(tmp_path) for flag in flags))
    assert re.search(message, line), line


@pytest.mark.parametrize(
    "signatures, message",
    [
        (None, "Expected a SavedModel with the signature 'serving_default'.* no signature"),
        ((4, [None, 8, 8, 1]), r"outputs of shape \(None, 4\).* digits, with \(None, 10\)"),
        ((10, [5, 8, 8, 1]), r"batches of any size.* whose input is \(5, 8, 8, 1\)"),
    ],
)
def test_saved_models_of_others_that_do_not_fit(signatures, message, tmp_path, capsys):
    module = tf.Module()
    if signatures:
        size, shape = signatures

        @tf.function(input_signature=[tf.TensorSpec(shape)])
        def module_serve(x):
            return tf.reshape(x, [-1, 64])[:, :size]

        tf.saved_model.save(module, tmp_path / "model", signatures=module_serve)
    else:
        tf.saved_model.save(module, tmp_path / "model")
    line = mistake(capsys, f"--run_dir={tmp_path}/model", "--dataset=digits")
    assert re.search(message, line), line
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_many_runs_are_evaluated_without_a_warning(runs, tmp_path, caplog, monkeypatch):
    for number in range(6):  # TensorFlow warns of the fifth.
        shutil.copytree(runs / "backprop", tmp_path / str(number))
    monkeypatch.setattr(tf.get_logger(), "propagate", True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(evaluation.evaluate(tmp_path, "test")) == 6
    assert not [record.getMessage() for record in caplog.records if "retracing" in record.msg]


def test_splits_that_are_not_there_are_refused(add_run, monkeypatch):
    with pytest.raises(ValueError, match="Expected split to be one of test, validation"):
        evaluation.evaluate(add_run, "train")
    with pytest.raises(ValueError, match=r"Expected some of dataset, .* Received: width"):
        evaluation.evaluate(add_run, given={"width": 3})
    data = dataclasses.replace(wna_tf.datasets.load("add"), validation=None)
    monkeypatch.setattr(build, "load_data", lambda _: data)
    with pytest.raises(ValueError, match=r"data set with validation .* Received: add"):
        evaluation.evaluate(add_run, "validation")


def test_numbers_that_are_no_sequences_are_evaluated(tmp_path):
    config = Config(rule="backprop", dataset="teacher", model="two_layer", width=4, epochs=1)
    training.train(dataclasses.replace(config, batch_size=25), tmp_path / "run")
    ((place, numbers),) = evaluation.evaluate(tmp_path / "run")
    assert {path.name for path in place.iterdir()} == {"evaluation.json", "predictions.npz"}
    arrays = np.load(place / "predictions.npz")
    errors = (arrays["prediction"] - arrays["target"]) ** 2
    assert errors.shape == (1000, 1)
    assert numbers["mean_squared_error"] == pytest.approx(errors.mean())
    assert numbers["loss"] == pytest.approx(errors.mean())
