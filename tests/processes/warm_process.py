"""Processes of Python that start within milliseconds: forked from one that has imported Billfold already.

Such a process has its own id, environment, folder, streams and signals, as one that starts by itself; it skips only the
second that importing takes. What looks at imports or at memory needs a cold start, `subprocess.Popen`.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import pickle
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cache, partial
from pathlib import Path
from typing import Any, NoReturn, TextIO

# What Python and its libraries read when they start: a process for which one of these differs starts cold.
_READ_AT_START = ("LANG", "LC_", "PYTHONUTF8", "PYTHONIOENCODING", "FORCE_COLOR", "PY_COLORS")
_NUMBER_BYTES = 8
# Threads of a test start processes at once, and the process that forks answers on one link.
_one_at_a_time = threading.Lock()


class WarmProcess(subprocess.Popen[str]):
    """`subprocess.Popen` for `python -m`, `-c`, or `-P` with a file. It tells its end as `waitpid` does."""

    _status: socket.socket | None = None

    def _execute_child(self, args: Any, executable: Any, preexec_fn: Any, *others: Any) -> None:
        _, _, cwd, env, _, _, _, *pipes = others[:13]
        if args[0] != sys.executable or args[1] not in ("-m", "-c", "-P") or not _is_like_here(env):
            super()._execute_child(args, executable, preexec_fn, *others)  # type: ignore[misc]
            return
        request = {
            "words": [os.fspath(word) for word in args[1:]],
            "folder": os.fspath(cwd or Path.cwd()),
            "environment": dict(os.environ if env is None else env),
            "prepare": preexec_fn,
        }
        # Each pipe has two ends; the process gets the one that it reads, and the two that it writes.
        streams = [own if end == -1 else end for own, end in enumerate((pipes[0], pipes[3], pipes[5]))]
        status, theirs = socket.socketpair()
        with theirs, ExitStack() as undo:
            undo.enter_context(status)
            with _one_at_a_time:
                self.pid = _forker().start(request, [*streams, theirs.fileno()])
            undo.pop_all()
        self._status = status
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]

    def _internal_poll(self, *arguments: Any, **named: Any) -> int | None:
        if self._status is None:
            code: int | None = super()._internal_poll(*arguments, **named)  # type: ignore[misc]
            return code
        if self.returncode is None:
            with suppress(subprocess.TimeoutExpired):
                self._wait(timeout=0)  # type: ignore[attr-defined]
        return self.returncode

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if self._status is None:
            answer: tuple[int, int] = super()._try_wait(wait_flags)  # type: ignore[misc]
            return answer
        if wait_flags & os.WNOHANG and not select.select([self._status], [], [], 0)[0]:
            return 0, 0
        with self._status as status:
            return self.pid, _read_number(status)


def run_warm(
    words: Sequence[str], *, env: Mapping[str, str], cwd: Path | None = None, timeout_seconds: int | None = None
) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run`, with both outputs as text; it kills a process that takes longer."""
    with WarmProcess(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=cwd, env=env) as process:
        try:
            out, err = process.communicate(timeout=timeout_seconds)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def _is_like_here(environment: Mapping[str, str] | None) -> bool:
    given = os.environ if environment is None else environment
    names = {name for name in (*given, *os.environ) if name.startswith(_READ_AT_START)}
    return all(given.get(name) == os.environ.get(name) for name in names)


class _Forker:
    """The process that imports Billfold and forks the others; it ends with this one."""

    def __init__(self) -> None:
        self._link, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                # Tests end all processes of a folder.
                cwd="/",
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        atexit.register(self._end)

    def start(self, request: dict[str, Any], fds: list[int]) -> int:
        """The id of a process with these standard streams, whose end is told on the last of `fds`."""
        content = pickle.dumps(request)
        socket.send_fds(self._link, [len(content).to_bytes(_NUMBER_BYTES, "big")], fds)
        self._link.sendall(content)
        return _read_number(self._link)

    def _end(self) -> None:
        self._link.close()
        self._process.wait()


