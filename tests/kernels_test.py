"""Kernels of finished runs: against NumPy, gone on with, planned, reported, and refused."""

import dataclasses
import re
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

import wna_tf
from tests.clock import Clock
from wna_tf import files, ntk, progress
from wna_tf.experiments import (
    build,
    export,
    kernel_files,
    kernels,
    reporting,
    run_directory,
    training,
)
from wna_tf.experiments.config import Config
from wna_tf.experiments.reporting import rounding
from wna_tf.ntk import blocks

PLAIN = Config(
    rule="backprop", width=8, depth=1, normalize=False, data_limit=40, batch_size=20, epochs=2
)
RUNS = {
    "plain": PLAIN,
    "seed": dataclasses.replace(PLAIN, seed=5),
    "normalized": dataclasses.replace(PLAIN, rule="align_zero", normalize=True),
    "other_loss": dataclasses.replace(PLAIN, loss="categorical_crossentropy", learning_rate=0.1),
}
SIZES = ["--kernel_examples=20"]
PLACE = kernel_files.FOLDER


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("trained")
    for name, config in RUNS.items():
        training.train(config, directory / name)
    return directory


@pytest.fixture(scope="module")
def computed(trained, tmp_path_factory):
    directory = tmp_path_factory.mktemp("computed") / "runs"
    shutil.copytree(trained, directory)
    found = kernels.compute_kernels(directory, 20)
    return {each.directory.parent.name: each for each in found}


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained / "plain", tmp_path / "run")


def first_examples(config, size=20):
    data = build.load_data(config)
    (x, y), *_ = data.training.in_turn().rebatch(size)
    (x_test, y_test), *_ = data.test.rebatch(size)
    return x, y.numpy(), x_test, y_test.numpy()


def matrices(directory):
    return [np.load(directory / f"{name}.npy").astype("float64") for name in ("train", "test")]


@pytest.mark.parametrize("name", ["plain", "normalized"])
def test_kernels_are_of_the_initial_weights_of_the_first_examples(name, computed):
    directory, record = computed[name]
    learner = export.load(directory.parent)
    x, _, x_test, _ = first_examples(RUNS[name])
    moved = [np.abs(a - b).max() for a, b in zip(*_weights(learner), strict=True)]
    assert max(moved) > 1e-3
    for kernel, x1, x2 in zip(matrices(directory), (x, x_test), (None, x), strict=True):
        full = ntk.empirical_ntk(learner, x1, x2)  # At initial weights by default.
        expected = np.einsum("ncmc->nm", full) / 10
        np.testing.assert_allclose(kernel, expected, rtol=1e-4, atol=1e-5 * np.abs(full).max())
    assert record["of_one_batch"] == (name == "normalized")
    assert (record["train_examples"], record["test_examples"]) == (20, 20)
    assert (record["outputs"], record["trained_on"]) == (10, 40)


def _weights(learner):
    return [[value.numpy() for value in values.values()] for values in learner.weight_values()]


@pytest.mark.parametrize("name", RUNS)
def test_spectrum_alignment_and_rank_are_numpys(name, computed):
    directory, record = computed[name]
    kernel, _ = matrices(directory)
    _, y, _, _ = first_examples(RUNS[name])
    eigenvalues = np.linalg.eigvalsh(kernel)[::-1]
    rows = files.read_rows(directory / "spectrum.csv", "eigenvalue")
    assert [row["index"] for row in rows] == list(range(1, 21))
    found = np.array([row["eigenvalue"] for row in rows])
    np.testing.assert_allclose(found, eigenvalues, atol=1e-5 * eigenvalues[0])
    np.testing.assert_allclose([row["share"] for row in rows], found / np.trace(kernel), rtol=1e-9)
    shares = eigenvalues[eigenvalues > 0] / eigenvalues[eigenvalues > 0].sum()
    rank = np.prod(shares**-shares)
    assert record["effective_rank"] == pytest.approx(rank, rel=1e-4)
    centred = np.eye(10)[y.argmax(1)] - 0.1
    gram = centred @ centred.T
    cosine = np.sum(kernel * gram) / np.sqrt(np.sum(kernel**2) * np.sum(gram**2))
    assert record["alignment"] == pytest.approx(cosine, rel=1e-6)


