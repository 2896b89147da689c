"""What computes: all that rounding depends on beside what is computed."""

import os
import pathlib
import re
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# They choose oneDNN's kernels, which round as they like.
_VARIABLES = ("TF_ENABLE_ONEDNN_OPTS", "ONEDNN_MAX_CPU_ISA")
_PROCESSORS = pathlib.Path("/proc/cpuinfo")


def versions() -> dict[str, str]:
    """Returns the versions of what computes."""
    return {
        "python": sys.version.split()[0],
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "numpy": np.__version__,
    }


def describe() -> dict[str, Any]:
    """Returns what the same numbers, to the bit, need beside the number of replicas.

    In values that JSON holds: threads of an operation, the processor's vector instructions (those
    of x86, where Linux tells them), GPUs, oneDNN's variables and versions.
    """
    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU")
        for gpu in tf.config.get_visible_devices("GPU")
    ]
    return {
        "intra_op_threads": _threads(),
        "instructions": _instructions(),
        "gpus": sorted(set(gpus)),
        **{name: os.environ.get(name) for name in _VARIABLES},
        **versions(),
    }


def _threads() -> int:
    """Returns the number of threads of an operation, which TensorFlow takes in this order."""
    told = tf.config.threading.get_intra_op_parallelism_threads()
    variable = os.environ.get("TF_NUM_INTRAOP_THREADS", "")
    if not told and variable.isdigit():
        told = int(variable)
    return told or cores()


def cores() -> int:
    """Returns the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _instructions() -> list[str]:
    if not _PROCESSORS.exists():
        return []
    return sorted(set(re.findall(r"\b(?:avx|amx|fma)\w*", _PROCESSORS.read_text())))
