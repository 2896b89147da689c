"""SavedModels: the same numbers in a process without the package, and whole or not at all."""

import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver

import wna_tf
from wna_tf import files, saved_model
from wna_tf.experiments import config, export, run_directory, training
from wna_tf_command import cli

RNG = np.random.default_rng(0)
IMAGES = RNG.random((5, 8, 8, 1), dtype="float32")

# Serves every SavedModel to the inputs beside it, for batches of 1 and 5; writes the outputs.
SERVE = """
import pathlib, sys
import numpy as np, tensorflow as tf
for directory in pathlib.Path(sys.argv[1]).iterdir():
    serve = tf.saved_model.load(str(directory / "saved_model")).signatures["serving_default"]
    inputs = np.load(directory / "inputs.npz")
    outputs = {}
    for size in (1, 5):
        served = serve(**{name: tf.constant(inputs[name][:size]) for name in inputs})
        outputs |= {f"{name}:{size}": value.numpy() for name, value in served.items()}
    np.savez(directory / "outputs.npz", **outputs)
assert not any(name.split(".")[0] == "wna_tf" for name in sys.modules)
"""


def mlp(statistics="moving"):
    return wna_tf.models.mlp((8, 8, 1), 10, 12, statistics=statistics)


def two_headed():
    images, extra = keras.Input((8, 8, 1), name="images"), keras.Input((3,), name="extra facts")
    x = keras.layers.Concatenate()([keras.layers.Flatten()(images), extra])
    x = keras.layers.Dense(6, activation="relu")(x)
    return keras.Model(
        {"extra facts": extra, "images": images},
        [keras.layers.Dense(2, name="kind")(x), keras.layers.Dense(1, name="size")(x)],
    )


def keyed():
    inputs = keras.Input((8, 8, 1), name="images")
    x = keras.layers.Flatten()(inputs)
    return keras.Model(inputs, {"z": keras.layers.Dense(2)(x), "a": keras.layers.Dense(3)(x)})


def sequential():
    layers = [keras.layers.Flatten(), keras.layers.BatchNormalization(), keras.layers.Dense(4)]
    return keras.Sequential([keras.Input((8, 8, 1), name="images"), *layers])


EXTRA = RNG.random((5, 3), dtype="float32")
SEQUENCES = RNG.random((5, 9, 1), dtype="float32")
# Network, inputs by name, names of outputs in the order in which they are flattened.
NETWORKS = {
    "mlp": (mlp, {"images": IMAGES}, ["logits"]),
    "rnn": (lambda: wna_tf.models.rnn(7), {"sequences": SEQUENCES}, ["logits"]),
    "two_headed": (two_headed, {"extra_facts": EXTRA, "images": IMAGES}, ["kind", "size"]),
    "keyed": (keyed, {"images": IMAGES}, ["a", "z"]),
    "sequential": (sequential, {"images": IMAGES}, ["logits"]),
}


def train_a_step(learner, x):
    learner.compile("sgd", "mse")
    targets = keras.tree.map_structure(lambda y: np.ones_like(y), learner.predict(x, verbose=0))
    learner.fit(x, targets, verbose=0)  # Moving statistics are no longer 0 and 1.


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    directory = tmp_path_factory.mktemp("served")
    learners = {}
    for name, (make, inputs, _) in NETWORKS.items():
        learner = learners[name] = wna_tf.Learner(make())
        if name in ("mlp", "sequential"):
            train_a_step(learner, feed(name))
        learner.export(directory / name / "saved_model")
        np.savez(directory / name / "inputs.npz", **inputs)
    command = [sys.executable, "-c", SERVE, str(directory)]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return directory, learners


def feed(name, size=5):
    values = {key.replace("_", " "): value[:size] for key, value in NETWORKS[name][1].items()}
    return values if len(values) > 1 else next(iter(values.values()))


@pytest.mark.parametrize("name", NETWORKS)
def test_another_process_serves_what_the_learner_predicts(name, served):
    directory, learners = served
    outputs = np.load(directory / name / "outputs.npz")
    names = NETWORKS[name][2]
    assert set(outputs) == {f"{key}:{size}" for key in names for size in (1, 5)}
    for size in (1, 5):
        expected = keras.tree.flatten(learners[name].predict(feed(name, size), verbose=0))
        for key, value in zip(names, expected, strict=True):
            assert outputs[f"{key}:{size}"].shape == value.shape
            np.testing.assert_allclose(outputs[f"{key}:{size}"], value, rtol=1e-5, atol=1e-5)


def test_nothing_is_exported_but_what_predicts(served):
    directory, learners = served
    loaded = tf.saved_model.load(directory / "mlp" / "saved_model")
    assert len(loaded.variables) == len(learners["mlp"].network.weights)
    assert set(loaded.signatures) == {"serve", "serving_default"}
    stored = tf.train.list_variables(str(directory / "mlp" / "saved_model" / "variables/variables"))
    shapes = [tuple(shape) for name, shape in stored if name.startswith("variables/")]
    assert sorted(shapes) == sorted(tuple(w.shape) for w in learners["mlp"].network.weights)


