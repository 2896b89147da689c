"""Bad input, as docs/bad_input.md has it: every row of its table is a test, here or elsewhere."""

import ast
import contextlib
import json
import os
import re
import shutil
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import wna_tf
from tests.command import FAST, TINY, contents, flags_of
from tests.conftest import ROOT
from wna_tf import callbacks
from wna_tf.datasets import memory
from wna_tf.experiments import build, export, run_directory
from wna_tf.experiments.reporting import measures

# The table.


def rows():
    lines = (ROOT / "docs" / "bad_input.md").read_text().splitlines()
    return [line for line in lines if line.startswith("| ")][1:]


def test_every_row_of_the_table_names_a_test_that_there_is():
    known = {}
    for path in (ROOT / "tests").glob("*_test.py"):
        tree = ast.parse(path.read_text())
        known[path.stem] = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert len(rows()) >= 120
    for row in rows():
        wrong, happens, test = (cell.strip() for cell in row.strip("|").rsplit("|", 2))
        assert wrong and happens
        file, name, _, case = re.fullmatch(r"`(\w+)::(\w+)(\[(\w+)\])?`", test).groups()
        assert name in known[file], row
        if case:
            # Cases with names are keys of a dict in the file, or in one that it imports.
            text = (ROOT / "tests" / f"{file}.py").read_text()
            for other in re.findall(r"^from tests\.(\w+) import", text, re.MULTILINE):
                text += (ROOT / "tests" / f"{other}.py").read_text()
            assert f'    "{case}": ' in text, row


# Flags.

FLAGS = {
    "nan_rate": ("--learning_rate=nan", "number above 0. Received: learning_rate=nan"),
    "infinite_rate": ("--learning_rate=1e400", "number above 0. Received: learning_rate=inf"),
    "nan_ridge": ("--ridge=nan", "number at least 0. Received: ridge=nan"),
    "no_value": ("--width=", "Expected width to be an integer from 1 to .* Received: width=''"),
    "trailing_comma": ("--rule=backprop,", "Expected a rule, .* Received: rule=''"),
    "separators": ("--rule=../../etc", r"Expected a rule, .* Received: rule='\.\./\.\./etc'"),
    "stride": ("--strides=1,0", r"Received: strides=\(1, 0\)"),
    "seed": ("--seed=-1", "integer from 0 to 4294967295. Received: seed=-1"),
    "huge_seed": ("--seed=99999999999999999999", "integer from 0 to 4294967295. Received: seed=9"),
    "huge_width": ("--width=9223372036854775808", "from 1 to 2147483647. Received: width=9223"),
    "huge_stride": ("--strides=9223372036854775808", "from 1 to 2147483647 .* strides="),
    "depth": ("--depth=400", "Expected depth to be an integer from 0 to 256. Received: depth=400"),
    "planned_depth": ("--depth=1000000000 --dry_run", "from 0 to 256. Received: depth=1000000000"),
    "blocks": ("--strides=" + ",".join(400 * "1"), "and at most 256 of them. Received: strides="),
    "precision": ("--precision=float16", "one of float32, mixed_bfloat16, float64. Received"),
    "jit": ("--jit_compile=maybe", "--jit_compile=maybe"),
    "strategy": ("--strategy=tpu", "one of auto, .* Received: strategy=.tpu."),
    "figure_width": ("--figure_size=3.25", "a width and a height. Received: figure_size=3.25"),
    "figure_huge": ("--figure_size=3,400", r"from 1 to 40 .* Received: figure_size=\(3.0, 400.0"),
    "figure_text": ("--figure_size=wide", "number from 1 to 40 .* Received: figure_size='wide'"),
    "figure_font": ("--figure_font=NoSuchFont", "installed. Received: figure_font='NoSuchFont'"),
    "figure_points": ("--figure_font=serif,99", "from 4 to 40 .* figure_font='serif,99'"),
    "figure_fonts": ("--figure_font=serif,sans", "name of a font, .* figure_font='serif,sans'"),
    "executor": ("--executor=slurm", "--executor=slurm"),
    "credit": ("--credit=forward", "rule whose .* are initial .* Received: initial, initial, c"),
    "probabilities": ("--loss=kl_divergence", "one of .* Received: loss='kl_divergence'"),
    "base_class": ("--loss=LossFunctionWrapper", "Received: loss='LossFunctionWrapper'"),
    "images": ("--model=rnn", r"sequences .* Received: input_shape=\(8, 8, 1\)"),
    "planned_images": (
        "--model=rnn --dry_run",
        r"sequences .* Received: input_shape=\(8, 8, 1\)",
    ),
    "coupled": ("--cache_frozen", "normalize=False with cache_frozen.* Received: normalize=True"),
    "cache": ("--cache_gigabytes=0", "a number above 0. Received: cache_gigabytes=0"),
    "directory": ("--flagfile=/", "path of a flagfile, or .* Received: --flagfile=/"),
    "binary": (f"--flagfile={sys.executable}", "Expected flagfiles of text. Received: .*python"),
    "occupied": ("--run_dir={}/file", "can be written to. Received: .*/file: File exists"),
    "below_a_file": ("--run_dir={}/file/deep", "can be written to. Received: .*: Not a directory"),
    "unwritable": ("--run_dir=/proc/runs", "Expected a directory that can be written to."),
    "long_name": ("--run_dir={}/" + 300 * "x", "File name too long: "),
}


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_ends_with_one_line_and_nothing_left_behind(name, tmp_path, command):
    flag, message = FLAGS[name]
    (tmp_path / "file").write_text("")
    ended = command(f"--run_dir={tmp_path}/runs", "--epochs=1", *flag.format(tmp_path).split())
    assert ended.status == 2
    (line,) = ended.splitlines()
    assert re.search(message, line), line
    assert contents(tmp_path) == {"file"}


