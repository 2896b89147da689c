"""Losses by name: each with the targets that it takes, against NumPy, and the others refused."""

import dataclasses

import keras
import numpy as np
import pytest

from tests.command import TINY, contents, flags_of
from tests.samples import sample
from wna_tf import datasets, files, losses
from wna_tf.experiments import build, evaluation, export, training
from wna_tf.experiments.config import Config

# What each is, of outputs f and of centred, one-hot and signed targets, [batch, classes] each.


def log_softmax(f):
    return f - f.max(1, keepdims=True) - np.log(np.exp(f - f.max(1, keepdims=True)).sum(1))[:, None]


def categorical(f, centred, hot, signs):
    return -log_softmax(f)[hot == 1]


def categorical_focal(f, centred, hot, signs):
    log = log_softmax(f)[hot == 1]
    return -0.25 * (1 - np.exp(log)) ** 2 * log


def binary(f, centred, hot, signs):
    return np.log1p(np.exp(-signs * f))


def binary_focal(f, centred, hot, signs):
    return np.log1p(np.exp(-signs * f)) / (1 + np.exp(signs * f)) ** 2


def huber(f, centred, hot, signs):
    error = np.abs(f - centred)
    return np.where(error > 1, error - 0.5, error**2 / 2)


def categorical_hinge(f, centred, hot, signs):
    return np.maximum(((1 - hot) * f).max(1) - (hot * f).sum(1) + 1, 0)


def cosine(f, centred, hot, signs):
    return -(f * centred).sum(1) / np.linalg.norm(f, axis=1) / np.linalg.norm(centred, axis=1)


FORMULAS = {
    "sum_squared_error": lambda f, centred, hot, signs: ((f - centred) ** 2).sum(1),
    "mean_squared_error": lambda f, centred, hot, signs: (f - centred) ** 2,
    "mean_absolute_error": lambda f, centred, hot, signs: np.abs(f - centred),
    "huber": huber,
    "log_cosh": lambda f, centred, hot, signs: np.log(np.cosh(f - centred)),
    "cosine_similarity": cosine,
    "categorical_crossentropy": categorical,
    "categorical_focal_crossentropy": categorical_focal,
    "binary_crossentropy": binary,
    "binary_focal_crossentropy": binary_focal,
    "categorical_hinge": categorical_hinge,
    "hinge": lambda f, centred, hot, signs: np.maximum(1 - signs * f, 0),
    "squared_hinge": lambda f, centred, hot, signs: np.maximum(1 - signs * f, 0) ** 2,
    "sparse_categorical_crossentropy": categorical,
}
# Those of Keras for a loss that are not its function's, nor its class's.
SHORT = {"mse": "mean_squared_error", "MSE": "mean_squared_error", "mae": "mean_absolute_error"}
SHORT |= {"MAE": "mean_absolute_error", "bce": "binary_crossentropy", "BCE": "binary_crossentropy"}
CLASSES = {name.title().replace("_", ""): name for name in list(FORMULAS)[1:]}

SMALL = Config(
    rule="backprop",
    width=16,
    depth=1,
    normalize=False,
    optimizer="adam",
    learning_rate=0.03,
    data_limit=600,
    batch_size=20,
    epochs=4,
)
# It is least where every output is the median of its targets, that of no class.
SLOW = {"width": 64, "normalize": True, "optimizer": "sgd", "learning_rate": 5.0, "epochs": 10}


def outputs_and_labels(run, split):
    batches = getattr(datasets.load("digits"), split)
    x, y = (np.concatenate(part) for part in zip(*batches, strict=True))
    return export.load(run).predict(x, verbose=0).astype("float64"), y.argmax(1)


def assert_right(numbers, prefix, name, f, labels):
    hot = np.eye(10)[labels]
    expected = np.mean(FORMULAS[name](f, hot - 0.1, hot, 2 * hot - 1))
    assert numbers[f"{prefix}loss"] == pytest.approx(expected, rel=1e-5)
    assert numbers[f"{prefix}accuracy"] == pytest.approx(np.mean(f.argmax(1) == labels), abs=1e-6)


