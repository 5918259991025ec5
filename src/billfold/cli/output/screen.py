"""Standard output and standard error: people's tables and bars on a terminal, plain lines everywhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from billfold.cli.output.streams import discard_output

if TYPE_CHECKING:
    from rich.progress import TaskID

# Wide enough for any row: what reads a pipe wants whole lines.
_PIPE_WIDTH = 100_000
_CONTROL_CHARACTERS = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}
# These turn the direction of what follows, or end a line.
_CONTROL_CHARACTERS |= {
    code: f"\\u{code:04x}"
    for code in (0x061C, 0x200E, 0x200F, 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}


class Screen(Console):
    """A console that takes no data for markup and ends quietly when its reader has gone.

    Lines run over a narrow window's edge, where the terminal wraps them: ids and names can be copied whole.
    """

    def __init__(self, *, stderr: bool = False, is_live: bool = False) -> None:
        self.has_no_reader = False
        is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
        super().__init__(
            stderr=stderr,
            markup=False,
            emoji=False,
            highlight=False,
            soft_wrap=not (is_terminal and is_live),
            width=None if is_terminal else _PIPE_WIDTH,
        )

    def on_broken_pipe(self) -> None:
        """`billfold runs | head`: what follows goes nowhere, and the exit code stays the command's own."""
        self.has_no_reader = True
        discard_output()


def show_error(text: str) -> None:
    """One line for each line of an error, in red on a terminal; the exit code is the same if no one can read it."""
    with suppress(OSError):
        for line in text.splitlines() or [""]:
            Screen(stderr=True).print(Text(f"error: {printable(line)}", style="bold red"), soft_wrap=True)


def print_line(screen: Console, text: str, *, style: str) -> None:
    """One line in a style, with any data in it."""
    screen.print(Text(printable(text), style=style), soft_wrap=True)


def printable(text: str) -> str:
    """The text with control characters spelled out: data must not steer the terminal."""
    return text.translate(_CONTROL_CHARACTERS)


class FetchBar:
    """The progress of fetching on standard error, for somebody who watches; what comes after is a turning wheel."""

    def __init__(self) -> None:
        from rich import progress

        self._bars = progress.Progress(
            progress.SpinnerColumn(),
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.DownloadColumn(),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
            console=Screen(stderr=True, is_live=True),
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> FetchBar:
        # It starts with the first delivery: what fails before leaves only its error line.
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bars.stop()

    def started(self, total_bytes: int) -> None:
        """A delivery is fetched; a bar that is left of another one goes."""
        self._bars.start()
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task("Fetching", total=total_bytes)

    def advanced(self, size_bytes: int) -> None:
        """This much more of it is here."""
        assert self._task is not None
        self._bars.advance(self._task, size_bytes)
        if self._bars.tasks[-1].finished:
            self._bars.update(self._task, description="Parsing and landing")


@contextmanager
def fetch_bar() -> Iterator[FetchBar | None]:
    """A bar where somebody watches, nothing elsewhere."""
    watched: AbstractContextManager[FetchBar | None] = FetchBar() if sys.stderr.isatty() else nullcontext()
    with watched as bar:
        yield bar
