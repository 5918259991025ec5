"""Errors of the input: the file cannot be a complete bill."""

from __future__ import annotations

from billfold.errors.exit_codes import ExitCode
from billfold.errors.root import BillfoldError

_MAX_NAME_CHARACTERS = 200


class InputError(BillfoldError):
    """Bad input of a kind that no other code names.

    The message begins with the place: file, physical line (the header is 1), column, value.
    """

    error_code = "input"
    exit_code = ExitCode.INPUT
    http_status = 422
    general_advice = "Read the message, and wait for the next delivery."

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
    """A manifest cannot be read: it names a file twice, contains a number that is too long, or names missing files."""

    error_code = "manifest"
    general_advice = (
        "Wait for the next delivery. If the bucket is a copy of the client's, copy the export's whole folder again."
    )


class UnknownFormatError(InputError):
    """The file is not an AWS billing export: other columns, FOCUS of another provider, or FOCUS before 1.0."""

    error_code = "unknown_format"
    general_advice = "Check which export writes to this folder."


class MissingColumnError(InputError):
    """A required column is missing: money or identity depends on it."""

    error_code = "missing_column"
    general_advice = "Select the column in the export."


class MalformedFileError(InputError):
    """The file is truncated, ragged or not text. Or it is empty or encrypted, or contains the character NUL, a line
    of more than 2 MB, a header of more than 1 MB or more than 5,000 columns. Or two readers disagree on its rows or, in
    Parquet, on its values.
    """

    error_code = "malformed_file"
    general_advice = "Wait for the next delivery: AWS writes the whole file again."


class InvalidValueError(InputError):
    """A required value is missing or impossible: a cost is not a number, a time is not ISO 8601, an account id has an
    exponent or a fraction, or a delivery contains two billing periods.
    """

    error_code = "invalid_value"
    general_advice = "Wait for the next delivery. If a spreadsheet changed the file, deliver it again as AWS wrote it."
