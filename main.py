"""Trains networks by learning rules: `python main.py --flagfile=flags/digits_width.flags`."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import sys
import tempfile

from absl import app, flags, logging


@contextlib.contextmanager
def _quiet():
    """Keeps what TensorFlow's C++ says on import from standard error."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(original, 2)
            os.close(original)


@contextlib.contextmanager
def _interruptible(advice):
    """Ends what Ctrl-C or SIGTERM interrupts with one line, and the status that shells expect.

    Both become a KeyboardInterrupt, so that half-written files are removed on the way.
    """

    def interrupt(number, _):
        raise KeyboardInterrupt(number)

    handlers = {some: signal.signal(some, interrupt) for some in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt as interruption:
        number = signal.Signals(*interruption.args or (signal.SIGINT,))
        start = "\n" if sys.stderr.isatty() else ""  # Behind ^C.
        print(f"{start}Interrupted by {number.name}: {advice}.", file=sys.stderr)
        sys.exit(128 + number)
    finally:
        for some, handler in handlers.items():
            signal.signal(some, handler)


with _interruptible("nothing was begun"), _quiet():
    from wna_tf import (
        config,
        evaluation,
        executors,
        export,
        reporting,
        results,
        strategies,
        sweeps,
        training,
    )

FIELDS = dataclasses.fields(config.Config)
FLAGS = flags.FLAGS
app.define_help_flags()
flags.DEFINE_enum("mode", "train", ["train", "report", "evaluate", "export"], "what to do")
flags.DEFINE_enum("split", "test", evaluation.SPLITS, "examples to evaluate on")
flags.DEFINE_string(
    "run_dir", "checkpoints/runs", "directory of runs, or a run to evaluate or export"
)
flags.DEFINE_bool("dry_run", False, "list the runs of the grid, and train nothing")
flags.DEFINE_enum("executor", "local", executors.names(), "where the runs are trained")
flags.DEFINE_enum("strategy", "auto", strategies.NAMES, "devices that train")
flags.DEFINE_integer("checkpoint_every", 100, "steps from one checkpoint to the next")
flags.DEFINE_bool("tensorboard", False, "whether to write histories for TensorBoard too")
for field in FIELDS:
    define = flags.DEFINE_bool if field.metadata["kind"] is bool else flags.DEFINE_string
    default, text = field.default, field.metadata["help"]
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    if "grid" in field.metadata:
        text += "; a comma list makes a grid"
    define(
        field.name,
        default if define is flags.DEFINE_bool or default is None else str(default),
        text,
    )


def _grid() -> dict[str, list]:
    grid = {}
    for field in FIELDS:
        value = FLAGS[field.name].value
        grid[field.name] = (
            config.parse(field, value or "") if not isinstance(value, bool) else [value]
        )
    return grid


def train(directory: pathlib.Path) -> None:
    """Trains the grid of the flags, and reports it; status 1 if a run failed."""
    configs = config.expand(_grid())
    if FLAGS.dry_run:
        print(sweeps.plan(configs, directory))
        return
    setup = training.Setup(FLAGS.strategy, FLAGS.checkpoint_every, FLAGS.tensorboard)
    with strategies.chief_alone_prints(strategies.get(FLAGS.strategy)):
        runs, failures = sweeps.sweep(configs, directory, FLAGS.executor, setup)
        if runs:
            _report(runs, directory)
    if failures:
        names = ", ".join(path.name for path in failures)
        print(f"{len(failures)} runs failed (see their failure.json): {names}", file=sys.stderr)
        sys.exit(1)


def report(directory: pathlib.Path) -> None:
    """Reports every finished run in a directory."""
    _report(results.read_runs(directory), directory)


def evaluate(directory: pathlib.Path) -> None:
    """Evaluates finished runs or a SavedModel; flags of data and loss override those of a run."""
    given = {name: values for name, values in _grid().items() if FLAGS[name].present}
    options = evaluation.choose(given)
    print(evaluation.describe(evaluation.evaluate(directory, FLAGS.split, options)))


def export_runs(directory: pathlib.Path) -> None:
    """Exports finished runs."""
    print(*export.export(directory), sep="\n")


def _report(runs: list[results.Run], directory: pathlib.Path) -> None:
    main = reporting.report(runs, directory)[0]
    print(f"\n{main.title}\n\n{main.table}\n\nFigure: {main.figure}")
    print(f"Report: {directory / reporting.PAGE}")


_MODES = {"train": train, "report": report, "evaluate": evaluate, "export": export_runs}
_ADVICE = dict.fromkeys(_MODES, "nothing is left half-written, the same command begins anew")
_ADVICE["train"] = "the same command goes on with what is not finished"


def run(argv: list[str]) -> None:
    """Parses the flags and does what they say.

    A mistake ends with one line and status 2, an interruption with one line and 130 or 143.
    """
    try:
        try:
            leftover = FLAGS(argv)[1:]
        except UnicodeDecodeError as error:
            files = [word for word in argv if "flagfile" in word]
            raise ValueError(f"Expected flagfiles of text. Received: {' '.join(files)}") from error
        if leftover:
            raise ValueError(
                f"Expected flags alone, as --name=value. Received: {' '.join(leftover)}"
            )
        with _interruptible(_ADVICE[FLAGS.mode]):
            _MODES[FLAGS.mode](pathlib.Path(FLAGS.run_dir))
    except (ValueError, OSError, flags.Error) as error:
        logging.debug("The error in full:", exc_info=True)  # --verbosity=1 shows it.
        print(" ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    run(sys.argv)
