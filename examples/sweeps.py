"""Trains a grid in a process that is killed, goes on with it in this one, and reports it."""

import contextlib
import io
import multiprocessing
import pathlib
import tempfile
import time

from wna_tf import experiments

GRID = {
    "dataset": ["digits"],
    "model": ["mlp"],
    "width": [16, 64],
    "rule": ["backprop", "align_ada"],
    "learning_rate": [2.0],
    "batch_size": [50],
    "epochs": [20],
    "seed": [0],
}
CONFIGS = experiments.expand(GRID)


def train(directory: pathlib.Path) -> experiments.Outcome:
    """Trains what is not finished, and keeps to itself how far it is."""
    with contextlib.redirect_stdout(io.StringIO()):
        setup = experiments.Setup(checkpoint_every=24)  # Steps, an epoch of them.
        return experiments.sweep(CONFIGS, directory, setup=setup)


def print_states(directory: pathlib.Path) -> None:
    """Prints how far each run is, as its files tell."""
    for config in CONFIGS:
        run = directory / config.name
        is_begun, is_finished = ((run / name).exists() for name in ("config.json", "result.json"))
        state = "finished" if is_finished else "begun" if is_begun else "not begun"
        print(f"  {config.rule:10} width {config.width:3}  {state}")


def kill_in_second_run(directory: pathlib.Path) -> None:
    """Trains in another process, and kills it in the midst of its second run."""
    process = multiprocessing.get_context("spawn").Process(target=train, args=(directory,))
    process.start()
    history = directory / CONFIGS[1].name / "history.csv"
    while not history.exists() or history.read_text().count("\n") < 3:
        if not process.is_alive():
            raise RuntimeError("Expected the process to train. Received: it has ended")
        time.sleep(0.01)
    process.kill()  # SIGKILL, at which nothing can be saved any more.
    process.join()


def is_as_in_one_go(run: experiments.Run, directory: pathlib.Path) -> bool:
    """Returns whether a run has the results that it has when nothing interrupts it."""
    with contextlib.redirect_stdout(io.StringIO()):
        again = experiments.train(CONFIGS[1], directory)
    return run.result | {"seconds": 0} == again.result | {"seconds": 0}


def main() -> None:
    """Kills a sweep, goes on with it, and prints what came of it."""
    with tempfile.TemporaryDirectory() as parent:
        directory = pathlib.Path(parent) / "runs"
        print("after the process was killed:")
        kill_in_second_run(directory)
        print_states(directory)
        runs, _ = train(directory)
        print("after the sweep went on:")
        print_states(directory)
        is_same = is_as_in_one_go(runs[1], pathlib.Path(parent) / "in_one_go")
        print(f"the run that was killed ended as in one go: {is_same}\n")
        main_result, *_ = experiments.report(runs, directory)
        print(f"{main_result.title}\n\n{main_result.table}\n")
        print(f"a run: {', '.join(sorted(path.name for path in runs[0].directory.iterdir()))}")
        others = {path.name for path in directory.iterdir()} - {config.name for config in CONFIGS}
        print(f"beside the runs: {', '.join(sorted(others))}")


if __name__ == "__main__":
    main()
