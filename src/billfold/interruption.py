"""An interruption: SIGINT, SIGTERM or SIGHUP ends a command within two seconds, at whatever stage it is.

Only the command line watches for signals (`watching`); as a library Billfold leaves them alone.

    handler  runs in the main thread and raises Interruption there, which unwinds the work
    watcher  hears of the signal at once, even while the main thread is inside of DuckDB, libpq or Arrow
    stopper  ends what the work runs outside of Python, again and again, until the work has ended (`stoppable`)
    settler  ends its PostgreSQL sessions, and only then writes down how each attempt was left (`unfinished`)

No work is committed once an interruption was asked for: `check` raises before. What a driver reports because it was
stopped is the interruption too: `stoppable` raises that instead. Where the work does not come to its end in time, the
watcher ends the process without it: by then nothing is left to write.
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
# The work has this long to end by itself, and everything together has not two seconds.
UNWINDING_SECONDS = 1.2
LIMIT_SECONDS = 1.7
_STOP_EVERY_SECONDS = 0.05

# Ends sessions of PostgreSQL, each given as what it is known by, and returns when they have ended.
EndSessions = Callable[[Sequence[Any]], None]


class Interruption(BaseException):
    """The command was asked to end. It is no Exception: nothing that tolerates a failure may swallow it."""


class _Running:
    """What the process runs outside of Python."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self.stop = stop
        self.lock = threading.Lock()


# What a handler writes is a plain list, because a handler may take no lock: the signals that ask for an interruption.
_asked: list[int] = []
_has_begun = threading.Event()
_settled = threading.Event()
# Changed by single steps only, in whatever thread.
_running: dict[object, _Running] = {}
_sessions: dict[object, tuple[EndSessions, Any]] = {}
_unfinished: dict[object, Callable[[], str]] = {}
_done: list[str] = []
_sentences: list[str] = []


def is_asked() -> bool:
    """Whether the command was asked to end."""
    return bool(_asked)


def check() -> None:
    """Raise Interruption where the command was asked to end."""
    if _asked:
        raise Interruption


def pause(seconds: float) -> None:
    """Sleep, in any thread, and raise Interruption as soon as the command is asked to end."""
    _has_begun.wait(seconds)
    check()


