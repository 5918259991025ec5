"""All commands, and how one of them is run: a known failure is one line, an unknown one keeps its traceback."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence

import structlog
import typer

from billfold import interruption
from billfold.cli.application import LIST_NAMES, app, arrange
from billfold.cli.commands import backup as _backup  # noqa: F401
from billfold.cli.commands import checks as _quality  # noqa: F401
from billfold.cli.commands import client_change as _client_change  # noqa: F401
from billfold.cli.commands import clients as _clients  # noqa: F401
from billfold.cli.commands import costs as _costs  # noqa: F401
from billfold.cli.commands import deliveries as _deliveries  # noqa: F401
from billfold.cli.commands import dlq as _dlq  # noqa: F401
from billfold.cli.commands import doctor as _doctor  # noqa: F401
from billfold.cli.commands import export as _export  # noqa: F401
from billfold.cli.commands import history as _history  # noqa: F401
from billfold.cli.commands import ingest as _commands  # noqa: F401, registers the commands
from billfold.cli.commands import onboard as _onboard  # noqa: F401
from billfold.cli.commands import owners as _owners  # noqa: F401
from billfold.cli.commands import schedule as _schedule  # noqa: F401
from billfold.cli.commands import serve as _serve  # noqa: F401
from billfold.cli.commands import statements as _statements  # noqa: F401
from billfold.cli.commands import token as _token  # noqa: F401
from billfold.cli.commands import verify as _verification  # noqa: F401
from billfold.cli.commands import worker as _worker  # noqa: F401
from billfold.cli.exits import ExitCode, exit_code
from billfold.cli.output.screen import discard_output, show_error, write_document
from billfold.documents import dump, failure_document
from billfold.errors import BillfoldError, as_internal
from billfold.log import Event

__all__ = ["app", "fail", "run"]

arrange()


def run(words: Sequence[str]) -> ExitCode:
    """Run one command and return its exit code; an Interruption goes on to the caller."""
    for stream in (sys.stdout, sys.stderr):
        # Whatever the terminal's encoding lacks is spelled out rather than a crash.
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
        code = typer.main.get_command(app).main(list(words) or ["--help"], prog_name="billfold", standalone_mode=False)
    except typer.TyperException as error:
        # A command line that cannot be understood; the commands themselves fail with errors of Billfold's.
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "billfold"
        # A group without a command has shown its help and says nothing more.
        message = error.format_message().replace("Value error, ", "").rstrip(".") or "which command?"
        return _fail(words, ExitCode.USAGE, "usage", f"{message}: see {path} --help")
    except BillfoldError as error:
        interruption.check()
        return _fail(words, exit_code([error]), error.error_code, str(error))
    except typer.Abort:
        raise interruption.Interruption from None
    except BrokenPipeError:
        raise
    except Exception as error:
        interruption.check()
        if structlog.is_configured():
            structlog.get_logger(__name__).exception(Event.INTERNAL_ERROR)
        else:
            traceback.print_exc()
        return _fail(words, ExitCode.INTERNAL, "internal", str(as_internal(error)))
    if code == ExitCode.INTERRUPTED:
        # What typer makes of a KeyboardInterrupt.
        raise interruption.Interruption
    return ExitCode(code or ExitCode.SUCCESS)


def _fail(words: Sequence[str], code: ExitCode, error_code: str, message: str) -> ExitCode:
    fail(words, error_code, message)
    return code


def fail(words: Sequence[str], error_code: str, message: str) -> None:
    """The failure as a line on standard error and, where one was asked for, as the JSON document."""
    if "--json" in words:
        command = next((word for word in words if not word.startswith("-")), "")
        write_document(dump(failure_document(LIST_NAMES.get(command), error_code, message)))
    show_error(message)