@pytest.mark.parametrize("name", ["plain", "normalized"])
def test_predictions_are_those_of_the_linear_equation(name, computed):
    directory, record = computed[name]
    kernel, of_test = matrices(directory)
    x, y, x_test, y_test = first_examples(RUNS[name])
    learner = export.load(directory.parent)

    def initial(x):
        return learner.evaluate_networks(x, training=False)["initial"].outputs[0].numpy()

    outputs, test_outputs = initial(x).astype("float64"), initial(x_test).astype("float64")
    # Small steps of gradient descent on the linear model, in place of the exponential.
    many, steps, goals = 4000, 2, y
    step = 1.0 * steps / many
    rows = files.read_rows(directory / "prediction.csv", "epoch")
    assert [(row["epoch"], row["step"], row["time"]) for row in rows] == [
        (epoch, 2 * epoch, 2.0 * epoch) for epoch in range(3)
    ]
    for row in rows:
        for some, targets, of in ((outputs, y, "train"), (test_outputs, y_test, "test")):
            loss = np.mean((some - targets) ** 2)
            assert row[f"predicted_{of}_loss"] == pytest.approx(loss, rel=1e-3)
            right = np.mean(some.argmax(1) == targets.argmax(1))
            assert row[f"predicted_{of}_accuracy"] == pytest.approx(right, abs=0.051)
        for _ in range(many):
            slope = 2 / outputs.size * (outputs - goals)
            outputs, test_outputs = (
                outputs - step * kernel @ slope,
                test_outputs - step * of_test @ slope,
            )
    history = run_directory.read_run(directory.parent).history
    for row, own in zip(rows[1:], history, strict=True):
        assert row["trained_train_loss"] == own["loss"]
        assert row["trained_validation_accuracy"] == own["val_accuracy"]
    assert "trained_train_loss" not in rows[0]

    outputs, test_outputs = initial(x).astype("float64"), initial(x_test).astype("float64")
    assert record["ridge"] == pytest.approx(1e-4 * np.trace(kernel) / 20)
    weights = np.linalg.solve(kernel + record["ridge"] * np.eye(20), y - outputs)
    regressed = test_outputs + of_test @ weights
    error = np.mean((regressed - y_test) ** 2)
    assert record["regression_test_loss"] == pytest.approx(error, rel=1e-4)
    right = np.mean(regressed.argmax(1) == y_test.argmax(1))
    assert record["regression_test_accuracy"] == pytest.approx(right)
    own = learner.predict(x_test, verbose=0)
    assert record["trained_test_accuracy"] == np.mean(own.argmax(1) == y_test.argmax(1))


def test_other_losses_have_no_prediction_and_say_why(computed):
    directory, record = computed["other_loss"]
    assert record["no_prediction"] == "its loss is categorical_crossentropy, not mse"
    assert not (directory / "prediction.csv").exists()
    assert record["alignment"] > 0
    told = kernels.describe(list(computed.values()))
    assert "No prediction of other_loss: its loss is categorical_crossentropy, not mse." in told
    assert told.count("No prediction") == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"optimizer": "adam"}, "its optimizer is adam, not sgd"),
        ({"momentum": 0.5}, "its momentum is 0.5"),
        ({"ridge": 0.1}, "its ridge term is 0.1"),
        ({"augment": "flip_crop"}, "its images are augmented by flip_crop"),
        ({"loss": "mean_squared_error"}, None),
    ],
)
def test_what_gradient_flow_does_not_predict(change, reason):
    assert kernels._no_prediction(dataclasses.replace(PLAIN, **change)) == reason


def test_it_is_not_computed_anew_and_goes_on_after_an_interruption(
    run, command, computed, monkeypatch
):
    compute = blocks.Blocks._compute

    def interrupted(plan, pairs):
        parts = compute(plan, pairs)
        if plan.x2 is not None:  # In the test examples' kernel, behind its first block.
            yield next(parts)
            raise KeyboardInterrupt
        yield from parts

    few = [*SIZES, "--max_gigabytes=6e-5", "--mode=kernel", f"--run_dir={run}"]
    monkeypatch.setattr(blocks.Blocks, "_compute", interrupted)
    ended = command(*few)
    assert (ended.status, ended) == (
        130,
        "Interrupted by SIGINT: the same command goes on with what is not finished.\n",
    )
    left = {path.name for path in (run / PLACE).iterdir()}
    assert left == {"settings.json", "train.npy", "test.npy.blocks"}
    done = {path.name for path in (run / PLACE / "test.npy.blocks").glob("*.npy")}
    assert done == {"0_0.npy"}

    asked = []
    monkeypatch.setattr(
        blocks.Blocks,
        "_compute",
        lambda plan, pairs: (asked.extend(pairs), compute(plan, pairs))[1],
    )
    assert command(*few).status == 0
    assert len(asked) >= 1 and (0, 0) not in asked  # Nothing of train.npy, nor what was done.
    for ours, whole in zip(
        matrices(run / PLACE), matrices(computed["plain"].directory), strict=True
    ):
        np.testing.assert_allclose(ours, whole, rtol=1e-4, atol=1e-5)
    asked.clear()
    assert command(*few).status == 0
    assert not asked


