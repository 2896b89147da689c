"""The benchmark for GPUs, with the processor in their place."""

import subprocess
import sys

import pytest
import tensorflow as tf

from benchmarks import gpu
from tests.conftest import ROOT


def test_devices_are_compared():
    devices = [
        device.name.removeprefix("/device:") for device in tf.config.list_logical_devices("CPU")
    ]
    rows = gpu.compare(["align_ada", "weight_mirror"], "digits", 8, 6, devices)
    assert [row["rule"] for row in rows] == ["align_ada", "weight_mirror"]
    for row in rows:
        assert float(row["GPU to processor"]) == 0
        assert all(float(value) < 1e-4 for name, value in row.items() if name.startswith("1 to"))


@pytest.mark.slow
@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_line():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "Expected a GPU that TensorFlow sees. Received: none"
