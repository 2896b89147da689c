"""The flagfiles: each experiment of the papers with its values, and a small one beside it."""

import dataclasses
import re

import pytest
from absl.testing import flagsaver

from tests.conftest import ROOT, SHARED
from tests.samples import sample
from wna_tf import rules
from wna_tf.experiments import config, run_directory, training
from wna_tf_command import cli, flagfiles

FLAGFILES = {path.stem: path for path in sorted((ROOT / "flags").glob("*.flags"))}
SMALL = [name for name in FLAGFILES if name.endswith("_small")]
# Beside the experiments of the papers.
EVERY_RULE = {"rules_digits": 60, "precision_digits": 12, "precision_kmnist": 12}
OTHERS = {"digits_width", "imagenet_sample", "pretrained_first", "pretrained_second"} | {
    *(
        f"results_{name}"
        for name in ("alignment", "cifar10", "digits", "kmnist", "low_data", "rates")
    ),
    *EVERY_RULE,
}

WIDTHS = (8, 16, 32, 64, 128, 256, 512)
RATES = (5.0, 2.0, 1.0)
ALIGN = ("backprop", "align_ada", "align_zero")
RANDOM = ("feedback_alignment", "direct_feedback_alignment")
CIFAR = {"dataset": "cifar10", "model": "cnn", "strides": (1, 1, 1, 2, 1, 2, 1), "batch_size": 100}
KMNIST = {"dataset": "kmnist", "model": "cnn", "strides": (1, 2, 2), "batch_size": 100}
IMAGENET = {"dataset": "imagenet", "model": "cnn", "strides": (4, 2, 1, 2, 1, 2, 1)}
ADD = {"dataset": "add", "model": "rnn", "batch_size": 50, "loss": "sum_squared_error"}
SCORE = {"diagnostics": ("alignment_score",)}
TWO_LAYER = {"model": "two_layer", "rule": "feedback_alignment", "diagnostics": ("feedback_angle",)}

# The values of each experiment; a tuple of a field that makes a grid is that grid.
EXPERIMENTS = {
    "cifar10_width": CIFAR
    | {"rule": (*ALIGN, *RANDOM, "readout"), "width": WIDTHS, "learning_rate": RATES}
    | {"epochs": 150},
    "kmnist_width": KMNIST
    | {"rule": (*ALIGN, *RANDOM, "readout"), "width": WIDTHS, "learning_rate": RATES}
    | {"epochs": 100},
    "cifar10_learning_rate": CIFAR
    | {"rule": (*ALIGN, *RANDOM, "readout"), "width": (8, 256), "epochs": 150}
    | {"learning_rate": (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)},
    "kmnist_learning_rate": KMNIST
    | {"rule": (*ALIGN, *RANDOM, "readout"), "width": (8, 256), "epochs": 100}
    | {"learning_rate": (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)},
    "cifar10_standard_adam": CIFAR
    | {"parameterization": "standard", "optimizer": "adam", "epochs": 150}
    | {"rule": (*ALIGN, *RANDOM), "width": WIDTHS}
    | {"learning_rate": (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)},
    "cifar10_low_data": CIFAR
    | {"rule": (*ALIGN, *RANDOM), "width": WIDTHS, "learning_rate": RATES, "epochs": 150}
    | {"data_limit": (45, 150, 450, 1500, 4500, 15000, 45000)},
    "cifar10_align_prop": CIFAR
    | {"rule": "align_prop", "width": WIDTHS, "learning_rate": RATES, "epochs": 150},
    "cifar10_seeds": CIFAR
    | {"rule": (*ALIGN, *RANDOM), "width": 256, "learning_rate": RATES, "epochs": 150}
    | {"seed": (100, 101, 102, 103, 104)},
    # One epoch, after one as a warm-up.
    "cifar10_training_time": CIFAR
    | {"rule": ALIGN, "width": WIDTHS, "learning_rate": RATES, "epochs": 2},
    "add_width": ADD
    | {"rule": (*ALIGN, "readout"), "width": (*WIDTHS, 1024, 2048, 4096)}
    | {"learning_rate": 0.001, "epochs": 200},
    "imagenet": IMAGENET
    | {"rule": (*ALIGN, *RANDOM), "width": 512, "learning_rate": 5.0, "epochs": 300},
    "cifar10_alignment_width": CIFAR
    | SCORE
    | {"rule": "backprop", "width": WIDTHS, "learning_rate": 5.0, "epochs": 300},
    "kmnist_alignment_width": KMNIST
    | SCORE
    | {"rule": "backprop", "width": WIDTHS, "learning_rate": 5.0, "epochs": 300},
    "cifar10_alignment_training": CIFAR
    | SCORE
    | {"rule": "backprop", "width": 512, "learning_rate": 5.0, "epochs": 300},
    "kmnist_alignment_training": KMNIST
    | SCORE
    | {"rule": "backprop", "width": 512, "learning_rate": 5.0, "epochs": 300},
    "add_alignment_training": ADD | SCORE | {"rule": "backprop", "width": 512, "epochs": 300},
    "imagenet_alignment_training": IMAGENET
    | SCORE
    | {"rule": "backprop", "width": 512, "learning_rate": 5.0, "epochs": 300},
    "two_layer": TWO_LAYER | {"dataset": "teacher", "ridge": (0.0, 0.001, 0.01)},
    "two_layer_schedule": TWO_LAYER | {"dataset": "teacher", "ridge_epochs": (100, 300, 1000)},
    "two_layer_digits": TWO_LAYER | {"dataset": "digits", "ridge": (0.0, 0.001, 0.01)},
    # And a rule that does not conserve it.
    "conservation": {"rule": ("feedback_alignment", "align_prop", "backprop", "align_zero")}
    | {"model": "mlp", "use_bias": False, "normalize": False, "learning_rate": (1.0, 2.0, 4.0)},
}


