"""The command line: translates arguments into one call, and its outcome into text and an exit code."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from billfold import interruption

__all__ = ["main"]

# The usual 700 makes the collector go through all that is imported several times: a tenth of a short command.
_COLLECT_AFTER_OBJECTS = 10_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; without `arguments` the process's own, and it ends with them.

    Everything else is imported with the signals watched: Ctrl-C at the very start has no traceback either.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)

    def report(number: int, how: str) -> None:
        _report(words, signal.Signals(number), how)

    is_own = arguments is None
    if is_own:
        gc.set_threshold(_COLLECT_AFTER_OBJECTS)
    with interruption.watching(report, until_end=is_own) as watch:
        try:
            try:
                from billfold.cli.running import run

                code = run(words)
                watch.end()
            except KeyboardInterrupt:
                # Of a driver that handles the signal itself.
                raise interruption.Interruption from None
            interruption.check()
        except interruption.Interruption:
            if is_own:
                watch.leave()
            return watch.finish()
        return int(code)


def __getattr__(name: str) -> Any:
    if name == "app":
        from billfold.cli.application import app, load_commands

        load_commands()
        return app
    raise AttributeError(name)


def _report(words: Sequence[str], number: signal.Signals, how: str) -> None:
    """Say that the command was interrupted, and how its work was left; in few words where nothing is imported yet."""
    message = f"interrupted by {number.name}" + (f": {how}" if how else "")
    if "billfold.cli.running" not in sys.modules:
        os.write(2, f"error: {message}\n".encode())
        return
    from billfold.cli.running import fail

    fail(words, "interrupted", message)
