"""Some classes of a data set: against the examples of all of them, read another way."""

import re

import numpy as np
import pytest
import tensorflow as tf

from tests.command import contents
from tests.pipeline_test import one_error_line
from wna_tf import datasets
from wna_tf.experiments import build, run_directory
from wna_tf.experiments.config import Config

CLASSES = (7, 0, 3)


def read(batches):
    x, y = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return x, y


@pytest.fixture(scope="module")
def all_of_them():
    return datasets.load("digits", batch_size=50)


@pytest.fixture(scope="module")
def some():
    return datasets.load("digits", batch_size=50, classes=CLASSES)


def test_their_examples_are_those_of_all_relabelled(all_of_them, some):
    assert (some.num_classes, some.class_names, some.chance) == (
        3,
        ["7", "0", "3"],
        {"accuracy": 1 / 3},
    )
    for part in ("validation", "test"):
        x, y = read(getattr(all_of_them, part))
        labels = y.argmax(-1)
        kept = np.isin(labels, CLASSES)
        ours, targets = read(getattr(some, part))
        np.testing.assert_array_equal(ours, x[kept])
        expected = np.eye(3)[[CLASSES.index(label) for label in labels[kept]]] - 1 / 3
        np.testing.assert_allclose(targets, expected, atol=1e-6)
    counts = np.bincount(read(all_of_them.train)[1].argmax(-1))
    assert list(np.bincount(read(some.train)[1].argmax(-1))) == list(counts[list(CLASSES)])
    assert some.sizes["train"] == counts[list(CLASSES)].sum()


def test_sizes_and_forms_are_as_of_any_data_set(some):
    small = datasets.load(
        "digits", 5, classes=CLASSES, validation_size=20, data_limit=30, targets="labels"
    )
    assert small.sizes == {"train": 30, "validation": 20, "test": some.sizes["test"]}
    assert {int(label) for _, y in small.train for label in y} == {0, 1, 2}
    hot = datasets.load("digits", 50, classes=CLASSES, targets="one_hot").test
    np.testing.assert_array_equal(np.unique(read(hot)[1]), [0, 1])
    config = Config(classes=CLASSES, epochs=2)
    assert build.count_steps(config) == 2 * -(-some.sizes["train"] // 100)
    assert build.dataset(config).shapes == ((8, 8, 1), (3,))


def test_one_hot_targets_stay_one_hot():
    def fetch(positions, _):
        return positions[:, None], tf.one_hot(positions % 4, 4)

    source = datasets.Source(12, fetch)
    taken, positions = datasets.restrict(datasets.Examples(source, source), (2, 1))
    assert list(positions) == [1, 2, 5, 6, 9, 10] and taken.test is taken.training
    x, y = taken.training.fetch(tf.range(6, dtype=tf.int64), None)
    np.testing.assert_array_equal(x[:, 0], positions)
    np.testing.assert_array_equal(y, np.eye(2)[[1, 0] * 3])


@pytest.mark.parametrize(
    "name, classes, message",
    [
        ("digits", (3,), "at least two from 0 to 9, each once. Received: classes=(3,)"),
        ("digits", (3, 3), "at least two from 0 to 9, each once. Received: classes=(3, 3)"),
        ("digits", (3, 10), "at least two from 0 to 9, each once. Received: classes=(3, 10)"),
        ("add", (0, 1), "Received: classes=(0, 1) where the targets are numbers"),
    ],
)
def test_classes_that_there_are_not_are_refused(name, classes, message):
    with pytest.raises(ValueError) as error:
        datasets.load(name, batch_size=10, classes=classes)
    assert message in one_error_line(error)


MISTAKES = {
    "range": ("--classes=5-3", r"or a range of at most 1000 as 0-4\. Received: classes='5-3'"),
    "unknown": ("--classes=8-10", r"from 0 to 9, each once\. Received: classes=\(8, 9, 10\)"),
    "numbers": ("--classes=0-4 --dataset=add --model=rnn --loss=mse", "targets are numbers"),
}


@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.parametrize("planned", [False, True], ids=["trained", "planned"])
def test_wrong_classes_end_with_one_line(name, planned, tmp_path, command):
    flags, message = MISTAKES[name]
    ended = command(f"--run_dir={tmp_path}/runs", *flags.split(), *["--dry_run"] * planned)
    assert ended.status == 2
    (line,) = ended.splitlines()
    assert re.search(message, line), line
    assert contents(tmp_path) == set()


def test_a_run_on_some_classes_is_evaluated_on_them(tmp_path, command):
    flags = ["--width=4", "--depth=1", "--epochs=1", "--batch_size=50", f"--run_dir={tmp_path}"]
    assert command("--classes=0-3,8", *flags).status == 0
    (run,) = run_directory.read_runs(tmp_path)
    assert run.config["classes"] == [0, 1, 2, 3, 8]
    assert command("--mode=evaluate", f"--run_dir={tmp_path}").status == 0
    table = (run.directory / "evaluation" / "digits_test" / "classes.md").read_text()
    assert re.findall(r"^\| (\d) ", table, re.MULTILINE) == list("01238")
    ended = command("--mode=evaluate", "--classes=0-3", f"--run_dir={tmp_path}")
    assert ended.status == 2 and "Expected a data set for outputs of shape (None, 5)" in ended
