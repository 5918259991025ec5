"""Errors of the source: AWS or the file system does not return the bill."""

from __future__ import annotations

from billfold.errors.exit_codes import ExitCode
from billfold.errors.root import BillfoldError


class SourceError(BillfoldError):
    """AWS or the file system does not return the object. No other code names the reason."""

    error_code = "source"
    exit_code = ExitCode.SOURCE
    http_status = 502
    general_advice = "Read the message. An archived object must be restored first."


class AccessDeniedError(SourceError):
    """The role, the bucket or the key denies access."""

    error_code = "access_denied"
    general_advice = (
        "`billfold doctor` names the right that is missing. Check trust policy, external id, permissions, KMS key and"
        " BILLFOLD_ACCOUNT_ID."
    )


class SourceNotFoundError(SourceError):
    """No such bucket, key, file or folder."""

    error_code = "source_not_found"
    http_status = 404
    general_advice = "Check the spelling, upper and lower case included."


class SourceUnavailableError(SourceError):
    """AWS throttled the request, timed out, or closed the connection."""

    error_code = "source_unavailable"
    retryable = True
    exit_code = ExitCode.TRY_AGAIN
    http_status = 503
    general_advice = "Try again later."


class TornDeliveryError(SourceError):
    """The delivery changed while it was read: AWS replaced it, or is writing the next one over it."""

    error_code = "torn_delivery"
    retryable = True
    exit_code = ExitCode.TRY_AGAIN
    http_status = 503
    general_advice = "Wait for the manifest of the next delivery, which replaces this one."


class SourceLimitError(SourceError):
    """An object exceeds a limit. Or the text of its rows does, or a bill needs more memory than
    `BILLFOLD_MEMORY_LIMIT_MB` allows.
    """

    error_code = "source_limit"
    http_status = 413
    general_advice = "Raise the limit that the message names, if a bill of this size is expected."


class SpoolFullError(SourceError):
    """The spool's disk is full. Or the user's quota is, while files are fetched, unpacked or processed."""

    error_code = "spool_full"
    retryable = True
    exit_code = ExitCode.TRY_AGAIN
    http_status = 503
    general_advice = "Wait for other work to end, free some space, or set BILLFOLD_SPOOL to a larger disk."
