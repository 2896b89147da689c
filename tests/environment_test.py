"""What computes: as TensorFlow takes it."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from wna_tf.experiments import environment

# Convolutions, whose sums depend on the number of threads; and what is said to be that number.
CODE = """
import hashlib, tensorflow as tf
tf.random.set_seed(0)
if {threads}:
    tf.config.threading.set_intra_op_parallelism_threads({threads})
from wna_tf.experiments import environment
x, w = tf.random.normal([40, 28, 28, 16]), tf.random.normal([3, 3, 16, 16])
with tf.GradientTape() as tape:
    tape.watch(w)
    y = tf.nn.conv2d(x, w, 1, "SAME")
bits = hashlib.sha256(tape.gradient(y, w).numpy().tobytes()).hexdigest()
print(environment.describe()["intra_op_threads"], bits)
"""


def run(threads=0, **variables):
    ended = subprocess.run(
        [sys.executable, "-c", CODE.format(threads=threads)],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout.split()


def test_threads_are_those_of_tensorflow():
    told = run(TF_NUM_INTRAOP_THREADS="1")
    assert told[0] == "1" and run(1, TF_NUM_INTRAOP_THREADS="3") == told


@pytest.mark.parametrize("text, threads", [("3", 3), ("some", None), ("0", None), ("", None)])
def test_threads_of_the_environment(text, threads, monkeypatch):
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    otherwise = environment.describe()["intra_op_threads"]
    assert otherwise == len(os.sched_getaffinity(0))
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", text)
    assert environment.describe()["intra_op_threads"] == (threads or otherwise)
    assert json.loads(json.dumps(environment.describe())) == environment.describe()
