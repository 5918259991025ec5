"""The command line: translates arguments into one call, and its outcome into text and an exit code."""

from __future__ import annotations

import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType

import structlog
import typer

from billfold.cli import backup as _backup  # noqa: F401
from billfold.cli import client_change as _client_change  # noqa: F401
from billfold.cli import clients as _clients  # noqa: F401
from billfold.cli import commands as _commands  # noqa: F401, registers the commands
from billfold.cli import costs as _costs  # noqa: F401
from billfold.cli import deliveries as _deliveries  # noqa: F401
from billfold.cli import dlq as _dlq  # noqa: F401
from billfold.cli import doctor as _doctor  # noqa: F401
from billfold.cli import export as _export  # noqa: F401
from billfold.cli import history as _history  # noqa: F401
from billfold.cli import onboard as _onboard  # noqa: F401
from billfold.cli import owners as _owners  # noqa: F401
from billfold.cli import quality as _quality  # noqa: F401
from billfold.cli import schedule as _schedule  # noqa: F401
from billfold.cli import serve as _serve  # noqa: F401
from billfold.cli import statements as _statements  # noqa: F401
from billfold.cli import token as _token  # noqa: F401
from billfold.cli import verification as _verification  # noqa: F401
from billfold.cli import worker as _worker  # noqa: F401
from billfold.cli.application import LIST_NAMES, app, arrange
from billfold.cli.exits import ExitCode, exit_code
from billfold.cli.screen import discard_output, show_error, write_document
from billfold.documents import dump, failure_document
from billfold.errors import BillfoldError

__all__ = ["main"]

arrange()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; a known failure is one line, an unknown one keeps its traceback."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        # Whatever the terminal's encoding lacks is spelled out rather than a crash.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    signal.signal(signal.SIGTERM, _end)
    try:
        code = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        code = ExitCode.SUCCESS
    return int(code)


def _run(words: list[str]) -> int:
    try:
        code = typer.main.get_command(app).main(words or ["--help"], prog_name="billfold", standalone_mode=False)
    except typer.TyperException as error:
        # A command line that cannot be understood; the commands themselves fail with errors of Billfold's.
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "billfold"
        # A group without a command has shown its help and says nothing more.
        message = error.format_message().replace("Value error, ", "").rstrip(".") or "which command?"
        return _fail(words, ExitCode.USAGE, "usage", f"{message}: see {path} --help")
    except BillfoldError as error:
        return _fail(words, exit_code([error]), error.error_code, str(error))
    except SystemExit as end:
        if end.code == ExitCode.TERMINATED:
            return _fail(words, ExitCode.TERMINATED, "terminated", "terminated")
        raise
    except (KeyboardInterrupt, typer.Abort):
        return _fail(words, ExitCode.INTERRUPTED, "interrupted", "interrupted")
    except BrokenPipeError:
        raise
    except Exception as error:
        if structlog.is_configured():
            structlog.get_logger(__name__).exception("internal_error")
        else:
            traceback.print_exc()
        return _fail(words, ExitCode.INTERNAL, "internal", f"{type(error).__name__}: {error}")
    if code == ExitCode.INTERRUPTED:
        return _fail(words, ExitCode.INTERRUPTED, "interrupted", "interrupted")
    return code or ExitCode.SUCCESS


def _fail(words: Sequence[str], code: ExitCode, error_code: str, message: str) -> ExitCode:
    """The failure as a line on standard error and, where one was asked for, as the JSON document."""
    if "--json" in words:
        command = next((word for word in words if not word.startswith("-")), "")
        write_document(dump(failure_document(LIST_NAMES.get(command), error_code, message)))
    show_error(message)
    return code


def _end(_number: int, _frame: FrameType | None) -> None:
    # Ends like any exit, so that the delivery's failure is kept and the embedded server stops with its last user.
    sys.exit(ExitCode.TERMINATED)
