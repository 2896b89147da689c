"""Trains networks by learning rules: `python main.py --flagfile=flags/digits_width.flags`."""

import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from absl import app, flags, logging

# Shows what was written to a file, unless it is told first that all went well.
_WATCH = 'read -r _ || cat "$0" >&2; rm -f "$0"'


@contextlib.contextmanager
def _quiet():
    """Keeps what TensorFlow's C++ says on import from standard error, unless the import fails.

    A process of its own shows it then: this one may have been aborted.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    original = os.dup(2)
    number, path = tempfile.mkstemp()
    with subprocess.Popen(
        ["sh", "-c", _WATCH, path], stdin=subprocess.PIPE, start_new_session=True
    ) as watch:
        os.dup2(number, 2)
        try:
            yield
            watch.stdin.write(b"imported\n")
        except KeyboardInterrupt:
            watch.stdin.write(b"interrupted\n")
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)
            os.close(number)


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
    from wna_tf import files
    from wna_tf.experiments import commands, config, evaluation, executors

FIELDS = dataclasses.fields(config.Config)
SETUP = dataclasses.fields(config.Setup)
FLAGS = flags.FLAGS
app.define_help_flags()
flags.DEFINE_enum("mode", "train", ["train", "report", "evaluate", "export"], "what to do")
flags.DEFINE_enum("split", "test", evaluation.SPLITS, "examples to evaluate on")
flags.DEFINE_string(
    "run_dir", "checkpoints/runs", "directory of runs, or a run to evaluate or export"
)
flags.DEFINE_bool("dry_run", False, "list the runs of the grid, and train nothing")
flags.DEFINE_enum("executor", "local", executors.names(), "where the runs are trained")
for field in (*FIELDS, *SETUP):
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


def grid(fields: Sequence[dataclasses.Field]) -> dict[str, list]:
    """Returns the values of each field, as the flags say."""
    texts = {field: FLAGS[field.name].value for field in fields}
    return {
        field.name: [text] if isinstance(text, bool) else config.parse(field, text or "")
        for field, text in texts.items()
    }


def execute(directory: pathlib.Path) -> int | None:
    """Does what the flags say, and returns the status of the process."""
    if FLAGS.mode == "export":
        return commands.export_runs(directory)
    given = {name: values for name, values in grid(FIELDS).items() if FLAGS[name].present}
    if FLAGS.mode == "report":
        return commands.report(directory, given)
    if FLAGS.mode == "evaluate":
        return commands.evaluate(directory, FLAGS.split, given)
    configs = config.expand(grid(FIELDS))
    setup = config.Setup(**{name: value for name, (value,) in grid(SETUP).items()})
    if FLAGS.dry_run:
        return commands.plan(configs, directory, setup)
    return commands.train(configs, directory, FLAGS.executor, setup)


def _flagfiles(argv: list[str]) -> str:
    return " ".join(word for word in argv if "flagfile" in word)


def run(argv: list[str]) -> None:
    """Parses the flags and does what they say.

    A mistake ends with one line and status 2, an interruption with one line and 130 or 143.
    """
    try:
        try:
            leftover = FLAGS(argv)[1:]
        except UnicodeDecodeError as error:
            raise ValueError(f"Expected flagfiles of text. Received: {_flagfiles(argv)}") from error
        except RecursionError as error:
            raise ValueError(
                "Expected flagfiles that do not include each other by the hundred. "
                f"Received: {_flagfiles(argv)}"
            ) from error
        if leftover:
            raise ValueError(
                f"Expected flags alone, as --name=value. Received: {' '.join(leftover)}"
            )
        goes_on = "the same command goes on with what is not finished"
        begins = "nothing is left half-written, the same command begins anew"
        with _interruptible(goes_on if FLAGS.mode == "train" else begins):
            status = execute(files.expand(FLAGS.run_dir))
    except (ValueError, OSError, flags.Error) as error:
        logging.debug("The error in full:", exc_info=True)  # --verbosity=1 shows it.
        print(" ".join(str(error).split()), file=sys.stderr)
        status = 2
    if status:
        sys.exit(status)


if __name__ == "__main__":
    run(sys.argv)
