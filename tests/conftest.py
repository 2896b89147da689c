"""What tests share: two logical devices, precision, the command line, runs to damage."""

import contextlib
import gc
import pathlib
import shutil
import sys

import hypothesis
import keras
import pytest
import tensorflow as tf
from absl.testing import flagsaver

from tests.command import TINY, Ended
from wna_tf import callbacks, credit, datasets, feedback, files, models, rules
from wna_tf.experiments import strategies, training
from wna_tf_command import cli

hypothesis.settings.register_profile("tests", deadline=None)  # Of time nothing is asserted.
hypothesis.settings.load_profile("tests")
gc.set_threshold(10_000)  # Graphs are many objects, and few of them garbage.

(_CPU,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(_CPU, [tf.config.LogicalDeviceConfiguration()] * 2)

ROOT = pathlib.Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True, scope="module")
def _leftovers():
    """Keeps graphs that TensorFlow never lets go out of later collections, which they slow down."""
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture
def names_from_the_start():
    """The first layer of its kind is named as in a process of its own."""
    keras.backend.clear_session()


@pytest.fixture
def double_precision():
    """Layers and data in float64."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


@pytest.fixture(scope="session")
def mirrored():
    # The one of every run: TensorFlow mixes up the collectives of several in one process.
    return strategies.get("mirrored")


@pytest.fixture
def command(capsys, monkeypatch):
    """Runs the command line in this process, without the report of a sweep."""

    monkeypatch.setattr(cli.commands, "_report", lambda *_: None)

    def run(*flags):
        status = 0
        try:
            with flagsaver.flagsaver():
                cli.run(["main.py", *flags])
        except SystemExit as end:
            status = end.code
        out, err = capsys.readouterr()
        return Ended(status, out, err)

    return run


@pytest.fixture
def forget(tmp_path):
    """Takes back what is registered and imported, now and at the end."""
    path, modules = list(sys.path), set(sys.modules)
    tables = [m._TABLE for m in (rules, feedback, credit, datasets, models, callbacks)]
    before = [dict(table._choices) for table in tables]
    own = (str(tmp_path), str(ROOT / "examples"))

    def forget():
        for name in set(sys.modules) - modules:
            if (getattr(sys.modules[name], "__file__", None) or "").startswith(own):
                del sys.modules[name]
        sys.path[:] = path
        for table, choices in zip(tables, before, strict=True):
            table._choices = dict(choices)

    yield forget
    forget()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    directory = tmp_path_factory.mktemp("finished")
    training.train(TINY, directory / TINY.name)
    return directory


@pytest.fixture
def runs(finished, tmp_path):
    """A directory of one finished run, to damage."""
    return shutil.copytree(finished, tmp_path / "runs")


@pytest.fixture
def full_disk(monkeypatch):
    """Lets writes of one file, by its name, meet a full disk."""
    replacing = files.replacing

    def fill(name):
        @contextlib.contextmanager
        def full(path):
            with replacing(path) as beside:
                if path.name == name:
                    beside.symlink_to("/dev/full")
                yield beside

        monkeypatch.setattr(files, "replacing", full)

    return fill


@pytest.fixture
def at_step(monkeypatch):
    """Does something when a step of a run ends."""
    progress = callbacks.Progress

    def when(step, act):
        class Progress(progress):  # Checkpoints tell callbacks by their names.
            def on_train_batch_end(self, batch, logs=None):
                if int(self.model.optimizer.iterations) == step:
                    act()

        monkeypatch.setattr(callbacks, "Progress", Progress)

    return when
