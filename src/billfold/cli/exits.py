"""The exit code of a command that met failures, and the line of the help that explains the codes."""

from __future__ import annotations

from collections.abc import Iterable

from billfold.errors import PRECEDENCE, BillfoldError, ExitCode

__all__ = ["EXIT_CODES_HELP", "ExitCode", "choose_exit_code", "end_with", "exit_code"]

EXIT_CODES_HELP = (
    f"**Exit codes**: {'; '.join(f'{code.value} {code.meaning}' for code in ExitCode)}. A signal ends a command"
    " within two seconds."
)


def exit_code(failures: Iterable[BillfoldError]) -> ExitCode:
    """The exit code of a command that met these failures."""
    return choose_exit_code(failure.exit_code for failure in failures)


def choose_exit_code(codes: Iterable[ExitCode]) -> ExitCode:
    """The one of these that a command ends with."""
    met = set(codes)
    return next((code for code in PRECEDENCE if code in met), ExitCode.SUCCESS)


def end_with(failures: Iterable[BillfoldError | None]) -> ExitCode:
    """Print a line for each failure, and return the exit code of them all."""
    from billfold.cli.output.screen import show_error

    met = [failure for failure in failures if failure]
    for failure in met:
        show_error(str(failure))
    return exit_code(met)
