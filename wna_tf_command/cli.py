"""The command line: flags from `Config`, and what is done by `--mode`."""

import dataclasses
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags, logging

from wna_tf import files, progress, serialization
from wna_tf.experiments import (
    build,
    commands,
    config,
    evaluation,
    executors,
    extensions,
    kernels,
    options,
)
from wna_tf_command import flagfiles
from wna_tf_command.terminal import interruptible

FIELDS = [field for field in dataclasses.fields(config.Config) if field.name not in config.RECORDED]
SETUP = dataclasses.fields(config.Setup)
STYLE = dataclasses.fields(config.FigureStyle)
FLAGS = flags.FLAGS
PLANNED = ("train", "kernel")  # Modes of which a plan can be made.
flags.DEFINE_bool("help", False, "show this help", short_name="h")
flags.DEFINE_enum(
    "mode", "train", ["train", "report", "evaluate", "export", "kernel"], "what to do"
)
flags.DEFINE_enum("split", "test", evaluation.SPLITS, "examples to evaluate on")
flags.DEFINE_string(
    "run_dir",
    "checkpoints/runs",
    "directory of runs, or a run to evaluate, to export or whose kernel to compute",
)
flags.DEFINE_bool("dry_run", False, "list the runs of the grid or the kernels, and do nothing")
flags.DEFINE_integer(
    "kernel_examples",
    kernels.EXAMPLES,
    "training examples of a run's kernel, and test examples",
    lower_bound=1,
)
flags.DEFINE_float(
    "max_gigabytes",
    kernels.GIGABYTES,
    "memory to compute a kernel in, in units of 1e9 bytes",
)
flags.DEFINE_list(
    "choose",
    [],
    "fields whose best values on validation examples the first seed chooses for others",
)
flags.DEFINE_bool("verbose", True, "show how far all is that takes over 5 seconds")
flags.DEFINE_enum("executor", "local", executors.names(), "where the runs are trained")


def flag_of(field: dataclasses.Field) -> str:
    """Returns the name of the flag of a field."""
    return field.metadata.get("flag", field.name)


def help_of(field: dataclasses.Field) -> str:
    """Returns the help of a field's flag, with the choices that there are by now."""
    text = field.metadata["help"]
    if choices := field.metadata.get("choices") or build.choices().get(field.name):
        text += f": {', '.join(choices)}"
    return text + "; a comma list makes a grid" * ("grid" in field.metadata)


for field in (*FIELDS, *SETUP, *STYLE):
    default: Any = field.default
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    if field.metadata["kind"] is bool:
        flags.DEFINE_bool(flag_of(field), default, help_of(field))
    else:
        default = None if default is None else str(default)
        flags.DEFINE_string(flag_of(field), default, help_of(field))


def grid(fields: Sequence[dataclasses.Field]) -> dict[str, list]:
    """Returns the values of each field, as the flags say."""
    texts = {field: FLAGS[flag_of(field)].value for field in fields}
    return {
        field.name: [text] if isinstance(text, bool) else options.parse(field, text or "")
        for field, text in texts.items()
    }


def describe(program: str) -> str:
    """Returns the help: what the program does, its flags and the flagfiles that have a name."""
    for field in FIELDS:
        FLAGS[field.name].help = help_of(field)
    _, _, described = FLAGS.module_help(__name__).lstrip().partition("\n")
    named = flags.text_wrap(", ".join(flagfiles.names()), indent="  ")
    return (
        f"{program} trains networks by learning rules, and reports, evaluates and exports runs.\n\n"
        f"  {program} --flagfile=digits_width --epochs=3\n\n"
        f"Flags, of which a later one overrides an earlier one:\n\n{described}\n\n"
        f"--flagfile=NAME stands for the flags of a file: a path, or one of\n\n{named}"
    )


def given() -> dict[str, list]:
    """Returns the values of the configuration's fields that flags were given for."""
    return {name: values for name, values in grid(FIELDS).items() if FLAGS[name].present}


def train(directory: pathlib.Path) -> int:
    """Trains the runs of the grid, or lists them, and returns the status of the process."""
    configs, look = build.expand(grid(FIELDS)), style()
    if not FLAGS.dry_run:
        return commands.train(configs, directory, FLAGS.executor, set_up(), FLAGS.choose, look)
    commands.plan(configs, directory, FLAGS.executor, set_up(), FLAGS.choose)
    return 0


def set_up() -> config.Setup:
    """Returns how runs are trained, in this process or in one of another working directory."""
    setup = config.Setup(**{name: value for name, (value,) in grid(SETUP).items()})
    return dataclasses.replace(setup, imports=tuple(map(extensions.absolute, setup.imports)))


def style() -> config.FigureStyle:
    """Returns how figures look."""
    return config.FigureStyle(**{name: value for name, (value,) in grid(STYLE).items()})


def execute(directory: pathlib.Path) -> int:
    """Does what the flags say, and returns the status of the process."""
    if FLAGS.dry_run and FLAGS.mode not in PLANNED:
        raise ValueError(
            f"Expected --dry_run with --mode={' or '.join(PLANNED)}. Received: --mode={FLAGS.mode}"
        )
    if FLAGS.mode == "train":
        return train(directory)
    if FLAGS.mode == "export":
        commands.export_runs(directory)
    elif FLAGS.mode == "report":
        commands.report(directory, given(), style())
    elif FLAGS.mode == "kernel":
        sizes = FLAGS.kernel_examples, FLAGS.max_gigabytes
        commands.compute_kernels(directory, *sizes, given(), FLAGS.dry_run)
    else:
        commands.evaluate(directory, FLAGS.split, given())
    return 0


def run(argv: Sequence[str]) -> None:
    """Parses the flags and does what they say.

    A mistake ends with one line and status 2, an interruption with one line and 130 or 143.
    """
    program, *words = argv
    try:
        leftover = FLAGS([program, *flagfiles.expand(words)])[1:]
        if leftover and not FLAGS.help:
            raise ValueError(
                f"Expected flags alone, as --name=value. Received: {' '.join(leftover)}"
            )
        goes_on = "the same command goes on with what is not finished"
        begins = "nothing is left half-written, the same command begins anew"
        with (
            interruptible(goes_on if FLAGS.mode in ("train", "kernel") else begins),
            progress.silenced(not FLAGS.verbose),
        ):
            extensions.load(set_up().imports)
            if FLAGS.help:
                print(describe(pathlib.Path(program).name))
                return
            status = execute(files.expand(FLAGS.run_dir))
    except (ValueError, OSError, flags.Error) as error:
        logging.debug("The error in full:", exc_info=True)  # --verbosity=1 shows it.
        message = " ".join(str(error).split())
        if isinstance(error, serialization.Unknown) and error.is_open:
            message += f" ({error.noun} of one's own needs --import=FILE)"
        print(message, file=sys.stderr)
        status = 2
    if status:
        sys.exit(status)


def main() -> None:
    """Runs the command line of this process."""
    run(sys.argv)