@cache
def _forker() -> _Forker:
    return _Forker()


def _read_number(link: socket.socket) -> int:
    told = link.recv(_NUMBER_BYTES)
    assert len(told) == _NUMBER_BYTES, "the process that forks has ended"
    return int.from_bytes(told, "big")


def _import_all() -> None:
    for module in pkgutil.walk_packages(importlib.import_module("billfold").__path__, "billfold."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    # What the product imports only where it needs it.
    for name in ("boto3.session", "uvicorn"):
        importlib.import_module(name)
    # A collection in a forked process would copy what all of them share.
    gc.collect()
    gc.freeze()


def _serve(link: socket.socket) -> Callable[[], object]:
    """Fork a process for each request until the other side has ended; in a forked one, returns what it has to run."""
    woken, waker = socket.socketpair()
    woken.setblocking(False)
    waker.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker.fileno())
    running: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([link, woken], [], [])
        if woken in ready:
            woken.recv(4096)
            _tell_ends(running)
        if link not in ready:
            continue
        length, fds, _, _ = socket.recv_fds(link, _NUMBER_BYTES, 4)
        if not length:
            os._exit(0)
        request = _read_request(link, int.from_bytes(length, "big"))
        pid = os.fork()
        if not pid:
            for held in (link, woken, waker, *running.values()):
                held.close()
            return _become(request, fds)
        running[pid] = socket.socket(fileno=fds.pop())
        for fd in fds:
            os.close(fd)
        link.sendall(pid.to_bytes(_NUMBER_BYTES, "big"))


def _tell_ends(running: dict[int, socket.socket]) -> None:
    for pid in list(running):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            with running.pop(pid) as told, suppress(BrokenPipeError):
                told.sendall(status.to_bytes(_NUMBER_BYTES, "big"))


def _read_request(link: socket.socket, length: int) -> dict[str, Any]:
    content = bytearray()
    while len(content) < length:
        content += link.recv(length - len(content))
    request: dict[str, Any] = pickle.loads(content)
    return request


def _become(request: dict[str, Any], fds: list[int]) -> Callable[[], object]:
    """Make this process what a new one with these words would be; returns what that runs."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, fd in enumerate(fds[:3]):
        os.dup2(fd, number)
    for fd in fds:
        os.close(fd)
    sys.stdin, sys.stdout, sys.stderr = (_open_stream(number) for number in range(3))
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    if request["prepare"]:
        request["prepare"]()
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    kind, subject, *words = request["words"]
    sys.argv[:] = ["-c" if kind == "-c" else subject, *words]
    sys.path[:] = [path for path in sys.path if Path(path).is_absolute()]
    if kind == "-P":
        return partial(runpy.run_path, subject, run_name="__main__")
    sys.path.insert(0, request["folder"])
    if kind == "-m":
        return partial(runpy.run_module, subject, run_name="__main__", alter_sys=True)
    return partial(_run_text, subject)


def _end_with(run: Callable[[], object]) -> NoReturn:
    """Run it, and end as Python does, but leave what was imported to the system: to free all of it takes long."""
    code: Any = None
    try:
        run()
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code or 0)


def _open_stream(number: int) -> TextIO:
    """A standard stream as Python opens it."""
    former = (sys.stdin, sys.stdout, sys.stderr)[number]
    return open(
        number,
        "w" if number else "r",
        buffering=1 if number == 2 or os.isatty(number) else -1,
        encoding=former.encoding,
        errors=former.errors,
        closefd=False,
    )


def _run_text(text: str) -> None:
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    exec(compile(text, "<string>", "exec"), module.__dict__)


if __name__ == "__main__":
    _link = socket.socket(fileno=int(sys.argv[1]))
    _import_all()
    _end_with(_serve(_link))