def read(name):
    """Returns the grid of a flagfile, as the command line reads it."""
    with flagsaver.flagsaver():
        cli.FLAGS(["main.py", *flagfiles.expand([f"--flagfile={name}"])])
        return config.expand(cli.grid(cli.FIELDS)), cli.FLAGS.run_dir


def test_each_experiment_has_a_small_one_beside_it():
    assert set(FLAGFILES) - OTHERS == {
        *EXPERIMENTS,
        *(f"{name}_small" for name in EXPERIMENTS),
    }


@pytest.mark.parametrize("name", FLAGFILES)
def test_every_flagfile_is_a_grid_that_can_be_trained(name):
    configs, run_dir = read(name)
    assert run_dir == f"checkpoints/{name}"
    for each in configs:
        training.check(each)
    assert FLAGFILES[name].read_text().startswith("# ")


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_full_experiments_have_the_values_of_their_paper(name):
    configs, _ = read(name)
    size = 1
    for field, expected in EXPERIMENTS[name].items():
        is_grid = "grid" in config.Config.__dataclass_fields__[field].metadata
        values = expected if is_grid and isinstance(expected, tuple) else (expected,)
        assert {getattr(each, field) for each in configs} == set(values), field
        size *= len(values)
    assert len(configs) % size == 0
    if EXPERIMENTS[name].get("model") == "cnn" or "add" in name:
        assert len(configs) == size
        if "seed" not in EXPERIMENTS[name]:
            assert {each.seed for each in configs} == {99}


@pytest.mark.parametrize("name", sample(SMALL))
def test_small_experiments_take_a_step(name, tmp_path):
    first, *_ = read(name)[0]
    data_dir = None
    if first.dataset == "kmnist":
        data_dir = str(SHARED / "data" / "tfds")
        if not (SHARED / "data").is_dir():
            pytest.skip("needs KMNIST")
    limit = None if first.dataset in ("add", "teacher") else 20
    one = dataclasses.replace(
        first, epochs=1, data_limit=limit, batch_size=20, data_dir=data_dir, ridge_epochs=None
    )
    run = training.train(one, tmp_path / "run")
    assert len(run.history) == 1
    columns = {column.split("/")[0] for column in run.history[0]}
    for diagnostic in first.diagnostics:
        assert diagnostic in columns
    assert run_directory.state(tmp_path / "run") == "finished"


def test_small_experiments_vary_what_the_full_ones_do():
    for name in EXPERIMENTS:
        full, small = (read(n)[0] for n in (name, f"{name}_small"))
        for field in ("width", "rule", "data_limit", "ridge", "ridge_epochs", "seed"):
            if len({getattr(each, field) for each in small}) > 1:
                assert len({getattr(each, field) for each in full}) > 1, (name, field)


@pytest.mark.parametrize("name", EVERY_RULE)
def test_every_rule_is_trained(name):
    configs, _ = read(name)
    assert tuple(dict.fromkeys(each.rule for each in configs)) == rules.names()
    assert len(configs) == len(rules.names()) * EVERY_RULE[name]


def test_comments_are_whole_lines():
    for path in FLAGFILES.values():
        for line in path.read_text().splitlines():
            assert re.fullmatch(r"# .*|--\w+=[^\s#]+", line), (path.name, line)
