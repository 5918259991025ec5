"""The root of the tree of errors, and the errors that are neither the source's, the input's nor the database's."""

from __future__ import annotations

from typing import ClassVar

from billfold.errors.exit_codes import ExitCode

# A file can name a column or a key of megabytes: messages stay readable.
_MAX_TEXT_CHARACTERS = 2_000


class BillfoldError(Exception):
    """The root of the tree. No run has this code.

    Each class states what is the same for all its errors: `error_code` (in the database, in logs and in JSON),
    `retryable` (the same attempt can succeed later), `exit_code` of a command, `http_status` of an answer, and
    `general_advice` for the operator; its docstring says what it means. An error itself has a `message` of one line
    and, where there is more to say than in general, an `advice`.
    """

    error_code: ClassVar[str] = "billfold_error"
    retryable: ClassVar[bool] = False
    exit_code: ClassVar[ExitCode] = ExitCode.INTERNAL
    http_status: ClassVar[int] = 500
    general_advice: ClassVar[str] = "Read the message. If it does not say what to do, report it with the delivery's id."
    _has_lines: ClassVar[bool] = False

    def __init__(self, message: str, *, advice: str = "") -> None:
        self.message = message if self._has_lines else _one_line(message)
        self.advice = advice
        super().__init__(f"{self.message}: {advice}" if advice else self.message)


class ConfigurationError(BillfoldError):
    """A setting is wrong or missing. AWS credentials and the region count as settings."""

    error_code = "configuration"
    exit_code = ExitCode.USAGE
    general_advice = "Correct the setting that the message names, then ingest again."
    # Each wrong setting has a line of its own.
    _has_lines = True


class UsageError(BillfoldError):
    """The command names something that does not exist. Or it names a file that belongs to another client."""

    error_code = "usage"
    exit_code = ExitCode.USAGE
    http_status = 400
    general_advice = "Correct the command."


class UnauthorizedError(BillfoldError):
    """The request has no valid token: none at all, or one that is unknown, revoked or expired."""

    error_code = "unauthorized"
    exit_code = ExitCode.USAGE
    http_status = 401
    general_advice = "`billfold token list` shows the valid tokens, and `billfold token add` creates one."


class ForbiddenError(BillfoldError):
    """The token does not allow this: it lacks the scope, or is for another client."""

    error_code = "forbidden"
    exit_code = ExitCode.USAGE
    http_status = 403
    general_advice = "Create a token with the scope: `billfold token add`."


class MessageError(BillfoldError):
    """A message of the queue cannot be read: it is not JSON, or not one that Billfold, AWS or EventBridge writes."""

    error_code = "message"
    exit_code = ExitCode.INPUT
    http_status = 422
    general_advice = (
        "Look at the message in the dead-letter queue (`billfold dlq list`): anyone who can write to the queue may have"
        " sent it."
    )


class RunConflictError(BillfoldError):
    """Another worker holds the statement. Or it published the statement meanwhile, or locks its partitions, or
    PostgreSQL reports a deadlock or a conflict between transactions.
    """

    error_code = "run_conflict"
    retryable = True
    exit_code = ExitCode.TRY_AGAIN
    http_status = 503
    general_advice = "Try again when the other worker has finished."


class ReconciliationError(BillfoldError):
    """Rows or money do not agree with the source. Or a rollback would not restore the earlier bill."""

    error_code = "reconciliation"
    exit_code = ExitCode.RECONCILIATION
    general_advice = "Nothing was published. Report it with the delivery's id."


class DeliveryHeldError(BillfoldError):
    """A delivery would leave too little of its statement's bill. No run has this code."""

    error_code = "held"
    exit_code = ExitCode.HELD
    http_status = 409
    general_advice = (
        "Look at the export. Then wait for the next delivery, or release this one with `billfold release`. The earlier"
        " bill stays current until then."
    )


class InterruptionError(BillfoldError):
    """A signal ended the command. Or its worker died while the delivery was `running`."""

    # This is how the attempt is recorded. `interruption.Interruption` unwinds it, and its command ends with the
    # signal's own exit code.
    error_code = "interrupted"
    retryable = True
    exit_code = ExitCode.TRY_AGAIN
    http_status = 503
    general_advice = "Ingest again, unless a newer delivery is already published."


class InternalError(BillfoldError):
    """A defect in Billfold. The log has its traceback, and the other deliveries continue."""

    error_code = "internal"
    general_advice = "Report it with the traceback from the log and the delivery's id."


def as_internal(error: BaseException) -> InternalError:
    """An unexpected error in one line; its traceback stays with the exception itself."""
    lines = str(error).strip().splitlines()
    return InternalError(f"{type(error).__name__}: {lines[0] if lines else ''}")


def _one_line(text: str) -> str:
    """The text as a terminal, a log and PostgreSQL can hold it: characters that do not print are escaped."""
    if len(text) > _MAX_TEXT_CHARACTERS:
        text = f"{text[:_MAX_TEXT_CHARACTERS]}…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c == "\n" else ascii(c)[1:-1] for c in text)
