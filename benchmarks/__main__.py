"""Every benchmark, tables to standard output, JSON and a figure to `build/bench/`: `make bench`."""

import pathlib
import subprocess
import sys

from benchmarks import figure

DIRECTORY = pathlib.Path("build/bench")
TRANSFORMED = ("backprop", "align_zero", "align_ada", "align_prop", "feedback_alignment")
# Name of the file, module, arguments. Each in a process of its own: memory and what TensorFlow
# keeps of a process's past are not shared.
BENCHMARKS = {
    "rules": ("rules", "--widths", "8", "16", "32", "128", "256", "--steps", "1", "--rounds", "5"),
    "rules_512": (
        *("rules", "--widths", "512", "--steps", "1", "--rounds", "2", "--rules"),
        *("backprop", "align_zero", "align_ada"),
    ),
    "rules_kmnist": ("rules", "--network", "kmnist", "--widths", "8", "64", "256"),
    "rules_add": (
        *("rules", "--network", "add", "--widths", "16", "64", "256", "--steps", "20", "--rules"),
        *("backprop", "align_zero", "align_ada", "align_prop", "feedback_alignment", "readout"),
        "linearized",
    ),
    "rules_digits": ("rules", "--network", "digits", "--widths", "8", "64", "512", "--steps", "20"),
    "rules_vit": ("rules", "--network", "vit", "--widths", "64", "--rules", *TRANSFORMED),
    "rules_gpt": (
        *("rules", "--network", "gpt", "--widths", "64", "--batch_size", "32"),
        *("--rules", *TRANSFORMED),
    ),
    "cache": ("cache",),
    "fresh": ("fresh", "--widths", "8", "64"),
    "pipeline": ("pipeline",),
    "scaling": ("scaling",),
    "sweeps": ("sweeps",),
    "plans": ("plans",),
    "kernels": ("kernels", "--widths", "24", "64"),
}


def main() -> None:
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    for name, (module, *arguments) in BENCHMARKS.items():
        print(f"\n## benchmarks.{module} {' '.join(arguments)}\n", flush=True)
        path = DIRECTORY / f"{name}.json"
        command = [sys.executable, "-m", f"benchmarks.{module}", *arguments, "--json", str(path)]
        subprocess.run(command, check=True)
    figure.draw(DIRECTORY, DIRECTORY / "performance.png")


if __name__ == "__main__":
    main()
