"""Writes what the guides' scripts print and draw, beside the guides.

    python -m docs.make_guides [NAME ...]

A guide is the page `docs/guides/NAME.md` and the script `examples/NAME.py`, which prints
`docs/guides/NAME.txt` and may draw `docs/guides/NAME.png`. Every script runs in a process and a
directory of its own.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from wna_tf import files

ROOT = pathlib.Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "guides"
EXAMPLES = ROOT / "examples"


def names() -> list[str]:
    """Returns the name of every guide."""
    return sorted(path.stem for path in FOLDER.glob("*.md") if path.stem != "README")


def make(name: str) -> None:
    """Runs the script of a guide, and keeps what it prints and draws.

    Args:
        name: The guide.

    Raises:
        ValueError: If it draws or writes something else than its figure.
        subprocess.CalledProcessError: If it fails.
    """
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / f"{name}.py")],
            cwd=directory,
            env=os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.PIPE,
            check=True,
        )
        drawn = {path.name: path.read_bytes() for path in pathlib.Path(directory).iterdir()}
    if not drawn.keys() <= {f"{name}.png"}:
        raise ValueError(f"Expected {name}.png at most. Received: {', '.join(drawn)}")
    for kept, content in {f"{name}.txt": done.stdout, **drawn}.items():
        with files.replacing(FOLDER / kept) as beside:
            beside.write_bytes(content)


def main(wanted: Sequence[str]) -> None:
    """Makes some guides, or all if none is named.

    Raises:
        ValueError: If one is not there.
    """
    known = names()
    if unknown := sorted(set(wanted) - set(known)):
        raise ValueError(f"Expected guides, of {', '.join(known)}. Received: {', '.join(unknown)}")
    for name in wanted or known:
        print(name, flush=True)
        make(name)


if __name__ == "__main__":
    main(sys.argv[1:])