@contextlib.contextmanager
def stoppable(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop`, from another thread and perhaps often, when the command is asked to end within the block.

    Whatever error leaves the block from then on is the interruption.
    """
    key = object()
    running = _Running(stop)
    try:
        _running[key] = running
        check()
        yield
    except Exception as error:
        if _asked:
            raise Interruption from error
        raise
    finally:
        _running.pop(key, None)
        # Nothing is stopped while it is closed.
        with running.lock:
            pass


@contextlib.contextmanager
def session(end: EndSessions, name: Any) -> Iterator[None]:
    """A session of PostgreSQL that `end` ends by its `name`; whatever error leaves the block then is the interruption.

    Sessions with the same `end` are ended by one call.
    """
    key = object()
    try:
        _sessions[key] = (end, name)
        check()
        yield
    except Exception as error:
        if _asked:
            raise Interruption from error
        raise
    finally:
        # A session that was closed now may still be at its last statement: it is ended too.
        if not _asked:
            _sessions.pop(key, None)


@contextlib.contextmanager
def unfinished(settle: Callable[[], str]) -> Iterator[None]:
    """An attempt: if the command is asked to end within the block, `settle` writes down how it was left.

    It is called by another thread when all sessions have ended, and returns a sentence about what the attempt was at.
    """
    key = object()
    _unfinished[key] = settle
    try:
        yield
    finally:
        if not _asked:
            _unfinished.pop(key, None)


def note(sentence: str) -> None:
    """Something is done for good: an interruption from now on says so."""
    if _watch is not None and _watch.interrupts:
        _done.append(sentence)


class Watch:
    """What `watching` gives: it hears of signals, and says how the work was left."""

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
        """Whether a signal interrupts the work, and does not let it finish."""
        return self._hears is None

    @property
    def exit_code(self) -> int:
        """As a shell gives it for a process that the signal has ended."""
        return 128 + _asked[0]

    def finish(self) -> int:
        """Wait until what was under way is written down, but not for long; report it and return the exit code."""
        # Nothing is raised any more.
        self._is_raised = True
        self._begin(signal.SIGINT)
        _settled.wait(max(self._began_at + LIMIT_SECONDS - time.monotonic(), 0))
        self._tell()
        return self.exit_code

    def leave(self) -> NoReturn:
        """As `finish`, and end the process.

        Nothing of the interpreter is taken apart: threads may still be inside of a driver, where that is no moment to.
        """
        code = self.finish()
        flush_streams()
        atexit._run_exitfuncs()
        os._exit(code)

    def end(self) -> None:
        """The work is done: from here on a signal only makes the process end sooner."""
        self._is_ending = True

    def let_finish(self, hear: Callable[[int], None]) -> None:
        """As the function of this name."""
        self._hears = hear

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Python's handler, which runs in the main thread as soon as that is back in Python."""
        if self._hears is not None:
            self._hears(number)
            return
        _asked.append(number)
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
            # It was asked twice: what it works on is free as soon as it is gone.
            os._exit(0)

    def _begin(self, number: int) -> None:
        with self._beginning:
            if self._is_over or _has_begun.is_set():
                return
            if not _asked:
                _asked.append(number)
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
                _sentences.append(f"how an attempt was left could not be written down: {' '.join(str(error).split())}")
        _settled.set()

    def _wait_for_end(self) -> None:
        """Where the process still lives after its time, end it."""
        time.sleep(UNWINDING_SECONDS)
        threading.Thread(target=self._tell, name="report", daemon=True).start()
        time.sleep(max(self._began_at + LIMIT_SECONDS - time.monotonic(), 0))
        os._exit(self.exit_code)

    def _tell(self) -> None:
        with self._reporting:
            report, self._report = self._report, _tell_nobody
            if self._is_raised or not self._is_ending:
                # Else the command has said everything itself.
                report(_asked[0], _describe())


_watch: Watch | None = None


@contextlib.contextmanager
def watching(report: Callable[[int, str], None], *, until_end: bool) -> Iterator[Watch]:
    """Let SIGINT, SIGTERM and SIGHUP end the process; to be called in the main thread.

    `report` is called once, in any thread, with the signal's number and with how the work was left. A signal that the
    process was started to ignore, as SIGHUP under nohup, stays ignored. The watch lasts until the process ends, which
    it sees to in time, or else as long as the block.
    """
    global _watch
    former = {number: signal.getsignal(number) for number in SIGNALS}
    watch = _watch = Watch(report, ends_process=until_end)
    former_descriptor = signal.set_wakeup_fd(watch.start(), warn_on_full_buffer=False)
    for number, handler in former.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, watch.handle)
    try:
        yield watch
    finally:
        if not until_end:
            for number, handler in former.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(former_descriptor)
            watch.stop()
            _watch = None
            _asked.clear()
            for sentences in (_done, _sentences):
                sentences.clear()
            for event in (_has_begun, _settled):
                event.clear()


def let_finish(hear: Callable[[int], None]) -> None:
    """From now on a signal interrupts nothing: `hear` is called with its number, in the main thread.

    The caller lets its work finish. A second signal ends the process within two seconds all the same. Where nobody
    watches, nothing happens.
    """
    if _watch is None:
        return
    _watch.let_finish(hear)
    for number in (signal.SIGINT, signal.SIGTERM):
        # A service hears of them even where its shell ignores the keyboard for it.
        signal.signal(number, _watch.handle)


def leave_now(code: int) -> NoReturn:
    """End the process at once, whatever threads still run: nobody can end them, and what they hold is free with it."""
    flush_streams()
    os._exit(code)


def flush_streams() -> None:
    """Write out what standard output and standard error still hold; a reader that is gone is no failure."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def is_watched() -> bool:
    """Whether signals are handled here, so that no driver has to handle them."""
    return _watch is not None


def _describe() -> str:
    """What is done for good, at last, and how the rest was left."""
    sentences = list(dict.fromkeys([*_done[-1:], *_sentences]))
    if len(_done) > 1:
        sentences.insert(0, f"{len(_done) - 1} done before")
    if not _settled.is_set():
        sentences.append("PostgreSQL did not answer in time: the next attempt ends what is left running")
    return "; ".join(sentences)


def _tell_nobody(_number: int, _text: str) -> None:
    return
