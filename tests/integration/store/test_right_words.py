"""What PostgreSQL refuses is reported as what it is, with what to do, and is tried again only where that can help."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from billfold.errors import (
    BillfoldError,
    RunConflictError,
    StoreError,
    StoreFullError,
    StoreLimitError,
    StoreUnavailableError,
)
from billfold.store.database import Database, connect, connect_bulk
from billfold.store.query import run_query
from billfold.verification import verify
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.processes.hostile_settings import set_for_database

Run = Callable[[Database, str], Any]


def by_psycopg(database: Database, sql: str) -> None:
    with connect(database.conninfo) as connection:
        connection.execute(sql.encode())


def by_bulk(database: Database, sql: str) -> None:
    with connect_bulk(database.conninfo) as bulk:
        bulk.execute(sql)


def raise_error(code: str, message: str) -> str:
    return f"RAISE EXCEPTION '{message}' USING ERRCODE = '{code}'"


SERVER_ERRORS: list[tuple[str, str, type[BillfoldError], str]] = [
    ("53100", 'could not extend file "base/1/2": No space left on device', StoreFullError, "disk is full"),
    ("58030", 'could not write to file "pg_wal/x": No space left on device', StoreFullError, "disk is full"),
    ("XX000", 'could not extend file "base/1/2": Disk quota exceeded', StoreFullError, "quota is used up"),
    ("53200", "out of memory", StoreLimitError, "out of memory"),
    ("53200", "out of shared memory", StoreLimitError, "max_locks_per_transaction"),
    ("53300", "sorry, too many clients already", StoreUnavailableError, "no connection left"),
    ("53400", "temporary file size exceeds temp_file_limit (1024kB)", StoreLimitError, "temp_file_limit"),
    ("57014", "canceling statement due to statement timeout", StoreLimitError, "statement_timeout"),
    ("57014", "canceling statement due to user request", StoreError, "an administrator"),
    ("57014", "storniere Anfrage", StoreError, "statement_timeout or of an administrator"),
    ("25006", "cannot execute INSERT in a read-only transaction", StoreError, "takes no changes"),
    ("25P04", "terminating connection due to transaction timeout", StoreLimitError, "transaction_timeout"),
    ("25P03", "terminating connection due to idle-in-transaction timeout", StoreLimitError, "idle"),
    ("55P03", "canceling statement due to lock timeout", RunConflictError, "holds a lock"),
    ("40P01", "deadlock detected", RunConflictError, "waited for what this one holds"),
    ("40001", "could not serialize access due to concurrent update", RunConflictError, "the same rows"),
    ("40001", "canceling statement due to conflict with recovery", StoreUnavailableError, "standby"),
    ("42501", "permission denied for table billing_deliveries", StoreError, "billfold doctor"),
    ("58030", "could not read block 3 in file: Input/output error", StoreError, "its own files"),
    ("XX001", "invalid page in block 3 of relation base/1/2", StoreError, "its own files"),
    ("57P03", "the database system is starting up", StoreUnavailableError, "does not answer"),
    (
        "22P02",
        'a value: "permission denied" does not exist, deadlock detected',
        StoreError,
        "PostgreSQL refuses: a value",
    ),
]


@pytest.mark.parametrize("run", [by_psycopg, by_bulk])
def test_an_error_of_the_server_is_reported_as_what_it_is(database: Database, run: Run) -> None:
    for code, message, kind, words in SERVER_ERRORS:
        with pytest.raises(BillfoldError) as caught:
            run(database, f"DO $$ BEGIN {raise_error(code, message)}; END $$")

        assert type(caught.value) is kind, (code, message)
        assert words in str(caught.value), (code, message)
        assert "\n" not in str(caught.value)
        assert "[libpq]" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "message", "kind"),
    [
        ("53100", "could not extend file: No space left on device", StoreFullError),
        ("57014", "canceling statement due to statement timeout", StoreLimitError),
        ("53400", "temporary file size exceeds temp_file_limit (1kB)", StoreLimitError),
    ],
)
def test_an_error_in_the_middle_of_a_stream_keeps_its_meaning(
    database: Database, code: str, message: str, kind: type[BillfoldError]
) -> None:
    """It comes when the stream is read, and then as one of pyarrow's."""
    with connect(database.conninfo) as connection:
        connection.execute(
            "CREATE FUNCTION fail(n int) RETURNS int LANGUAGE plpgsql AS"
            f" $f$ BEGIN IF n > 200000 THEN {raise_error(code, message)}; END IF; RETURN n; END $f$".encode()
        )

    with (
        pytest.raises(kind),
        connect_bulk(database.conninfo) as bulk,
        bulk.stream("SELECT fail(n) FROM generate_series(1, 200001) n") as rows,
    ):
        for _ in rows:
            pass