def test_other_settings_than_recorded_are_told_in_one_line(run, command):
    flags = ["--mode=kernel", f"--run_dir={run}"]
    assert command(*flags, "--kernel_examples=20").status == 0
    before = {path: path.read_bytes() for path in (run / PLACE).iterdir()}
    ended = command(*flags, "--kernel_examples=30")
    assert (ended.status, ended.out) == (2, "")
    assert ended == (
        "Expected the kernel of 30 train and 30 test examples, or none. "
        f"Received: {run / PLACE}, with 20 train and 20 test examples; "
        "give --kernel_examples=20, or remove that directory\n"
    )
    assert {path: path.read_bytes() for path in (run / PLACE).iterdir()} == before


def test_there_are_as_many_examples_as_the_data_have(run, command):
    assert command("--mode=kernel", f"--run_dir={run}").status == 0  # 300 is the default.
    record = files.read_json(run / PLACE / "kernel.json")
    assert record["kernel_examples"] == 300
    assert (record["train_examples"], record["test_examples"]) == (40, 297)
    assert np.load(run / PLACE / "test.npy").shape == (297, 40)


def test_a_plan_begins_nothing(computed, trained, command):
    ended = command("--mode=kernel", f"--run_dir={trained}", *SIZES, "--dry_run")
    assert (ended.status, ended) == (0, "")
    assert re.search(r"\| plain +\| new +\| 20 +\| 20 +\| 10 +\| 3\.2e-06 GB \| \d+ s ", ended.out)
    assert re.search(r"^4 runs, about \d+ s to do\.$", ended.out, re.MULTILINE)
    assert not list(trained.glob(f"*/{PLACE}"))
    directory = computed["plain"].directory.parents[1]
    ended = command("--mode=kernel", f"--run_dir={directory}", *SIZES, "--dry_run")
    assert re.search(r"\| plain +\| finished ", ended.out)
    assert "4 runs, about 0 s to do." in ended.out


def test_blocks_tell_how_far_they_are(capsys, monkeypatch):
    network = wna_tf.models.mlp((8, 8, 1), 10, 8, 1, normalize=False)
    monkeypatch.setattr(progress, "time", Clock(40.0))
    ntk.empirical_ntk(network, np.ones([8, 8, 8, 1], "float32"), max_gigabytes=6e-5)
    assert re.search(
        r"^Kernel: 1/\d+ blocks, 0.025 blocks/s, \S+ left$", capsys.readouterr().err, re.MULTILINE
    )


def test_a_report_has_a_section_on_kernels_if_there_are_any(computed, trained, tmp_path):
    runs = run_directory.read_runs(trained)
    without = reporting.report(runs, tmp_path)
    assert not any(exhibit.title.startswith("Kernels") for exhibit in without)
    assert "Kernels" not in (tmp_path / "report.html").read_text()

    directory = computed["plain"].directory.parents[1]
    *_, kernel = reporting.report(run_directory.read_runs(directory), tmp_path)
    assert kernel.title.startswith("Kernels")
    assert "<h2>Kernels" in (tmp_path / "report.html").read_text()
    names = {path.name for path in (tmp_path / "report").glob("kernels.*")}
    assert names == {f"kernels.{form}" for form in ("csv", "md", "pdf", "png", "svg", "tex")}
    head, *rows = kernel.rows
    records = {name: found.record for name, found in computed.items()}
    (both,) = (row for row in rows if row[head.index("runs")] == "2")  # The two seeds.
    for name, factor in (
        ("alignment", 1),
        ("effective_rank", 1),
        ("regression_test_accuracy", 100),
        ("trained_test_accuracy", 100),
    ):
        values = [factor * records[seed][name] for seed in ("plain", "seed")]
        error = np.std(values, ddof=1) / np.sqrt(2)
        assert rounding.rounded(np.mean(values), error).text in both, name
    first = {path.name: path.read_bytes() for path in (tmp_path / "report").iterdir()}
    reporting.report(run_directory.read_runs(directory), tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "report").iterdir()} == first


def test_numbers_have_errors_in_place_of_accuracies(tmp_path, command):
    config = Config(rule="backprop", dataset="teacher", model="two_layer", width=4, epochs=1)
    config = dataclasses.replace(config, batch_size=25, learning_rate=0.01)
    training.train(config, tmp_path / "run")
    assert command("--mode=kernel", f"--run_dir={tmp_path}", *SIZES).status == 0
    record = files.read_json(tmp_path / "run" / PLACE / "kernel.json")
    assert "regression_test_accuracy" not in record and record["no_prediction"] is None
    *_, kernel = reporting.report(run_directory.read_runs(tmp_path), tmp_path)
    assert kernel.rows[0][-2:] == ["kernel regression's test error", "trained test error"]


def several_outputs(run):
    images = keras.Input((8, 8, 1))
    features = keras.layers.Flatten()(images)
    heads = [keras.layers.Dense(10)(features) for _ in range(2)]
    learner = wna_tf.Learner(keras.Model(images, heads), rule="backprop")
    learner.save(run / run_directory.MODEL)