def test_a_chain_of_flagfiles_without_end_is_told(tmp_path, command):
    for number in range(1500):
        (tmp_path / f"{number}.flags").write_text(f"--flagfile={tmp_path}/{number + 1}.flags\n")
    ended = command(f"--flagfile={tmp_path}/0.flags")
    assert ended.status == 2 and len(ended.splitlines()) == 1
    assert re.search(r"in a circle nor by the hundred\. Received: --flagfile=.*/100\.flags", ended)


def test_a_circle_of_flagfiles_is_told(tmp_path, command):
    (tmp_path / "a.flags").write_text(f"--flagfile={tmp_path}/b.flags\n")
    (tmp_path / "b.flags").write_text(f"--epochs=1\n--flagfile={tmp_path}/a.flags\n")
    ended = command(f"--flagfile={tmp_path}/b.flags")
    assert ended.status == 2 and len(ended.splitlines()) == 1
    assert re.search(r"neither in a circle .* Received: --flagfile=.*/b\.flags", ended)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission_is_told(tmp_path, command):
    tmp_path.chmod(0o500)
    ended = command(*flags_of(TINY, tmp_path / "runs"))
    assert ended.status == 2
    assert ended.startswith("Expected a directory that can be written to. Received: ")


# What is in the way of what is written beside runs.


def make(path, *names):
    path.mkdir(parents=True)
    for name in names:
        (path / name).write_text("mine")


CHART = ("a.csv", "a.md", "a.png", "a.svg")
ALIEN = {
    "own_report": ("report", lambda path: make(path, "text.md")),
    "own_figures": ("report", lambda path: make(path, *CHART, "b.png")),
    "own_page": ("report.html", lambda path: path.write_text("<!doctype html><p>mine</p>")),
    "page_directory": ("report.html", lambda path: make(path, "text.md")),
    "link": ("report", lambda path: path.symlink_to(path.parent, target_is_directory=True)),
    "broken_link": ("report.html", lambda path: path.symlink_to("nowhere")),
}


@pytest.mark.parametrize("name", ALIEN)
def test_a_report_replaces_nothing_else_and_nothing_is_trained_before(name, tmp_path, command):
    file, put = ALIEN[name]
    put(tmp_path / file)
    before = sorted(tmp_path.rglob("*"))
    ended = command(*flags_of(TINY, tmp_path))
    assert (ended.status, ended.out) == (2, "")
    (line,) = ended.splitlines()
    expected = f"Expected a new .*, or one to replace. Received: {tmp_path}/{file}, which is"
    assert re.match(expected, line)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("mode", ["evaluate", "export"])
def test_evaluations_and_exports_replace_nothing_else(mode, runs, command, monkeypatch):
    place = {"evaluate": "evaluation/digits_test", "export": "saved_model"}[mode]
    other = shutil.copytree(runs / TINY.name, runs / "another")
    make(runs / TINY.name / place, "evaluation.txt")
    ended = command(f"--mode={mode}", f"--run_dir={runs}")
    assert ended.status == 2 and ended.startswith("Expected a new directory for the ")
    assert ended.endswith(f"Received: {runs / TINY.name / place}, which is something else\n")
    assert contents(runs / TINY.name / place) == {"evaluation.txt"}
    assert not (other / place).exists()  # Nor is anything else written.


# What models may do.


def rewrite(path, name, content):
    """Replaces or adds a file in a ZIP archive."""
    with zipfile.ZipFile(path) as archive:
        files = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for key, value in (files | {name: content(files.get(name))}).items():
            archive.writestr(key, value)