def test_what_a_layer_returns_several_of_is_numbered():
    inputs = keras.Input((4, 3))
    outputs = keras.layers.LSTM(2, return_state=True, name="lstm")(inputs)
    names = saved_model._output_names(keras.Model(inputs, outputs))
    assert names == ["lstm_1", "lstm_2", "lstm_3"]


def test_an_export_replaces_a_saved_model_and_nothing_else(tmp_path):
    learner = wna_tf.Learner(mlp())
    for _ in range(2):
        learner.export(str(tmp_path / "new" / "model"))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(OSError, match=r"can be written to\. Received: .*thesis.txt: "):
        learner.export(tmp_path / "mine" / "thesis.txt" / "model")
    with pytest.raises(ValueError, match=r"Expected a new directory .* Received: .*mine"):
        learner.export(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years"


@pytest.mark.parametrize(
    "error", [RuntimeError("no"), tf.errors.ResourceExhaustedError(None, None, "disk full")]
)
def test_a_failed_export_leaves_the_old_one(tmp_path, monkeypatch, error):
    learner = wna_tf.Learner(mlp())
    learner.export(tmp_path / "model")
    before = (tmp_path / "model" / "saved_model.pb").read_bytes()

    def save(_, directory, **__):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "saved_model.pb").write_text("half")
        raise error

    monkeypatch.setattr(tf.saved_model, "save", save)
    with pytest.raises((RuntimeError, OSError), match=r"^no|Expected to write .*disk full"):
        learner.export(tmp_path / "model")
    assert (tmp_path / "model" / "saved_model.pb").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_a_signature_fixes_the_size_of_a_batch(tmp_path, capsys):
    learner = wna_tf.Learner(two_headed())
    signature = {
        "images": keras.InputSpec(shape=(2, 8, 8, 1)),
        "extra facts": tf.TensorSpec((2, 3), "float32"),
    }
    learner.export(tmp_path / "model", verbose=True, input_signature=[signature])
    assert capsys.readouterr().out == f"Exported to {tmp_path / 'model'}\n"
    serve = tf.saved_model.load(tmp_path / "model").signatures["serving_default"]
    _, inputs = serve.structured_input_signature
    shapes = {name: tuple(spec.shape) for name, spec in inputs.items()}
    assert shapes == {"images": (2, 8, 8, 1), "extra_facts": (2, 3)}
    outputs = serve(images=tf.constant(IMAGES[:2]), extra_facts=tf.constant(EXTRA[:2]))
    expected = learner.predict({"images": IMAGES[:2], "extra facts": EXTRA[:2]}, verbose=0)
    for name, value in zip(("kind", "size"), expected, strict=True):
        np.testing.assert_allclose(outputs[name], value, rtol=1e-5, atol=1e-6)
    learner.export(tmp_path / "model")
    assert capsys.readouterr().out == ""
    with pytest.raises(ValueError, match=r"Expected an input signature of 2 inputs\. Received: 1"):
        learner.export(tmp_path / "model", input_signature=[signature["images"]])


def stand_in_for_keras(monkeypatch, fail=None):
    """Replaces the exporters of Keras by one that writes what it was given."""

    def export(network, filepath, format, verbose, input_signature, **options):
        path = pathlib.Path(filepath)
        shapes = keras.tree.map_structure(lambda spec: tuple(spec.shape), input_signature)
        path.write_text(f"{network.name} {format} {shapes} {options}")
        if fail is not None:
            raise fail

    monkeypatch.setattr(keras.Model, "export", export)


def test_other_formats_are_keras_s_of_the_network_alone(tmp_path, monkeypatch):
    network = mlp()
    learner, path = wna_tf.Learner(network), tmp_path / "new" / "model.onnx"
    stand_in_for_keras(monkeypatch)
    learner.export(path, format="onnx", opset_version=17)
    shape = "[(None, 8, 8, 1)]"
    assert path.read_text() == f"{network.name} onnx {shape} {{'opset_version': 17}}"
    fixed = [keras.InputSpec(shape=(1, 8, 8, 1))]
    learner.export(str(path), format="onnx", input_signature=fixed)
    assert path.read_text() == f"{network.name} onnx [(1, 8, 8, 1)] {{}}"
    stand_in_for_keras(monkeypatch, ImportError("No module named 'onnx'"))
    with pytest.raises(ImportError, match=r"^No module named 'onnx'$"):
        learner.export(path, format="onnx")
    assert path.read_text() == f"{network.name} onnx [(1, 8, 8, 1)] {{}}"
    (tmp_path / "mine.onnx").mkdir()
    (tmp_path / "mine.onnx" / "thesis.txt").write_text("years")
    with pytest.raises(ValueError, match=r"Expected a new file for onnx, .* Received: .*mine"):
        learner.export(tmp_path / "mine.onnx", format="onnx")
    assert sorted(found.name for found in tmp_path.rglob("*")) == [
        "mine.onnx", "model.onnx", "new", "thesis.txt"
    ]  # fmt: skip