def somebody_elses(run):
    (run / PLACE).mkdir()
    (run / PLACE / "notes.txt").write_text("mine")


def cut_off(run):
    kernels.compute_kernels(run, 20)
    path = run / PLACE / "train.npy"
    path.write_bytes(path.read_bytes()[:60])


MISTAKES = {
    "missing": (shutil.rmtree, [], "Expected an existing directory. Received: .*run"),
    "unfinished": (
        lambda run: (run / "result.json").unlink(),
        [],
        "Expected a finished run. Received: ",
    ),
    "outputs": (
        several_outputs,
        [],
        "Expected a network with one output. Received: .*model.keras, wi",
    ),
    "occupied": (
        somebody_elses,
        [],
        "Expected a new directory for the kernel of a run, .*something else",
    ),
    "damaged": (
        cut_off,
        SIZES,
        r"Expected a kernel \[20, 20\]. Received: .*train.npy, which is damaged",
    ),
    "none": (None, ["--kernel_examples=0"], "kernel_examples=0"),
    "no_memory": (
        None,
        ["--max_gigabytes=0"],
        "Expected max_gigabytes to be above 0. Received: max_gigab",
    ),
    "too_little": (
        None,
        ["--max_gigabytes=1e-9"],
        "Expected max_gigabytes to be enough for an example",
    ),
    "data_dir": (
        None,
        ["--data_dir=nowhere"],
        "Expected data_dir to be an existing directory. Rec",
    ),
}


def test_what_a_process_left_that_was_killed_at_the_beginning_is_no_obstacle(run, command):
    (run / PLACE / ".wna_tf-1-ab").mkdir(parents=True)  # Where its settings were being written.
    (run / PLACE / ".lock").touch()
    ended = command("--mode=kernel", f"--run_dir={run}", "--dry_run")
    assert ended.status == 0, ended


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_ends_with_one_line(name, run, command):
    change, flags, message = MISTAKES[name]
    if change:
        change(run)
    before = sorted(run.rglob("*"))
    ended = command("--mode=kernel", f"--run_dir={run}", *flags)
    assert (ended.status, ended.out) == (2, "")
    (line,) = ended.splitlines()
    assert re.search(message, line), line
    assert sorted(run.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("kernel.json", "{", "Expected a JSON file. Received: "),
        ("kernel.json", '{"alignment": "high"}', "Expected numbers, .* Received: .*kernel.json"),
        ("spectrum.csv", "index\n1\n", "Expected the column eigenvalue. Received: .*spectrum.csv"),
        ("prediction.csv", "epoch,loss\n1,low\n", "a CSV file of numbers. Received: .*prediction"),
    ],
)
def test_damage_is_one_line_in_a_report(name, damage, message, computed, tmp_path, command):
    shutil.copytree(computed["plain"].directory.parent, tmp_path / "run")
    (tmp_path / "run" / PLACE / name).write_text(damage)
    with pytest.raises(ValueError, match=message):
        reporting.report(run_directory.read_runs(tmp_path), tmp_path)


def test_runs_are_told_without_a_warning(trained, tmp_path, caplog, monkeypatch):
    for number in range(6):
        shutil.copytree(trained / "plain", tmp_path / str(number))
    monkeypatch.setattr(tf.get_logger(), "propagate", True)
    assert len(kernels.compute_kernels(tmp_path, 10)) == 6
    assert not [record.getMessage() for record in caplog.records if "retracing" in record.msg]


def test_runs_with_the_same_initial_weights_share_a_kernel(trained, tmp_path, monkeypatch):
    for name in ("plain", "seed", "other_loss"):  # That loss has the same network and inputs.
        shutil.copytree(trained / name, tmp_path / name)
    asked = []
    compute = blocks.Blocks._compute
    monkeypatch.setattr(
        blocks.Blocks, "_compute", lambda plan, pairs: (asked.append(plan), compute(plan, pairs))[1]
    )
    kernels.compute_kernels(tmp_path, 10)
    assert len(asked) == 4  # Of train and test examples, of two seeds.
    (plain, seed, other) = (matrices(tmp_path / n / PLACE) for n in ("plain", "seed", "other_loss"))
    np.testing.assert_array_equal(plain, other)
    assert np.abs(np.subtract(plain, seed)).max() > 0.01


def test_a_kernel_in_lower_precision(tmp_path):
    training.train(dataclasses.replace(PLAIN, precision="mixed_bfloat16"), tmp_path / "run")
    ((directory, record),) = kernels.compute_kernels(tmp_path, 10)
    assert matrices(directory)[0].shape == (10, 10)
    assert np.isfinite(record["alignment"])
