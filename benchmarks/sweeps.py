"""Where the time of a small run goes: processor time of each stage of the runs of a sweep.

    python -m benchmarks.sweeps --cases "digits mlp 64" --seeds 6

Each case in a process of its own trains runs that differ in their seed, as a sweep does. Columns
are milliseconds of processor time (all threads): of the first run, which builds and traces, of the
others on average, and of the steps of one run alone, taken one after the other by the step that the
runs take. Start-up is the import, paid once; the report that of all runs.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

DATA = pathlib.Path(__file__).parents[2] / "shared" / "data" / "tfds"
ADD = {"loss": "sum_squared_error", "batch_size": 50, "learning_rate": 1e-3}
CASES: dict[str, dict[str, Any]] = {
    "digits mlp 64": {"width": 64, "batch_size": 50, "learning_rate": 5.0, "epochs": 30},
    "digits cnn 32": {"model": "cnn", "width": 32, "learning_rate": 5.0, "epochs": 5},
    "kmnist cnn 64": {
        "dataset": "kmnist",
        "data_dir": str(DATA),
        "model": "cnn",
        "width": 64,
        "data_limit": 2000,
        "validation_size": 1000,
        "epochs": 1,
    },
    "add rnn 32": {"dataset": "add", "model": "rnn", "width": 32, "epochs": 5, **ADD},
}


class Stages:
    """Processor time by stage: a stage within another counts as its own alone."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._open = ["other"]
        self._since = time.process_time()

    def _switch(self) -> None:
        now = time.process_time()
        stage = self._open[-1]
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._since
        self._since = now

    def take(self) -> dict[str, float]:
        """Returns the seconds by stage since the last time."""
        self._switch()
        taken, self.seconds = self.seconds, {}
        return taken

    def timed(self, function: Callable, stage: str) -> Callable:
        """Returns the function, whose time is that of a stage."""

        def call(*args: Any, **kwargs: Any) -> Any:
            self._switch()
            self._open.append(stage)
            try:
                return function(*args, **kwargs)
            finally:
                self._switch()
                self._open.pop()

        return call

    def wrap(self, owner: Any, name: str, stage: str) -> None:
        """Counts the calls of an attribute as a stage."""
        setattr(owner, name, self.timed(getattr(owner, name), stage))


def _wrap(stages: Stages) -> None:
    """Names the stages of a run."""
    from wna_tf import files, steps
    from wna_tf.experiments import build, checkpoints, resume, run_directory, training
    from wna_tf.learner import Learner

    stages.wrap(build, "load_data", "data")
    stages.wrap(build, "prepare", "build")
    stages.wrap(build, "network", "build")
    stages.wrap(resume, "fit", "fit")
    # Their Python runs while graphs are written alone; TensorFlow's part of it counts as steps.
    stages.wrap(Learner, "train_step", "trace")
    stages.wrap(Learner, "test_step", "trace")
    stages.wrap(steps.Steps, "take", "steps")
    stages.wrap(steps.Evaluation, "evaluate", "evaluation")
    stages.wrap(Learner, "save", "saving")
    stages.wrap(checkpoints.Checkpoints, "write", "checkpoints")
    stages.wrap(files, "write_json", "files")
    stages.wrap(files, "write_rows", "files")
    stages.wrap(run_directory, "read_run", "files")
    stages.wrap(training, "check", "checks")
    stages.wrap(training, "check_directory", "checks")


def child(case: str, seeds: int) -> None:
    """Trains the runs of a case, and prints seconds by stage for each, and of steps alone."""
    imported = time.process_time()
    from benchmarks import cases
    from wna_tf.experiments import build, reporting, run_directory, sweeps
    from wna_tf.experiments.config import Config

    imported = time.process_time() - imported
    stages, rows = Stages(), []
    _wrap(stages)
    configs = [Config(**CASES[case], seed=seed) for seed in range(seeds)]
    with tempfile.TemporaryDirectory() as place:
        directory = pathlib.Path(place)
        attempt = sweeps.attempt

        def attempted(*args: Any, **kwargs: Any) -> str:
            rows.append({"before": sum(stages.take().values())})
            failure = attempt(*args, **kwargs)
            rows[-1] |= stages.take()
            return failure

        sweeps.attempt = attempted
        sweeps.sweep(configs, directory)
        stages.take()
        reporting.report(run_directory.read_runs(directory), directory, {})
        report = sum(stages.take().values())
    data, learner = build.prepare(configs[0])
    step = cases.stepper(learner, data.batches_from(0), build.count_steps(configs[0]))
    step()
    start = time.process_time()
    step()
    alone = time.process_time() - start
    print(json.dumps({"import": imported, "rows": rows, "report": report, "alone": alone}))


def measure(case: str, seeds: int) -> Iterator[dict[str, Any]]:
    """Yields the rows of a case: one for each stage."""
    command = [
        sys.executable,
        "-c",
        f"from benchmarks import sweeps; sweeps.child({case!r}, {seeds})",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    found = json.loads(done.stdout.splitlines()[-1])
    first, *others = found["rows"]

    def row(stage: str, *seconds: float) -> dict[str, Any]:
        names = ("first run", "other runs")
        cells = [f"{1e3 * some:.0f}" for some in seconds] + [""] * (2 - len(seconds))
        return {"case": case, "stage": stage, **dict(zip(names, cells, strict=True))}

    def mean(stage: str) -> float:
        return sum(some.get(stage, 0.0) for some in others) / len(others)

    stages = dict.fromkeys(stage for some in found["rows"] for stage in some)
    for stage in sorted(stages, key=lambda stage: -mean(stage)):
        yield row(stage, first.get(stage, 0.0), mean(stage))
    yield row("all", sum(first.values()), sum(map(mean, stages)))
    yield row("steps alone", found["alone"], found["alone"])
    yield row("import", found["import"])
    yield row("report", found["report"])


def main() -> None:
    from benchmarks import cases

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--seeds", type=int, default=4, help="runs of each case")
    parser.add_argument("--json", type=pathlib.Path, help="file to write the rows to")
    options = parser.parse_args()
    chosen = [case for case in options.cases if "data_dir" not in CASES[case] or DATA.is_dir()]
    cases.write([row for case in chosen for row in measure(case, options.seeds)], options.json)


if __name__ == "__main__":
    main()
