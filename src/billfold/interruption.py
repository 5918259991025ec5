"""An interruption: SIGINT, SIGTERM or SIGHUP ends a command within two seconds, at any stage.

Only the command line watches for signals (`watching`); as a library Billfold leaves them alone.

    handler  runs in the main thread and raises Interruption there, which unwinds the work
    watcher  receives the signal at once, even while the main thread is inside DuckDB, libpq or Arrow
    stopper  stops what the work runs outside Python, again and again, until the work has ended (`stoppable`)
    settler  ends its PostgreSQL sessions, and only then records the state of each attempt (`unfinished`)

No work is committed after an interruption is requested: `check` raises first. An error that a driver reports because
it was stopped becomes the interruption: see `stoppable`. If the work does not end in time, the watcher ends the
process: by then nothing is left to write.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# The work has this long to end by itself; everything together takes less than two seconds.
UNWINDING_SECONDS = 1.2
LIMIT_SECONDS = 1.7
_STOP_EVERY_SECONDS = 0.05

# Ends sessions of PostgreSQL, given by their names, and returns when they have ended.
EndSessions = Callable[[Sequence[Any]], None]


class Interruption(BaseException):
    """The command is to end. It is not an Exception: code that tolerates a failure must not swallow it."""


class _Running:
    """What the process runs outside Python."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self.stop = stop
        self.lock = threading.Lock()


# The signals that requested an interruption: a plain list, because a signal handler must not take a lock.
_signals: list[int] = []
_has_begun = threading.Event()
_settled = threading.Event()
# Changed by atomic steps only, in any thread.
_running: dict[object, _Running] = {}
_sessions: dict[object, tuple[EndSessions, Any]] = {}
_unfinished: dict[object, Callable[[], str]] = {}
_done: list[str] = []
_sentences: list[str] = []


def is_requested() -> bool:
    """Whether the command is to end."""
    return bool(_signals)


def check() -> None:
    """Raise Interruption if the command is to end."""
    if _signals:
        raise Interruption


def pause(seconds: float) -> None:
    """Sleep, in any thread, and raise Interruption as soon as the command is to end."""
    _has_begun.wait(seconds)
    check()


