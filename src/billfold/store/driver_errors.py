"""What an error of PostgreSQL means to an operator: by its SQLSTATE, else by its words."""

from __future__ import annotations

import re
from dataclasses import dataclass

import adbc_driver_manager
import psycopg

from billfold.errors import (
    BillfoldError,
    RunConflictError,
    StoreError,
    StoreFullError,
    StoreLimitError,
    StoreUnavailableError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Meaning:
    """A kind of error and its translation; `says` quotes the server's own words.

    It is recognized by the beginning of its code, or by a phrase if there is no code; it must contain `words` too.
    """

    codes: tuple[str, ...]
    phrases: tuple[str, ...] = ()
    words: str = ""
    kind: type[StoreError | RunConflictError]
    says: str
    advice: str

    def fits(self, code: str | None, text: str) -> bool:
        is_known = code.startswith(self.codes) if code else any(each in text for each in self.phrases)
        return is_known and self.words in text


_FULL = "free or add space on the database's disk, then run this again"
# The first match is taken. The codes: PostgreSQL documentation, appendix A. A refused connection, a stream and a
# session that the server ended come without one.
_MEANINGS = (
    _Meaning(
        codes=("57014",),
        phrases=("canceling statement due to statement timeout",),
        words="statement timeout",
        kind=StoreLimitError,
        says="a statement took longer than PostgreSQL's statement_timeout allows ({})",
        advice="raise it for Billfold's role, or set it to 0: ALTER ROLE … SET statement_timeout = 0",
    ),
    _Meaning(
        codes=("57014",),
        phrases=("canceling statement due to user request",),
        words="user request",
        kind=StoreError,
        says="an administrator of PostgreSQL cancelled the statement ({})",
        advice="ask who called pg_cancel_backend, then run this again",
    ),
    _Meaning(
        codes=("57014",),
        kind=StoreError,
        says="PostgreSQL cancelled the statement, because of its statement_timeout or of an administrator ({})",
        advice="raise statement_timeout for Billfold's role, then run this again",
    ),
    _Meaning(
        codes=("53100",),
        phrases=("No space left on device", "Disk quota exceeded"),
        kind=StoreFullError,
        says="PostgreSQL's disk is full ({})",
        advice=_FULL,
    ),
    _Meaning(
        codes=("58", "XX"),
        words="No space left on device",
        kind=StoreFullError,
        says="PostgreSQL's disk is full ({})",
        advice=_FULL,
    ),
    _Meaning(
        codes=("58", "XX"),
        words="Disk quota exceeded",
        kind=StoreFullError,
        says="PostgreSQL's disk quota is used up ({})",
        advice=_FULL,
    ),
    _Meaning(
        codes=("53200",),
        phrases=("out of shared memory",),
        words="shared memory",
        kind=StoreLimitError,
        says="PostgreSQL's shared memory is full ({})",
        advice="raise max_locks_per_transaction on the server",
    ),
    _Meaning(
        codes=("53200",),
        phrases=("out of memory",),
        kind=StoreLimitError,
        says="PostgreSQL has run out of memory ({})",
        advice="give the database server more memory, or lower its work_mem",
    ),
    _Meaning(
        codes=("53300",),
        phrases=("too many clients", "too many connections", "connection slots are reserved", "no more connections"),
        kind=StoreUnavailableError,
        says="PostgreSQL has no connection left ({})",
        advice="try again when others have ended, or raise max_connections, or the CONNECTION LIMIT of the role",
    ),
    _Meaning(
        codes=("53400",),
        phrases=("exceeds temp_file_limit",),
        kind=StoreLimitError,
        says="a limit of PostgreSQL's configuration is reached ({})",
        advice="raise the limit that the line names: ALTER ROLE … SET temp_file_limit = -1",
    ),
    _Meaning(
        codes=("53",),
        kind=StoreLimitError,
        says="PostgreSQL lacks resources ({})",
        advice="read the server's log",
    ),
    _Meaning(
        codes=("25P04",),
        phrases=("due to transaction timeout",),
        kind=StoreLimitError,
        says="a transaction took longer than PostgreSQL's transaction_timeout allows ({})",
        advice="raise it for Billfold's role",
    ),
    _Meaning(
        codes=("25P03", "57P05"),
        phrases=("due to idle-in-transaction timeout", "due to idle-session timeout"),
        kind=StoreLimitError,
        says="PostgreSQL ended a session that was idle for longer than its timeout allows ({})",
        advice="set idle_in_transaction_session_timeout and idle_session_timeout to 0 for Billfold's role",
    ),
    _Meaning(
        codes=("25006",),
        phrases=("read-only transaction",),
        kind=StoreError,
        says="PostgreSQL takes no changes here ({})",
        advice="connect to the primary, not to a standby; else see why default_transaction_read_only is on",
    ),
    _Meaning(
        codes=("55P03",),
        phrases=("canceling statement due to lock timeout",),
        kind=RunConflictError,
        says="another session holds a lock that is needed ({})",
        advice="try again when it has finished",
    ),
    _Meaning(
        codes=("40P01",),
        phrases=("deadlock detected",),
        kind=RunConflictError,
        says="another session waited for what this one holds, and this one for it ({})",
        advice="try again",
    ),
    _Meaning(
        codes=("40",),
        phrases=("conflict with recovery",),
        words="recovery",
        kind=StoreUnavailableError,
        says="the standby cancelled the query to apply changes of its primary ({})",
        advice="try again, or raise max_standby_streaming_delay there",
    ),
    _Meaning(
        codes=("40",),
        phrases=("could not serialize access",),
        kind=RunConflictError,
        says="another session changed the same rows ({})",
        advice="try again",
    ),
    _Meaning(
        codes=("42501",),
        phrases=("permission denied",),
        kind=StoreError,
        says="PostgreSQL refuses: {}",
        advice="billfold doctor names what is missing",
    ),
    _Meaning(
        codes=("28", "3D000"),
        phrases=("authentication failed", "does not exist", "no pg_hba.conf entry", "is not permitted to log in"),
        kind=StoreError,
        says="PostgreSQL refuses us: {}",
        advice="check DATABASE_URL",
    ),
    _Meaning(
        codes=("58", "XX001", "XX002"),
        phrases=("Input/output error", "invalid page in block"),
        kind=StoreError,
        says="PostgreSQL cannot read or write its own files ({})",
        advice="read the server's log and check its disk before anything else is written",
    ),
    _Meaning(
        codes=("57P04",),
        kind=StoreError,
        says="the database was dropped ({})",
        advice="check DATABASE_URL",
    ),
    _Meaning(
        codes=("08", "57P"),
        kind=StoreUnavailableError,
        says="PostgreSQL does not answer: {}",
        advice="check DATABASE_URL and that the server is up",
    ),
)
_REFUSED = _Meaning(codes=("",), kind=StoreError, says="PostgreSQL refuses: {}", advice="")

_LOST = _MEANINGS[-1]
_PREFIX = re.compile(r"^.*\[libpq\].*?(?:ERROR|FATAL|PANIC):\s+")
_MAX_SHOWN = 300


def translate(error: BaseException) -> BillfoldError:
    """The error as one of Billfold's; retryable only if the same can succeed later."""
    code, text = getattr(error, "sqlstate", None), str(error)
    meaning = next((each for each in _MEANINGS if each.fits(code, text)), None)
    if meaning is None:
        meaning = _LOST if code is None and _is_lost(error) else _REFUSED
    return meaning.kind(meaning.says.format(_first_line(error)), advice=meaning.advice)


def is_from_postgres(error: BaseException) -> bool:
    """Whether a reader of a stream failed because PostgreSQL did: pyarrow and DuckDB pass on the driver's words."""
    return "[libpq]" in str(error)


def _is_lost(error: BaseException) -> bool:
    if isinstance(error, psycopg.OperationalError | adbc_driver_manager.OperationalError):
        return True
    # ADBC reports a connection that the server closed as an internal error, and a stream has only words.
    return not isinstance(error, psycopg.Error) and any(each in str(error) for each in ("connection", "server closed"))


def _first_line(error: BaseException) -> str:
    """The server's own words without what the drivers put around them, or how the connection to it failed."""
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    shown = line if "failed: " in line else _PREFIX.sub("", line)
    return shown[:_MAX_SHOWN]
