"""A terminal of any width: what commands show on it, and whether every value stands there whole."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from rich.cells import cell_len
from rich.console import Console

from billfold.cli import main

WIDTHS = (40, 80, 100, 120, 200)
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LEFT_OUT = re.compile(r"^columns? left out: (.*); widen the window or use --json$", re.MULTILINE)


def console_of(width: int) -> tuple[Console, io.StringIO]:
    """A console that takes its output for a terminal of this width, and the output."""
    output = io.StringIO()
    return Console(file=output, width=width, force_terminal=True, color_system=None, highlight=False), output


def run_on_pty(width: int, *words: str) -> tuple[int, str]:
    """The exit code of a command on a real pseudo-terminal, and what that showed, without colours."""
    with _terminal(width) as master, ThreadPoolExecutor(1) as reader:
        shown = reader.submit(_read_all, master)
        with _as_standard_streams():
            code = main(words)
        text = shown.result().decode()
    return code, _ESCAPE.sub("", text).replace("\r\n", "\n")


def list_left_out(text: str) -> list[str]:
    """The headers of the columns that the tables say they leave out."""
    return [header for headers in _LEFT_OUT.findall(text) for header in headers.split(", ")]


def list_broken(text: str, width: int, values: Iterable[tuple[str, str]]) -> list[str]:
    """What is wrong with a table: values, by their columns' headers, that are neither whole nor said to be left out.

    A line is wider than the window only where it is one value, or a message: only what tables and blocks put side by
    side has two blanks in between.
    """
    left_out = list_left_out(text)
    broken = [
        f"{header} {value!r} is not there" for header, value in values if value not in text and header not in left_out
    ]
    wide = (line for line in text.splitlines() if cell_len(line) > width and "  " in line.strip())
    return [*broken, *(f"{cell_len(line)} columns: {line!r}" for line in wide)]


@contextmanager
def _terminal(width: int) -> Iterator[int]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    saved = [os.dup(number) for number in range(3)]
    for number in range(3):
        os.dup2(slave, number)
    os.close(slave)
    try:
        yield master
    finally:
        for number, former in enumerate(saved):
            os.dup2(former, number)
            os.close(former)
        os.close(master)


@contextmanager
def _as_standard_streams() -> Iterator[None]:
    """Python's own streams lead to the terminal too; in the end it hangs up, so that its reader sees the end."""
    former = sys.stdout, sys.stderr
    null = os.open(os.devnull, os.O_RDWR)
    try:
        with open(1, "w", encoding="utf-8", closefd=False) as output:
            sys.stdout = sys.stderr = output
            yield
    finally:
        sys.stdout, sys.stderr = former
        for number in range(3):
            os.dup2(null, number)
        os.close(null)


def _read_all(master: int) -> bytes:
    """Everything until the terminal's last user is gone, which Linux tells as an error."""
    read = bytearray()
    while True:
        try:
            chunk = os.read(master, 65_536)
        except OSError:
            return bytes(read)
        if not chunk:
            return bytes(read)
        read += chunk
