"""Errors of the database: PostgreSQL rejects a statement or does not answer."""

from __future__ import annotations

from billfold.errors.exit_codes import ExitCode
from billfold.errors.root import BillfoldError


class StoreError(BillfoldError):
    """PostgreSQL rejects a statement: a right is missing, the database is read-only (a standby, or
    `default_transaction_read_only`), an administrator cancelled it, or the role or the database does not exist.
    """

    error_code = "store"
    exit_code = ExitCode.STORE
    general_advice = (
        "Read the message and PostgreSQL's log, and check DATABASE_URL. `billfold doctor` names missing rights."
    )


class StoreUnavailableError(StoreError):
    """PostgreSQL does not answer: the connection was lost, or no connection is left."""

    error_code = "store_unavailable"
    retryable = True
    exit_code = ExitCode.TRY_AGAIN
    http_status = 503
    general_advice = "Check PostgreSQL and DATABASE_URL. If no connection is left, raise `max_connections`."


class StoreFullError(StoreError):
    """PostgreSQL's disk or its quota is full. A worker waits, as for a database that does not answer."""

    error_code = "store_full"
    general_advice = "Free or add space on PostgreSQL's disk, then ingest again."


class StoreLimitError(StoreError):
    """A limit of PostgreSQL's administrator ended a statement or a session: `statement_timeout`, `temp_file_limit`,
    memory, `max_locks_per_transaction`.
    """

    error_code = "store_limit"
    general_advice = "Raise the limit that the message names, for Billfold's role."


class SchemaVersionError(StoreError):
    """Database and Billfold have different versions: migrations are missing, edited, or from a newer Billfold."""

    error_code = "schema_version"
    general_advice = "Run `billfold migrate`, or upgrade Billfold."


class QueryError(StoreError):
    """The query of `billfold sql` is wrong. Or it is too slow, or returns too many rows."""

    error_code = "query"
    http_status = 400
    general_advice = "Correct the query, or raise the limit."