@pytest.mark.skipif("litert" not in keras.Model.export.__doc__, reason="an older Keras")
@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_a_litert_file_predicts_what_the_network_does(tmp_path):
    learner = wna_tf.Learner(keyed())  # Its network was never called.
    learner.export(tmp_path / "model.tflite", format="litert")
    served = tf.lite.Interpreter(str(tmp_path / "model.tflite")).get_signature_runner()
    outputs = list(served(images=IMAGES).values())
    expected = learner.predict(IMAGES, verbose=0)
    for value in expected.values():
        (same,) = (output for output in outputs if output.shape == value.shape)
        np.testing.assert_allclose(same, value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "torch"}, r"tf_saved_model, onnx, litert; .* Received: format='torch'$"),
        ({"format": None}, r"Expected a format, .* Received: format=None$"),
        (
            {"opset_version": 3},
            r"no options for format='tf_saved_model'\. Received: opset_version$",
        ),
    ],
)
def test_what_is_not_offered_is_refused(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        wna_tf.Learner(mlp()).export(tmp_path / "model", **options)
    assert not list(tmp_path.iterdir())


def test_the_linearized_network_is_exported_as_a_saved_model_alone(tmp_path):
    learner = wna_tf.Learner(mlp("batch"), "linearized")
    with pytest.raises(ValueError, match=r"Expected format='tf_saved_model' .* format='onnx'$"):
        learner.export(tmp_path / "model.onnx", format="onnx")
    learner.network.trainable_variables[0].assign_add(
        tf.ones(learner.network.trainable_variables[0].shape)
    )
    learner.export(tmp_path / "model", format="tf_saved_model")
    served = saved_model.read(tmp_path / "model")
    expected = learner.predict_on_batch(IMAGES)
    np.testing.assert_allclose(served.call(tf.constant(IMAGES)), expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(learner.network.predict_on_batch(IMAGES), expected, atol=1e-3)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    directory = tmp_path_factory.mktemp("runs")
    training.train(config.Config(width=4, epochs=1, data_limit=100), directory / "a")
    shutil.copytree(directory / "a", directory / "b")
    return directory


def command_line(capsys, *flags):
    with pytest.raises(SystemExit) as exit_info, flagsaver.flagsaver():
        cli.run(["main.py", *flags])
    assert exit_info.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_every_finished_run_is_exported(runs, capsys):
    (runs / "unfinished").mkdir(exist_ok=True)
    with flagsaver.flagsaver():
        cli.run(["main.py", "--mode=export", f"--run_dir={runs}"])
    printed = capsys.readouterr().out.split()
    assert printed == [f"{runs}/{run}/saved_model" for run in "ab"]
    served = saved_model.read(runs / "b" / "saved_model")
    expected = export.load(runs / "b").predict(IMAGES, verbose=0)
    np.testing.assert_allclose(served.call(tf.constant(IMAGES)), expected, atol=1e-5)


def make_run(directory, model):
    directory.mkdir()
    files.write_json(directory / run_directory.RESULT, {})
    if isinstance(model, bytes):
        (directory / run_directory.MODEL).write_bytes(model)
    else:
        model.save(directory / run_directory.MODEL)
    return directory


@pytest.mark.parametrize("part", [0.0, 0.3, 0.99])
def test_a_truncated_model_is_named(part, runs, tmp_path, capsys):
    whole = (runs / "a" / run_directory.MODEL).read_bytes()
    run = make_run(tmp_path / "run", whole[: int(part * len(whole))])
    line = command_line(capsys, "--mode=export", f"--run_dir={run}")
    assert line.startswith("Expected a learner in Keras's format") and "run/model.keras" in line
    assert [path.name for path in run.glob("saved*")] == []


def test_code_in_a_model_is_refused(tmp_path, capsys):
    marker = tmp_path / "executed"
    path = str(marker)
    code = keras.layers.Lambda(lambda x: x + 0 * len(str(pathlib.Path(path).touch())))
    run = make_run(tmp_path / "run", keras.Sequential([keras.Input((2,)), code]))
    marker.unlink()
    line = command_line(capsys, "--mode=export", f"--run_dir={run}")
    assert "without code of its own" in line and "Lambda" in line
    assert not marker.exists()


def test_a_network_alone_is_not_a_learner(tmp_path, capsys):
    run = make_run(tmp_path / "run", mlp())
    line = command_line(capsys, "--mode=export", f"--run_dir={run}")
    assert line.startswith("Expected a Learner. Received:") and line.endswith("a Functional")


def test_what_is_no_finished_run_is_refused(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / run_directory.CONFIG).write_text("{}")
    for name, message in (
        ("nothing", "Expected an existing directory. Received: "),
        ("empty", "Expected a run, a directory of finished runs"),
        ("unfinished", "Expected a finished run. Received: "),
    ):
        line = command_line(capsys, "--mode=export", f"--run_dir={tmp_path}/{name}")
        assert line.startswith(message) and name in line
