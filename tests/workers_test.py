"""Several workers: two processes on this machine train what one does, and survive being killed."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.run_files import bits

FLAGS = [
    "--rule=kolen_pollack",
    "--optimizer=adam",
    "--learning_rate=.01",
    "--width=8",
    "--batch_size=35",  # The last of 4 batches has 15 examples: workers get 8 and 7.
    "--validation_size=1380",
    "--nonormalize",
    "--checkpoint_every=3",
]
PATIENCE = 180  # Seconds that anything may take, on a busy machine.


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("localhost", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def workers(directory, *flags):
    """Starts two workers; whatever happens, they have ended in the end."""
    cluster = {"worker": [f"localhost:{port}" for port in free_ports(2)]}
    processes = []
    try:
        for index in range(2):
            task = {"type": "worker", "index": index}
            processes.append(
                subprocess.Popen(
                    [sys.executable, "main.py", f"--run_dir={directory}", *FLAGS, *flags],
                    cwd=ROOT,
                    env=os.environ | {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def finish(directory, *flags):
    """Runs two workers to their end; returns what each printed."""
    with workers(directory, *flags) as processes:
        outputs = [process.communicate(timeout=PATIENCE) for process in processes]
        assert [process.returncode for process in processes] == [0, 0], outputs
    return [output for output, _ in outputs]


def place(directory):
    (found,) = directory.glob("kolen_pollack*/")
    return found


def test_two_workers_train_as_one(tmp_path, command):
    chief, other = finish(tmp_path / "two", "--epochs=2")  # TF_CONFIG says what --strategy is.
    assert "Validation accuracy" in chief and other == ""
    assert command(f"--run_dir={tmp_path / 'one'}", "--epochs=2", *FLAGS).status == 0
    one, two = (bits(place(tmp_path / name)) for name in ("one", "two"))
    assert one[0].keys() == two[0].keys()
    for name, value in one[0].items():
        dtype = np.int64 if name.endswith("iteration") else np.float32
        a, b = (np.frombuffer(some, dtype) for some in (value, two[0][name]))
        np.testing.assert_allclose(b, a, atol=1e-5, err_msg=name)
    for row, expected in zip(two[1], one[1], strict=True):
        assert row.keys() == expected.keys()
        for name in row.keys() - {"seconds"}:
            np.testing.assert_allclose(row[name], expected[name], rtol=1e-5, err_msg=name)


@pytest.mark.slow  # A survivor learns of it after half a minute, and eight processes start.
def test_a_killed_worker_ends_the_others_and_they_go_on_to_the_same_bits(tmp_path):
    step = 0
    # SIGTERM ends a process with a line and the status that shells expect.
    for index, deadly, status in ((1, signal.SIGKILL, -9), (0, signal.SIGTERM, 143)):
        with workers(tmp_path / "killed", "--epochs=16") as processes:
            deadline = time.monotonic() + PATIENCE
            while newest(tmp_path / "killed") <= step:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            processes[index].send_signal(deadly)
            step = newest(tmp_path / "killed")
            began = time.monotonic()
            _, errors = processes[1 - index].communicate(timeout=PATIENCE)
            print(f"The survivor ended after {time.monotonic() - began:.1f} s.")
            assert processes[1 - index].returncode == 1
            (line,) = [line for line in errors.splitlines() if line]
            assert line.startswith("1 runs failed")
            assert processes[index].wait(timeout=PATIENCE) == status
    assert 0 < step < 64
    chief, _ = finish(tmp_path / "killed", "--epochs=16")
    assert "Going on from step" in chief
    finish(tmp_path / "whole", "--epochs=16")
    assert bits(place(tmp_path / "killed")) == bits(place(tmp_path / "whole"))


def newest(directory):
    """Returns the step of the newest checkpoint; 0 without any."""
    return max((int(path.name[5:]) for path in directory.glob("*/checkpoints/step-*")), default=0)