@contextlib.contextmanager
def stoppable(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop`, from another thread and perhaps often, when the command is to end within the block.

    Any error that leaves the block from then on becomes the interruption.
    """
    key = object()
    running = _Running(stop)
    try:
        _running[key] = running
        check()
        yield
    except Exception as error:
        if _signals:
            raise Interruption from error
        raise
    finally:
        _running.pop(key, None)
        # Nothing may be stopped while it closes.
        with running.lock:
            pass


@contextlib.contextmanager
def session(end: EndSessions, name: Any) -> Iterator[None]:
    """A session of PostgreSQL that `end` ends by its `name`; any error that then leaves the block is the interruption.

    Sessions with the same `end` are ended by one call.
    """
    key = object()
    try:
        _sessions[key] = (end, name)
        check()
        yield
    except Exception as error:
        if _signals:
            raise Interruption from error
        raise
    finally:
        # A session that was just closed may still run its last statement: it is ended too.
        if not _signals:
            _sessions.pop(key, None)


@contextlib.contextmanager
def unfinished(settle: Callable[[], str]) -> Iterator[None]:
    """An attempt: if the command is to end within the block, `settle` records its state.

    Another thread calls it when all sessions have ended; it returns a sentence that says how far the attempt came.
    """
    key = object()
    _unfinished[key] = settle
    try:
        yield
    finally:
        if not _signals:
            _unfinished.pop(key, None)


def note(sentence: str) -> None:
    """Note something that is committed: an interruption from now on reports it."""
    if _watch is not None and _watch.interrupts:
        _done.append(sentence)


class Watch:
    """What `watching` returns: it receives signals and reports the state of the work."""

    def __init__(self, report: Callable[[int, str], None], *, ends_process: bool) -> None:
        self._report = report
        self._ends_process = ends_process
        self._began_at = 0.0
        self._is_raised = False
        self._is_ending = False
        self._is_over = False
        self._hears: Callable[[int], None] | None = None
        self._heard_count = 0
        self._pipe: socket.socket | None = None
        self._beginning = threading.Lock()
        self._reporting = threading.Lock()

    @property
    def interrupts(self) -> bool:
        """Whether a signal interrupts the work instead of letting it finish."""
        return self._hears is None

    @property
    def exit_code(self) -> int:
        """The exit code of a shell for a process that the signal ended."""
        return 128 + _signals[0]

    def finish(self) -> int:
        """Wait a short time until the state of the work is recorded; report it and return the exit code."""
        # No signal raises from here on.
        self._is_raised = True
        self._begin(signal.SIGINT)
        _settled.wait(max(self._began_at + LIMIT_SECONDS - time.monotonic(), 0))
        self._report_once()
        return self.exit_code

    def leave(self) -> NoReturn:
        """As `finish`, and end the process.

        The interpreter is not shut down, because threads may still be inside a driver.
        """
        code = self.finish()
        flush_streams()
        atexit._run_exitfuncs()
        os._exit(code)

    def end(self) -> None:
        """Note that the work is done: from here on a signal only makes the process end sooner."""
        self._is_ending = True

    def let_finish(self, hear: Callable[[int], None]) -> None:
        """As the function of this name."""
        self._hears = hear

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Python's handler, which runs in the main thread as soon as that is back in Python."""
        if self._hears is not None:
            self._hears(number)
            return
        _signals.append(number)
        if not self._is_raised and not self._is_ending:
            self._is_raised = True
            raise Interruption

    def start(self) -> int:
        """Start the watcher and return the descriptor that C's handler writes one byte to for each signal, at once."""
        reader, self._pipe = socket.socketpair()
        self._pipe.setblocking(False)
        threading.Thread(target=self._listen, args=[reader], name="watcher", daemon=True).start()
        return self._pipe.fileno()

    def stop(self) -> None:
        """Let the watcher end."""
        assert self._pipe is not None
        with self._beginning:
            self._is_over = True
        self._pipe.close()

    def _listen(self, reader: socket.socket) -> None:
        with reader:
            while numbers := reader.recv(64):
                for number in filter(SIGNALS.__contains__, numbers):
                    self._hear(number)

    def _hear(self, number: int) -> None:
        if self._hears is None:
            self._begin(number)
            if self._ends_process:
                self._wait_for_end()
            return
        self._heard_count += 1
        if self._heard_count > 1 and self._ends_process:
            time.sleep(LIMIT_SECONDS)
            # The second signal: the process's locks are free as soon as it is gone.
            os._exit(0)

    def _begin(self, number: int) -> None:
        with self._beginning:
            if self._is_over or _has_begun.is_set():
                return
            if not _signals:
                _signals.append(number)
            self._began_at = time.monotonic()
            _has_begun.set()
        threading.Thread(target=self._stop, name="stopper", daemon=True).start()
        threading.Thread(target=self._settle, name="settler", daemon=True).start()

    def _stop(self) -> None:
        while _has_begun.is_set():
            for key, running in list(_running.items()):
                with running.lock:
                    if key in _running:
                        with contextlib.suppress(Exception):
                            running.stop()
            time.sleep(_STOP_EVERY_SECONDS)

    def _settle(self) -> None:
        sessions = list(_sessions.values())
        for end in dict.fromkeys(end for end, _ in sessions):
            with contextlib.suppress(Exception):
                end([name for each, name in sessions if each is end])
        for settle in list(_unfinished.values()):
            try:
                _sentences.append(settle())
            except Exception as error:
                _sentences.append(f"the state of an attempt could not be recorded: {' '.join(str(error).split())}")
        _settled.set()

    def _wait_for_end(self) -> None:
        """End the process if it still lives after its time."""
        time.sleep(UNWINDING_SECONDS)
        threading.Thread(target=self._report_once, name="report", daemon=True).start()
        time.sleep(max(self._began_at + LIMIT_SECONDS - time.monotonic(), 0))
        os._exit(self.exit_code)

    def _report_once(self) -> None:
        with self._reporting:
            report, self._report = self._report, _report_nothing
            if self._is_raised or not self._is_ending:
                # Otherwise the command has reported everything itself.
                report(_signals[0], _describe())


_watch: Watch | None = None


@contextlib.contextmanager
def watching(report: Callable[[int, str], None], *, until_end: bool) -> Iterator[Watch]:
    """Let SIGINT, SIGTERM and SIGHUP end the process; to be called in the main thread.

    `report` is called once, in any thread, with the signal's number and the state of the work. A signal that the
    process was started to ignore, as SIGHUP under nohup, stays ignored. With `until_end` the watch lasts until the
    process ends, which it ensures in time, otherwise as long as the block.
    """
    global _watch
    former = {number: signal.getsignal(number) for number in SIGNALS}
    watch = _watch = Watch(report, ends_process=until_end)
    former_descriptor = signal.set_wakeup_fd(watch.start(), warn_on_full_buffer=False)
    for number, handler in former.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, watch.handle)
    former_hook = sys.unraisablehook

    def ignore(unraisable: sys.UnraisableHookArgs) -> None:
        # A signal that arrives inside a finalizer cannot be raised there. The next `check` raises it.
        if not issubclass(unraisable.exc_type, Interruption):
            former_hook(unraisable)

    sys.unraisablehook = ignore
    try:
        yield watch
    finally:
        if not until_end:
            sys.unraisablehook = former_hook
            for number, handler in former.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(former_descriptor)
            watch.stop()
            _watch = None
            _signals.clear()
            for sentences in (_done, _sentences):
                sentences.clear()
            for event in (_has_begun, _settled):
                event.clear()


def let_finish(hear: Callable[[int], None]) -> None:
    """From now on a signal interrupts nothing: `hear` is called with its number, in the main thread.

    The caller lets its work finish. A second signal still ends the process within two seconds. Without a watch
    nothing happens.
    """
    if _watch is None:
        return
    _watch.let_finish(hear)
    for number in (signal.SIGINT, signal.SIGTERM):
        # A service receives them even if its shell ignores the keyboard for it.
        signal.signal(number, _watch.handle)


def leave_now(code: int) -> NoReturn:
    """End the process at once, even if threads still run: they cannot be stopped, and this frees their locks."""
    flush_streams()
    os._exit(code)


def flush_streams() -> None:
    """Flush standard output and standard error; a reader that is gone is not an error."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def is_watched() -> bool:
    """Whether signals are handled here, so that no driver has to handle them."""
    return _watch is not None


def _describe() -> str:
    """What was committed last, and the state of the rest."""
    sentences = list(dict.fromkeys([*_done[-1:], *_sentences]))
    if len(_done) > 1:
        sentences.insert(0, f"{len(_done) - 1} done before")
    if not _settled.is_set():
        sentences.append("PostgreSQL did not answer in time: the next attempt ends what still runs")
    return "; ".join(sentences)


def _report_nothing(_number: int, _text: str) -> None:
    return