@pytest.mark.parametrize("opens", [connect, connect_bulk])
def test_a_connection_that_is_refused_says_why(database: Database, opens: Any) -> None:
    with connect(database.conninfo) as connection:
        connection.execute("DROP ROLE IF EXISTS crowded")
        connection.execute("CREATE ROLE crowded LOGIN CONNECTION LIMIT 0")

    for changes, kind, words in (
        ({"user": "crowded"}, StoreUnavailableError, "PostgreSQL has no connection left"),
        ({"dbname": "nowhere"}, StoreError, "PostgreSQL refuses us"),
        ({"user": "nobody_here"}, StoreError, "PostgreSQL refuses us"),
        ({"host": "/nowhere"}, StoreUnavailableError, "PostgreSQL does not answer"),
    ):
        with pytest.raises(BillfoldError, match=words) as caught, opens(make_conninfo(database.conninfo, **changes)):
            pass
        assert type(caught.value) is kind


def test_a_statement_timeout_and_a_full_disk_end_an_ingest_at_once_and_leave_nothing(landing: Landing) -> None:
    deliveries = "SELECT state, attempts, error_code FROM billing_deliveries"
    write_bill(landing.root, described("1", "2"))
    set_for_database(landing.database, [("statement_timeout", "1s")])

    with psycopg.connect(landing.database.conninfo) as other:
        other.execute("LOCK TABLE dim_account IN ACCESS EXCLUSIVE MODE")
        outcome = landing.ingest()

    assert isinstance(outcome.exit_error, StoreLimitError)
    assert "statement_timeout" in str(outcome.exit_error)
    assert landing.query(deliveries) == [("failed", 1, "store_limit")]
    set_for_database(landing.database, [("statement_timeout", "0")])
    landing.execute(
        "CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN"
        " RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $f$"
    )
    landing.execute("CREATE TRIGGER fill BEFORE INSERT ON billing_publications EXECUTE FUNCTION fill()")

    outcome = landing.ingest()

    assert isinstance(outcome.exit_error, StoreFullError)
    assert landing.query(deliveries) == [("failed", 2, "store_full")]
    assert landing.count("raw_aws_billing_rows") == 0
    landing.execute("DROP TRIGGER fill ON billing_publications")
    assert landing.ingest().exit_error is None
    assert landing.broken_rules() == []


def test_a_read_only_database_is_reported_as_such_and_not_written_to(landing: Landing) -> None:
    write_bill(landing.root, described("1"))
    set_for_database(landing.database, [("default_transaction_read_only", "on")])

    with pytest.raises(StoreError, match="PostgreSQL takes no changes here") as caught:
        landing.ingest()

    assert not caught.value.retryable
    assert "standby" in str(caught.value)


def test_a_query_that_an_administrator_cancels_did_not_take_too_long(database: Database) -> None:
    cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(25)'"
    is_over = threading.Event()

    def keep_cancelling() -> None:
        with psycopg.connect(database.conninfo, autocommit=True) as connection:
            while not is_over.wait(0.05):
                connection.execute(cancel)

    canceller = threading.Thread(target=keep_cancelling)
    canceller.start()
    try:
        with (
            pytest.raises(StoreError, match="an administrator") as caught,
            run_query(database, "SELECT pg_sleep(25)", timeout_seconds=20, max_rows=10) as result,
        ):
            list(result.rows)
    finally:
        is_over.set()
        canceller.join()

    assert type(caught.value) is StoreError


def test_verify_reports_a_statement_timeout_as_such(landing: Landing) -> None:
    write_bill(landing.root, described("1"))
    landing.ingest()
    set_for_database(landing.database, [("statement_timeout", "300ms")])

    with psycopg.connect(landing.database.conninfo) as other:
        other.execute("LOCK TABLE raw_aws_billing_rows IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreLimitError, match="statement_timeout"):
            verify(settings=landing.settings, database=landing.database)
