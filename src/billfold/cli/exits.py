"""The exit code of a command that met failures, and the line of the help that explains the codes."""

from __future__ import annotations

from collections.abc import Iterable

from billfold.errors import PRECEDENCE, BillfoldError, ExitCode

__all__ = ["EXIT_CODES_HELP", "ExitCode", "exit_code"]

EXIT_CODES_HELP = (
    f"**Exit codes**: {'; '.join(f'{code.value} {code.meaning}' for code in ExitCode)}. A signal ends a command"
    " within two seconds."
)


def exit_code(failures: Iterable[BillfoldError]) -> ExitCode:
    """The exit code of a command that met these failures."""
    codes = {failure.exit_code for failure in failures}
    return next((code for code in PRECEDENCE if code in codes), ExitCode.SUCCESS)
