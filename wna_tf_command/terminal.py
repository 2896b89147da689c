"""What a terminal sees of TensorFlow's import and of interruptions."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator

# Shows what was written to a file, unless it is told first that all went well.
_WATCH = 'read -r _ || cat "$0" >&2; rm -f "$0"'


@contextlib.contextmanager
def quiet() -> Iterator[None]:
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
            watch.communicate(b"imported\n")
        except KeyboardInterrupt:
            watch.communicate(b"interrupted\n")
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)
            os.close(number)


@contextlib.contextmanager
def interruptible(advice: str) -> Iterator[None]:
    """Ends what Ctrl-C or SIGTERM interrupts with one line, and the status that shells expect.

    Both become a KeyboardInterrupt, so that half-written files are removed on the way.

    Args:
        advice: What the line says of how to go on.
    """

    def interrupt(number: int, _: object) -> None:
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
