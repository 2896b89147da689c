"""What `--dry_run` predicts of the experiments at a small scale, beside what they take.

    python -m benchmarks.plans --flagfiles digits_width two_layer_small

Each flagfile in processes of its own: first its plan, then its runs in a directory that is thrown
away. Seconds that a clock shows, start-up and report included, on a machine without other work.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks import cases, sweeps

_ROOT = pathlib.Path(__file__).parents[1]
_UNITS = {"s": 1, "min": 60, "h": 3600, "days": 86400}


def names() -> list[str]:
    """Returns the flagfiles at a small scale."""
    small = sorted(path.stem for path in (_ROOT / "flags").glob("*_small.flags"))
    return ["digits_width", *small]


def seconds(plan: str) -> float:
    """Returns the time that the last line of a plan tells."""
    told = re.search(r", about (\d+) (\w+)\.$", plan.strip())
    if told is None:
        raise ValueError(f"Expected a plan that ends with a time. Received: {plan[-200:]!r}")
    return int(told[1]) * _UNITS[told[2]]


def measure(name: str, data_dir: pathlib.Path) -> dict[str, Any]:
    """Returns the row of a flagfile."""
    with tempfile.TemporaryDirectory() as runs:
        command = [sys.executable, "main.py", f"--flagfile={name}", f"--run_dir={runs}"]
        command += [f"--data_dir={data_dir}"] if data_dir.is_dir() else []
        plan = _run([*command, "--dry_run"])
        start = time.monotonic()
        _run(command)
        taken = time.monotonic() - start
    predicted = seconds(plan)
    return {
        "experiment": name,
        "runs": plan.count("| new |"),
        "predicted s": f"{predicted:.0f}",
        "taken s": f"{taken:.0f}",
        "ratio": f"{predicted / taken:.2f}",
    }


def _run(command: list[str]) -> str:
    """Returns what a command prints."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=_ROOT)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--flagfiles", nargs="+", choices=names(), default=names())
    parser.add_argument("--data_dir", type=pathlib.Path, default=sweeps.DATA)
    parser.add_argument("--json", type=pathlib.Path, help="file to write the rows to")
    options = parser.parse_args()
    rows = []
    for name in options.flagfiles:
        rows.append(measure(name, options.data_dir))
        print(*rows[-1].values(), file=sys.stderr, flush=True)
    cases.write(rows, options.json)


if __name__ == "__main__":
    main()
