"""Operations that run in a step: none that its rule does not need."""

import collections
import os
import subprocess
import sys

import pytest
import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

import wna_tf
from tests import oracle
from tests.conftest import ROOT
from tests.helpers import make_learner


def executed(step, directory):
    """Counts the operations that run in `step`, by type."""
    with tf.profiler.experimental.Profile(str(directory)):
        step()
    (path,) = directory.rglob("*.xplane.pb")
    space = xplane_pb2.XSpace.FromString(path.read_bytes())
    return collections.Counter(
        plane.event_metadata[event.metadata_id].name.split(":")[-1]
        for plane in space.planes
        if plane.name == "/host:CPU"
        for line in plane.lines
        for event in line.events
    )


MANY_SHAPES = """
import pathlib, sys
import numpy as np, tensorflow as tf
from tests.helpers import make_learner
from tests.operations_test import executed
import wna_tf

def learner(width):
    return make_learner(wna_tf.models.cnn((28, 28, 1), 10, width, (1, 2, 2)), "align_zero")

specs = tf.TensorSpec((100, 28, 28, 1)), tf.TensorSpec((100, 10))
for width in range(4, 20):
    tf.function(learner(width).updates).get_concrete_function(*specs)
last = learner(72)
x, y = np.ones(specs[0].shape, "float32"), np.ones(specs[1].shape, "float32")
step = tf.function(lambda: last.train_step((tf.constant(x), tf.constant(y))), autograph=False)
step()
counts = executed(step, pathlib.Path(sys.argv[1]))
print(sum(count for name, count in counts.items() if name.endswith("Conv2D")))
"""


def test_no_convolution_runs_in_vain_after_many_shapes(tmp_path):
    # In a process of its own: what TensorFlow keeps of a process's past is what is tested.
    command = [sys.executable, "-c", MANY_SHAPES, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "6"


COMPILED = """
import numpy as np
from tests.helpers import make_learner
import wna_tf

rng = np.random.default_rng(0)
for rule in ("backprop", "align_ada", "linearized"):
    network = wna_tf.models.cnn((8, 8, 1), 3, 6, (1, 2))
    learner = make_learner(network, rule, metrics=["accuracy"], jit_compile=True)
    for _ in range(3):
        learner.train_on_batch(rng.random((5, 8, 8, 1)), rng.random((5, 3)))
"""


def test_xla_compiles_a_step_once():
    # By what it logs: it compiles anew for every value that it takes for a constant.
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "0", "TF_CPP_VMODULE": "device_compiler=1"}
    command = [sys.executable, "-c", COMPILED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("Compilation of XLA executable time") == 3


@pytest.mark.parametrize(
    ("rule", "normalize", "width"),
    [
        *((rule, True, 64) for rule in oracle.RULES),
        ("linearized", False, 64),
        ("align_zero", True, 16),
        ("linearized", True, 128),
    ],
)
def test_no_operation_runs_in_vain(rule, normalize, width, tmp_path):
    # Only at production sizes: whether operations that nothing needs are pruned depends on them.
    blocks = 3
    network = wna_tf.models.cnn((28, 28, 1), 10, width, (1, 2, 2), normalize=normalize)
    learner = make_learner(network, rule, metrics=["accuracy"])
    x, y = tf.random.normal((100, 28, 28, 1)), tf.random.normal((100, 10))
    step = tf.function(lambda: learner.train_step((x, y)), autograph=False)
    step()
    counts = executed(step, tmp_path)
    # The last: the initial network, two products for tangents, and the current network for its
    # moving statistics, if it has some.
    passes = {"align_zero": 2, "align_ada": 2, "linearized": 3 + normalize}.get(rule, 1)
    expected = {
        # The images have no tangent.
        "Conv2D": passes * blocks - (rule == "linearized"),
        "Conv2DBackpropInput": 0 if rule.startswith(("direct", "readout")) else blocks - 1,
        "Conv2DBackpropFilter": 0 if rule == "readout" else blocks,
    }
    if normalize:
        networks = passes - 2 * (rule == "linearized")
        back = {"readout": 0, "linearized": 2 * blocks}.get(rule, blocks)
        # Through both networks, but the first block carries nothing to the images.
        both = {"align_ada": 2 * blocks - 1}.get(rule, back)
        expected["FusedBatchNormV3"] = networks * blocks
        expected["FusedBatchNormGradV3"], expected["ReluGrad"] = both, back

    def count(name):
        forms = (name, f"_Fused{name}", f"_MklNative{name}", f"_MklNativeFused{name}")
        return sum(counts[form] for form in forms)

    for name, number in expected.items():
        assert count(name) == number, name
    if normalize:  # It undoes biases; the head's may be added in this form or in another.
        assert count("BiasAdd") <= passes
        assert count("BiasAddGrad") <= 1