@pytest.mark.parametrize("name", ["../escaped", "assets/../../escaped", "/{}/escaped"])
def test_paths_in_a_model_do_not_escape(name, runs, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    run = runs / TINY.name
    rewrite(run / run_directory.MODEL, name.format(tmp_path), lambda _: b"escaped")
    before = sorted(tmp_path.rglob("*"))
    with contextlib.suppress(ValueError):  # It may be refused.
        export.load(run)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_model_that_names_a_function_is_refused(runs, tmp_path, command):
    def name_a_function(config):
        values = json.loads(config)
        values["config"]["network"] = {
            "module": "os",
            "class_name": "mkdir",
            "config": {"path": str(tmp_path / "executed")},
            "registered_name": None,
        }
        return json.dumps(values).encode()

    rewrite(runs / TINY.name / run_directory.MODEL, "config.json", name_a_function)
    ended = command("--mode=export", f"--run_dir={runs}")
    assert ended.status == 2 and ended.startswith("Expected a learner in Keras's format")
    assert not (tmp_path / "executed").exists()


def test_nothing_is_unpickled():
    for path in [*(ROOT / "wna_tf").rglob("*.py"), *(ROOT / "wna_tf_command").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in getattr(node, "names", []) if hasattr(alias, "name")]
            names.append(getattr(node, "module", None))
            assert {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}.isdisjoint(
                names
            )
            if isinstance(node, ast.keyword):
                assert node.arg != "allow_pickle"
                if node.arg == "safe_mode":
                    assert node.value.value is True


# Divergence.


def test_a_run_that_diverges_says_so_and_records_it(tmp_path, command):
    ended = command(*flags_of(FAST, tmp_path))
    assert (ended.status, ended) == (0, "")
    lines = [line for line in ended.out.splitlines() if "iverged" in line]
    assert lines[0].startswith("Diverged: backprop in epoch 2, step 6: the loss is inf")
    (run,) = run_directory.read_runs(tmp_path)
    assert run.result["diverged"] == {"epoch": 2, "step": 6}
    assert run.result["train_loss"] is None and len(run.history) == 2
    assert measures.status(run) == "diverged"


def test_a_resumed_run_diverges_as_it_did(tmp_path, command, full_disk):
    flags = flags_of(FAST, tmp_path, checkpoint_every=2)
    full_disk(run_directory.RESULT)
    assert command(*flags).status == 1
    assert contents(tmp_path / FAST.name / "checkpoints") == {"step-000000000002"} | {
        "step-000000000004"
    }
    full_disk(None)
    ended = command(*flags)
    assert "Going on from step 4 of 12." in ended.out
    assert "Diverged: backprop in epoch 2, step 6: the loss is inf" in ended.out
    (run,) = run_directory.read_runs(tmp_path)
    assert run.result["diverged"] == {"epoch": 2, "step": 6}


def learner(loss="mse"):
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(2)])
    made = wna_tf.Learner(network, rule="align_ada")
    made.compile("sgd", loss)
    return made


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["inputs", "targets", "validation"])
def test_arrays_that_are_not_finite_stop_a_fit(where, value, capsys):
    arrays = {name: np.ones([12, 2 if name == "targets" else 3], "float32") for name in (
        "inputs", "targets", "validation")}  # fmt: skip
    arrays[where][5] = value
    divergence = callbacks.Divergence()
    history = learner().fit(
        arrays["inputs"],
        arrays["targets"],
        validation_data=(arrays["validation"], np.ones([12, 2])),
        batch_size=4,
        epochs=3,
        shuffle=False,
        verbose=0,
        callbacks=[divergence],
    )
    step, noun = (3, "validation loss") if where == "validation" else (2, "loss")
    assert divergence.found == {"epoch": 1, "step": step}
    assert len(history.epoch) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        f"Diverged: align_ada in epoch 1, step {step}: the {noun} is (nan|inf)", line
    )


@pytest.mark.parametrize("label", [2, -1])
def test_labels_of_no_class_are_refused(label):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Expected labels from 0 to 1"):
        learner(loss).fit(np.ones([3, 3]), np.array([0, 1, label]), verbose=0)


def test_labels_that_a_loss_ignores_are_not_refused():
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    labels = np.array([[0], [1], [-1]])
    assert np.isfinite(learner(loss).fit(np.ones([3, 3]), labels, verbose=0).history["loss"][0])


@pytest.mark.parametrize("label", [10, -1])
def test_labels_of_images_are_checked(label):
    with pytest.raises(ValueError, match=rf"labels from 0 to 9\. Received: label {label}"):
        memory.image_source(np.zeros([2, 4, 4, 1], "uint8"), np.array([0, label]), 10)


def test_a_network_that_does_not_fit_into_memory_is_told(tmp_path, command, monkeypatch):
    def learner(*_):  # TensorFlow tries for ten seconds to get the memory.
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\na tensor")

    monkeypatch.setattr(build, "learner", learner)
    ended = command(*flags_of(TINY, tmp_path / "runs", width=10**9))
    assert ended.status == 2 and not contents(tmp_path)
    assert ended == (
        "Expected a network that fits into memory. Received: mlp with width=1000000000\n"
    )
