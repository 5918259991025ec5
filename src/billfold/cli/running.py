"""How a command runs: a known failure is one line, an unknown one keeps its traceback."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

from billfold import interruption
from billfold.cli.command_list import LIST_NAMES
from billfold.cli.exits import ExitCode, exit_code
from billfold.cli.output.streams import discard_output, print_version, write_document
from billfold.errors import BillfoldError, as_internal
from billfold.log import Event

__all__ = ["fail", "run"]


def run(words: Sequence[str]) -> ExitCode:
    """Run one command and return its exit code; an Interruption goes on to the caller."""
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal's encoding lacks is escaped, and crashes nothing.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        code = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        code = ExitCode.SUCCESS
    return code


def _run(words: Sequence[str]) -> ExitCode:
    try:
        match list(words):
            case ["--version"]:
                print_version()
            case [] | ["-h"] | ["--help"]:
                from billfold.cli.overview import show_overview

                show_overview()
            case _:
                return _run_command(words)
    except BillfoldError as error:
        interruption.check()
        return _fail(words, exit_code([error]), error.error_code, str(error))
    except BrokenPipeError:
        raise
    except Exception as error:
        interruption.check()
        structlog = sys.modules.get("structlog")
        if structlog and structlog.is_configured():
            structlog.get_logger(__name__).exception(Event.INTERNAL_ERROR)
        else:
            traceback.print_exc()
        return _fail(words, ExitCode.INTERNAL, "internal", str(as_internal(error)))
    return ExitCode.SUCCESS


def _run_command(words: Sequence[str]) -> ExitCode:
    # Typer takes longer to load than the overview of the commands takes altogether.
    import typer

    from billfold.cli.application import choose_application

    try:
        code = typer.main.get_command(choose_application(words)).main(
            list(words), prog_name="billfold", standalone_mode=False
        )
    except typer.TyperException as error:
        # The command line itself is wrong; commands fail with errors of Billfold's.
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "billfold"
        # A group without a command has shown its help and says nothing more.
        message = error.format_message().replace("Value error, ", "").rstrip(".") or "which command?"
        return _fail(words, ExitCode.USAGE, "usage", f"{message}: see {path} --help")
    except typer.Abort:
        raise interruption.Interruption from None
    if code == ExitCode.INTERRUPTED:
        # What typer makes of a KeyboardInterrupt.
        raise interruption.Interruption
    return ExitCode(code or ExitCode.SUCCESS)


def _fail(words: Sequence[str], code: ExitCode, error_code: str, message: str) -> ExitCode:
    fail(words, error_code, message)
    return code


def fail(words: Sequence[str], error_code: str, message: str) -> None:
    """The failure as a line on standard error and, where one was asked for, as the JSON document."""
    from billfold.cli.output.screen import show_error

    if "--json" in words:
        from billfold.documents import dump, failure_document

        command = next((word for word in words if not word.startswith("-")), "")
        write_document(dump(failure_document(LIST_NAMES.get(command), error_code, message)))
    show_error(message)
