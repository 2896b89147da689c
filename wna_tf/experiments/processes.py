"""Runs of a sweep on worker processes of this machine, each of which trains one after the other."""

import contextlib
import gc
import multiprocessing
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from multiprocessing import connection
from typing import Any

from wna_tf import progress
from wna_tf.experiments import environment

_PATIENCE = 10.0  # Seconds in which a worker can leave nothing half-written, before it is killed.
_START = (
    "import sys; number, *sys.path = sys.argv[1:]; "
    "from wna_tf.experiments import processes; processes.work(int(number))"
)


class Died(Exception):  # noqa: N818 - what became of a process
    """The process that trained a run ended before it could say why."""


def apply(
    function: Callable[[Any], Any],
    items: Sequence[Any],
    begin: Callable[[Any], None],
    kind: Callable[[Any], Hashable],
) -> Iterator[tuple[Any, Any]]:
    """Applies a function in processes, one for each core; see `executors.Executor`.

    They share the cores as threads of TensorFlow, unless its variables of the environment tell
    their number. What workers print is not shown. They end with this process, however that ends.
    """
    waiting = [(item, kind(item)) for item in items]
    count, threads = share(len(items))
    told = {"TF_NUM_INTRAOP_THREADS": str(threads), "TF_NUM_INTEROP_THREADS": str(threads)}
    workers: list[_Worker] = []
    idle: list[_Worker] = []
    busy: dict[Any, _Worker] = {}
    try:
        while waiting or busy:
            while waiting and len(busy) < count:
                if not idle:
                    idle.append(_Worker(told | os.environ))
                    workers += idle
                worker = idle.pop()
                others = {other.kind for other in workers if other is not worker}
                chosen = waiting.pop(choose([its for _, its in waiting], worker.kind, others))
                begin(chosen[0])
                worker.begin(function, *chosen)
                busy[worker.connection] = worker
            for done in connection.wait(list(busy)):
                worker = busy.pop(done)
                item, outcome = worker.finish()
                if not isinstance(outcome, Died):
                    idle.append(worker)
                yield item, outcome
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()


def choose(kinds: Sequence[Hashable], own: Hashable, others: Collection[Hashable]) -> int:
    """Returns the index of what a worker does next.

    That is the first of its own kind, or else of one that no other worker has, or else of all.

    Args:
        kinds: The kind of each item that is left.
        own: The kind of the worker's last item.
        others: Those of the other workers.
    """
    return min(range(len(kinds)), key=lambda i: (kinds[i] != own, kinds[i] in others))


def share(runs: int) -> tuple[int, int]:
    """Returns the number of processes for some runs, and that of the threads of each."""
    cores = environment.cores()
    count = max(1, min(cores, runs))
    return count, max(1, cores // count)


class _Worker:
    """A process that applies functions.

    Args:
        variables: Its environment.

    Attributes:
        connection: Ready when it has finished, or died.
        kind: The kind of its last item, or None.
    """

    def __init__(self, variables: dict[str, str]):
        self.kind: Hashable = None
        self._item: Any = None
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `join`
        self.connection, theirs = multiprocessing.Pipe()
        with theirs:
            number = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(number), *sys.path],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                pass_fds=[number],
                env=variables,
                start_new_session=True,  # Ctrl-C is for the process that has started it.
            )

    def begin(self, function: Callable[[Any], Any], item: Any, kind: Hashable) -> None:
        """Applies a function to an item; returns at once."""
        self._item, self.kind = item, kind
        with contextlib.suppress(BrokenPipeError):  # It died: that is what `finish` finds.
            self.connection.send((function, item))

    def finish(self) -> tuple[Any, Any]:
        """Returns the item and what the function returned, or `Died`."""
        try:
            return self._item, self.connection.recv()
        except (EOFError, ConnectionResetError):
            status = self._process.wait()
            self._errors.seek(0)
            last = self._errors.read().decode(errors="replace").strip().rpartition("\n")[2]
            reason = signal.Signals(-status).name if status < 0 else f"status {status}"
            return self._item, Died(f"its process ended with {reason}{': ' * bool(last)}{last}")

    def terminate(self) -> None:
        """Lets the process end."""
        self.connection.close()
        self._process.terminate()

    def join(self) -> None:
        """Waits for its end; kills it if that takes too long."""
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()


def work(number: int) -> None:
    """Applies functions to what comes through a connection, until that is closed.

    Args:
        number: The connection's file descriptor.
    """
    gc.freeze()  # What imports made stays.
    parent: connection.Connection = connection.Connection(number)
    received: queue.SimpleQueue[tuple[Callable[[Any], Any], Any]] = queue.SimpleQueue()
    main = threading.get_ident()

    def listen() -> None:
        try:
            with contextlib.suppress(EOFError, ConnectionResetError):
                while True:
                    received.put(parent.recv())
        finally:  # The other process is gone.
            signal.pthread_kill(main, signal.SIGTERM)

    def end(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit()  # By an exception, so that half-written files are removed on the way.

    signal.signal(signal.SIGTERM, end)
    threading.Thread(target=listen, daemon=True).start()
    with progress.silenced():  # Its last line on standard error says why it died.
        while True:
            function, item = received.get()
            parent.send(function(item))