@pytest.mark.parametrize("name", sample(FORMULAS))
def test_each_loss_learns_from_the_targets_that_it_takes(name, tmp_path):
    options = SLOW if name == "mean_absolute_error" else {}
    config = dataclasses.replace(SMALL, loss=name, **options)
    result = training.train(config, tmp_path / "run").result
    assert result["train_loss"] > (-1 if name == "cosine_similarity" else 0)
    assert min(result["train_accuracy"], result["test_accuracy"]) > 0.6
    for split in ("test", "validation"):
        assert_right(result, f"{split}_", name, *outputs_and_labels(tmp_path / "run", split))


@pytest.mark.parametrize("name", SHORT | CLASSES)
def test_other_names_are_the_same_loss(name):
    common = (SHORT | CLASSES)[name]
    assert losses.targets(name, True) == losses.targets(common, True)
    f = np.random.default_rng(0).normal(size=[8, 10])
    labels = np.arange(8)
    hot = np.eye(10)[labels]
    forms = {None: hot - 0.1, "one_hot": hot, "labels": labels}
    found = losses.get(name)(forms[losses.targets(name, True)], f)
    expected = np.mean(FORMULAS[common](f, hot - 0.1, hot, 2 * hot - 1))
    assert np.mean(found) == pytest.approx(expected, rel=1e-5)


def test_a_saved_learner_has_its_loss_of_logits(tmp_path):
    for name in ("categorical_crossentropy", "sparse_categorical_crossentropy", "bce"):
        config = dataclasses.replace(SMALL, loss=name, width=4)
        _, learner = build.prepare(config)
        learner.save(tmp_path / "model.keras")
        assert keras.models.load_model(tmp_path / "model.keras").loss.from_logits


def test_a_run_is_evaluated_by_its_loss_or_another(tmp_path, command):
    config = dataclasses.replace(SMALL, loss="sparse_categorical_crossentropy", epochs=1)
    training.train(config, tmp_path / "run")
    f, labels = outputs_and_labels(tmp_path / "run", "test")
    for name in (config.loss, "mean_squared_error", "hinge"):
        flags = [] if name == config.loss else [f"--loss={name}"]
        ended = command("--mode=evaluate", f"--run_dir={tmp_path}/run", *flags)
        assert (ended.status, ended) == (0, "")
        path = tmp_path / "run" / "evaluation" / "digits_test" / evaluation.RESULT
        numbers = files.read_json(path)
        assert_right(numbers, "", name, f, labels)
        assert sum(row["support"] for row in numbers["classes"]) == len(labels)
    ended = command("--mode=evaluate", f"--run_dir={tmp_path}/run", "--loss=kl_divergence")
    assert ended.status == 2 and ended.endswith("Received: loss='kl_divergence'\n")


PROBABILITIES = ["kl_divergence", "KLD", "poisson", "mean_squared_logarithmic_error", "MAPE"]
PROBABILITIES += ["dice", "Tversky", "circle", "CTC", "Loss", "LossFunctionWrapper", "mze"]
REFUSED = [("digits", name) for name in PROBABILITIES]
REFUSED += [("imagenet", "kld"), ("add", "bce"), ("add", "hinge"), ("add", "poisson")]
REFUSED += [("add", "cosine_similarity"), ("teacher", "sparse_categorical_crossentropy")]


@pytest.mark.parametrize("dataset, name", REFUSED)
def test_a_loss_that_does_not_fit_ends_with_one_line(dataset, name, tmp_path, command):
    flags = flags_of(TINY, tmp_path, dataset=dataset, loss=name)
    for more in ([], ["--dry_run"]):
        ended = command(*flags, *more)
        assert (ended.status, ended.out) == (2, "")
        (line,) = ended.splitlines()
        assert line.startswith("Expected loss to be ")
        assert line.endswith(f"Received: loss={name!r}")
    assert not contents(tmp_path)


@pytest.mark.parametrize("name", ["mse", "mae", "mape", "Huber", "log_cosh", "sum_squared_error"])
def test_numbers_have_losses_of_their_own(name):
    for dataset in ("add", "teacher"):
        training.check(Config(dataset=dataset, loss=name))
    assert losses.targets(name, False) is None
