"""How far long work is, and how long it still takes.

```python
for x, y in progress.track(batches, "Evaluation", "batches"):
    ...
```

On a terminal a line is rewritten in place, and erased at the end. In a file there are whole lines,
the first after 5 seconds, then one now and then. What takes less shows nothing.
"""

import contextlib
import contextvars
import datetime
import operator
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TextIO, TypeVar

EVERY = 30.0  # Seconds from one line of a file to the next.
_FIRST = 5.0  # What takes less says nothing.
_REWRITE = 0.25  # Seconds from one line of a terminal to the next.

_is_shown = contextvars.ContextVar("is_shown", default=True)
_Item = TypeVar("_Item")


@contextlib.contextmanager
def silenced(is_silent: bool = True) -> Iterator[None]:
    """Shows nothing of the work within.

    Args:
        is_silent: If False, all is as it was.
    """
    token = _is_shown.set(_is_shown.get() and not is_silent)
    try:
        yield
    finally:
        _is_shown.reset(token)


def track(
    iterable: Iterable[_Item], what: str, unit: str = "steps", total: int | None = None
) -> Iterator[_Item]:
    """Yields the elements of an iterable, and shows how far that is.

    Args:
        iterable: What is passed through, such as a `tf.data.Dataset`.
        what: The work, for the line.
        unit: What the elements are.
        total: Their number; None for the length of `iterable`, if it has one.
    """
    total = operator.length_hint(iterable, 0) or None if total is None else total
    with Stage(what, unit, total) as stage:
        for item in iterable:
            yield item
            stage.advance()


class Stage:
    """Work in parts of one kind, within `with`; see `track` for what a loop goes through.

    Args:
        what: The work, for the line.
        unit: What its parts are.
        total: Their number; None if it is not known.
    """

    def __init__(self, what: str, unit: str = "steps", total: int | None = None):
        self._what, self._unit, self._total = what, unit, total
        self._done = 0

    def __enter__(self) -> "Stage":
        self._line = Line(sys.stderr)
        return self

    def advance(self, count: int = 1) -> None:
        """Counts parts as done.

        Args:
            count: How many more of them are done.
        """
        self._done += count
        self._line.tell(self._describe)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._line.end(self._conclude if kind is None else None)

    def _describe(self, seconds: float) -> str:
        left = None if self._total is None else max(0, self._total - self._done)
        of = "" if self._total is None else f"/{self._total}"
        rate = pace(self._done, left, self._unit, seconds)
        return f"{self._what}: {self._done}{of} {self._unit}, {rate}"

    def _conclude(self, seconds: float) -> str:
        return f"{self._what}: {self._done} {self._unit} in {_format(seconds)}"


def pace(done: int, left: int | None, unit: str, seconds: float) -> str:
    """Returns how many parts are done in a second, and how long those that are left take.

    Args:
        done: Number of those that are done.
        left: Number of those that are left; None if it is not known.
        unit: What the parts are.
        seconds: What those that are done took.
    """
    rate = f"{done / seconds:.3g} {unit}/s"
    return f"{rate}, {_format(seconds * left / done)} left" if done and left is not None else rate


def _format(seconds: float) -> str:
    return str(datetime.timedelta(seconds=round(seconds)))


class Line:
    """A line about work that begins now, or what a file has in its place.

    Args:
        stream: Where it is written.
        every: Seconds from one line of a file to the next.

    Attributes:
        is_terminal: Whether it is rewritten in place.
    """

    def __init__(self, stream: TextIO, every: float = EVERY):
        self._stream = stream
        self.is_terminal = stream.isatty()
        self._every = _REWRITE if self.is_terminal else every
        self._start = time.monotonic()
        self._next = self._start + min(_FIRST, every)
        self._has_told = False

    def tell(self, describe: Callable[[float], str]) -> None:
        """Writes where the work is, if it is time to.

        Args:
            describe: Returns that, of the seconds since the beginning.
        """
        now = time.monotonic()
        if now < self._next or not _is_shown.get():
            return
        self._next, self._has_told = now + self._every, True
        text = describe(now - self._start)
        if self.is_terminal:
            # One that wraps could not be rewritten.
            text = text[: shutil.get_terminal_size().columns - 1]
            self._stream.write(f"\r{text}\x1b[K")
        else:
            self._stream.write(f"{text}\n")
        self._stream.flush()

    def end(self, conclude: Callable[[float], str] | None = None) -> None:
        """Erases what a terminal shows; ends the lines of a file.

        Args:
            conclude: Returns the last line of a file that has others, of the seconds in all.
        """
        if not self._has_told:
            return
        if self.is_terminal:
            self._stream.write("\r\x1b[K")
        elif conclude is not None:
            self._stream.write(f"{conclude(time.monotonic() - self._start)}\n")
        self._stream.flush()
