"""Every way in which Billfold can fail, as one tree.

    BillfoldError
    ├── ConfigurationError          a setting is wrong or missing
    ├── UsageError                  a command was asked for something that does not exist
    ├── UnauthorizedError           nobody knows who asks: no token, or one that is not valid
    ├── ForbiddenError              the token does not allow what was asked for
    ├── MessageError                a message of the queue is none that we understand
    ├── SourceError                 AWS or the file system does not give what was asked for
    │   ├── AccessDeniedError           the role, the bucket or the key refuses us
    │   ├── SourceNotFoundError         no such bucket, key, file or folder
    │   ├── SourceUnavailableError      throttled, timed out, connection lost       (retryable)
    │   ├── TornDeliveryError           the delivery changed while it was read      (retryable)
    │   ├── SourceLimitError            larger than a limit
    │   └── SpoolFullError              no room to spool it now                     (retryable)
    ├── InputError                  the file cannot be a complete bill
    │   ├── ManifestError               the manifest cannot be read or names missing files
    │   ├── UnknownFormatError          not a billing export that we know
    │   ├── MissingColumnError          a column without which money or identity is unknown
    │   ├── MalformedFileError          truncated, ragged or not text
    │   └── InvalidValueError           a value that counts cannot be what it stands for
    ├── StoreError                  PostgreSQL refuses or does not answer
    │   ├── StoreUnavailableError       connection refused or lost                  (retryable)
    │   ├── StoreFullError              no room on PostgreSQL's disk
    │   ├── StoreLimitError             a limit of PostgreSQL's administrator, such as statement_timeout
    │   ├── SchemaVersionError          migrations are missing or from a newer Billfold
    │   └── QueryError                  the operator's own query is wrong
    ├── RunConflictError            another worker holds the statement               (retryable)
    ├── ReconciliationError         rows or money do not agree: nothing was published
    ├── DeliveryHeldError           too much of the bill would go: it waits for its release
    ├── InterruptionError           a signal ended the command first                 (retryable)
    └── InternalError               a defect of Billfold's own; its traceback is kept

Each class has a stable `error_code`, which lands in `billing_ingestion_runs`, says whether the same
attempt can succeed later (`retryable`), and is raised with one line that names the place and what to do.
"""

from __future__ import annotations

from typing import ClassVar

# What is longer helps nobody: a file can name a column or a key of megabytes.
_MAX_TEXT_CHARACTERS = 2_000
_MAX_NAME_CHARACTERS = 200


class BillfoldError(Exception):
    """A failure that Billfold understands; its text is one line for the operator."""

    error_code: ClassVar[str] = "billfold_error"
    retryable: ClassVar[bool] = False
    _has_lines: ClassVar[bool] = False

    def __init__(self, message: str, *, advice: str = "") -> None:
        self.message = message if self._has_lines else _one_line(message)
        self.advice = advice
        super().__init__(f"{self.message}: {advice}" if advice else self.message)


class ConfigurationError(BillfoldError):
    error_code = "configuration"
    # Each wrong setting has a line of its own.
    _has_lines = True


class UsageError(BillfoldError):
    error_code = "usage"


class UnauthorizedError(BillfoldError):
    error_code = "unauthorized"


class ForbiddenError(BillfoldError):
    error_code = "forbidden"


class MessageError(BillfoldError):
    error_code = "message"


class SourceError(BillfoldError):
    error_code = "source"


class AccessDeniedError(SourceError):
    error_code = "access_denied"


class SourceNotFoundError(SourceError):
    error_code = "source_not_found"


class SourceUnavailableError(SourceError):
    error_code = "source_unavailable"
    retryable = True


class TornDeliveryError(SourceError):
    error_code = "torn_delivery"
    retryable = True


class SourceLimitError(SourceError):
    error_code = "source_limit"


class SpoolFullError(SourceError):
    error_code = "spool_full"
    retryable = True


class InputError(BillfoldError):
    """Bad input, with the place where it stands: file, physical line (the header is 1), column, value."""

    error_code = "input"

    def __init__(
        self,
        message: str,
        *,
        file: str,
        line: int | None = None,
        column: str | None = None,
        value: str | None = None,
        advice: str = "",
    ) -> None:
        self.file = file
        self.line = line
        self.column = column
        self.value = value
        place = file
        if line is not None:
            place += f", line {line}"
        if column is not None:
            # A tag key in a header may hold the end of a line: the message stays one line.
            shown = column if len(column) <= _MAX_NAME_CHARACTERS else f"{column[:_MAX_NAME_CHARACTERS]}…"
            place += f", column {shown if shown.isprintable() else repr(shown)}"
        if value is not None:
            place += f", value {value[:80]!r}"
        super().__init__(f"{place}: {message}", advice=advice)


class ManifestError(InputError):
    error_code = "manifest"


class UnknownFormatError(InputError):
    error_code = "unknown_format"


class MissingColumnError(InputError):
    error_code = "missing_column"


class MalformedFileError(InputError):
    error_code = "malformed_file"


class InvalidValueError(InputError):
    error_code = "invalid_value"


class StoreError(BillfoldError):
    error_code = "store"


class StoreUnavailableError(StoreError):
    error_code = "store_unavailable"
    retryable = True


class StoreFullError(StoreError):
    error_code = "store_full"


class StoreLimitError(StoreError):
    error_code = "store_limit"


class SchemaVersionError(StoreError):
    error_code = "schema_version"


class QueryError(StoreError):
    error_code = "query"


class RunConflictError(BillfoldError):
    error_code = "run_conflict"
    retryable = True


class ReconciliationError(BillfoldError):
    error_code = "reconciliation"


class DeliveryHeldError(BillfoldError):
    error_code = "held"


class InterruptionError(BillfoldError):
    """How an attempt is written down that a signal ended; `interruption.Interruption` is what unwinds it."""

    error_code = "interrupted"
    retryable = True


class InternalError(BillfoldError):
    error_code = "internal"


def as_internal(error: BaseException) -> InternalError:
    """What nobody foresaw, in one line; its traceback stays with the exception itself."""
    lines = str(error).strip().splitlines()
    return InternalError(f"{type(error).__name__}: {lines[0] if lines else ''}")


def _one_line(text: str) -> str:
    """The text as a terminal, a log and PostgreSQL can hold it: what does not print is escaped."""
    if len(text) > _MAX_TEXT_CHARACTERS:
        text = f"{text[:_MAX_TEXT_CHARACTERS]}…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c == "\n" else ascii(c)[1:-1] for c in text)
