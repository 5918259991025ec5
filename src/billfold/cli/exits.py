"""What a command's exit code tells: one number for each kind of failure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum

from billfold import errors


class ExitCode(IntEnum):
    """Scripts rely on these numbers; `billfold --help` explains them."""

    SUCCESS = 0
    INTERNAL = 1
    USAGE = 2
    SOURCE = 3
    INPUT = 4
    STORE = 5
    TRY_AGAIN = 6
    RECONCILIATION = 7
    HELD = 8
    HUNG_UP = 129
    INTERRUPTED = 130
    TERMINATED = 143


EXIT_CODES: Mapping[type[errors.BillfoldError], ExitCode] = {
    errors.BillfoldError: ExitCode.INTERNAL,
    errors.ConfigurationError: ExitCode.USAGE,
    errors.UsageError: ExitCode.USAGE,
    errors.UnauthorizedError: ExitCode.USAGE,
    errors.ForbiddenError: ExitCode.USAGE,
    errors.MessageError: ExitCode.INPUT,
    errors.SourceError: ExitCode.SOURCE,
    errors.AccessDeniedError: ExitCode.SOURCE,
    errors.SourceNotFoundError: ExitCode.SOURCE,
    errors.SourceUnavailableError: ExitCode.TRY_AGAIN,
    errors.TornDeliveryError: ExitCode.TRY_AGAIN,
    errors.SourceLimitError: ExitCode.SOURCE,
    errors.SpoolFullError: ExitCode.TRY_AGAIN,
    errors.InputError: ExitCode.INPUT,
    errors.ManifestError: ExitCode.INPUT,
    errors.UnknownFormatError: ExitCode.INPUT,
    errors.MissingColumnError: ExitCode.INPUT,
    errors.MalformedFileError: ExitCode.INPUT,
    errors.InvalidValueError: ExitCode.INPUT,
    errors.StoreError: ExitCode.STORE,
    errors.StoreUnavailableError: ExitCode.TRY_AGAIN,
    errors.StoreFullError: ExitCode.STORE,
    errors.StoreLimitError: ExitCode.STORE,
    errors.SchemaVersionError: ExitCode.STORE,
    errors.QueryError: ExitCode.STORE,
    errors.RunConflictError: ExitCode.TRY_AGAIN,
    errors.ReconciliationError: ExitCode.RECONCILIATION,
    errors.DeliveryHeldError: ExitCode.HELD,
    # An interrupted command itself ends with its signal's code.
    errors.InterruptionError: ExitCode.TRY_AGAIN,
    errors.InternalError: ExitCode.INTERNAL,
}

# Of several failures the one that most needs a person decides; trying again helps only where it helps them all.
_PRECEDENCE = (
    ExitCode.INTERNAL,
    ExitCode.RECONCILIATION,
    ExitCode.STORE,
    ExitCode.USAGE,
    ExitCode.INPUT,
    ExitCode.SOURCE,
    ExitCode.HELD,
    ExitCode.TRY_AGAIN,
)


def exit_code(failures: Iterable[errors.BillfoldError]) -> ExitCode:
    """The exit code of a command that met these failures."""
    codes = {EXIT_CODES[type(failure)] for failure in failures}
    return next((code for code in _PRECEDENCE if code in codes), ExitCode.SUCCESS)
