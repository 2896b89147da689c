"""Runs, sweeps and reports of experiments: what the command line does, for user code too.

```python
import pathlib

from wna_tf import experiments

configs = experiments.expand({"rule": ["backprop", "align_ada"], "width": [16, 64], "epochs": [3]})
outcome = experiments.sweep(configs, pathlib.Path("checkpoints/mine"))
experiments.report(outcome.runs, pathlib.Path("checkpoints/mine"))
```
"""

from wna_tf.experiments.build import expand
from wna_tf.experiments.config import Config, FigureStyle, Setup
from wna_tf.experiments.evaluation import evaluate
from wna_tf.experiments.kernels import compute_kernels
from wna_tf.experiments.reporting import report
from wna_tf.experiments.run_directory import Run, read_run, read_runs
from wna_tf.experiments.sweeps import Outcome, sweep
from wna_tf.experiments.training import train

__all__ = [
    "Config",
    "FigureStyle",
    "Outcome",
    "Run",
    "Setup",
    "compute_kernels",
    "evaluate",
    "expand",
    "read_run",
    "read_runs",
    "report",
    "sweep",
    "train",
]
