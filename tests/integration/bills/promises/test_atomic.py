"""Atomic, reconciled, durable: nothing is published in halves, and what fails is tried again."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

import billfold
from billfold.aws import locate, resolve
from billfold.errors import ReconciliationError, RunConflictError, SpoolFullError
from billfold.model import DeliveryState
from billfold.settings import Settings
from billfold.store.database import connect
from billfold.store.deliveries import claims
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.integration.bills.promises.conftest import FACT, RAW, USD
from tests.processes.warm_process import WarmProcess
from tests.services import NewDatabase


def test_a_reader_sees_the_old_bill_or_the_new_one_and_nothing_between(on_each: Landing) -> None:
    write_bill(on_each.root, described(*["1"] * 300))
    on_each.ingest()
    write_bill(on_each.root, described(*["2"] * 300), revision=2)
    # The restatement waits inside its transaction, with all its rows written, until the reader has looked.
    looked = threading.Event()
    seen: set[tuple[Any, ...]] = set()

    def poll() -> None:
        with connect(on_each.database.conninfo) as connection, connect(on_each.database.conninfo) as gate:
            gate.execute("SELECT pg_advisory_lock(7)")
            waiting = 0
            while waiting < 3 and not stop.is_set():
                seen.add(_look(connection))
                waiting += bool(
                    connection.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchone()
                )
            looked.set()
            gate.execute("SELECT pg_advisory_unlock(7)")
            while not stop.is_set():
                seen.add(_look(connection))

    on_each.execute(
        "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END'"
    )
    on_each.execute("CREATE TRIGGER hold AFTER UPDATE ON billing_statements FOR EACH STATEMENT EXECUTE FUNCTION hold()")
    stop = threading.Event()
    reader = threading.Thread(target=poll)
    reader.start()

    outcome = on_each.ingest()
    stop.set()
    reader.join()

    assert outcome.exit_error is None
    assert looked.is_set()
    assert _look_once(on_each) == (300, Decimal(600), Decimal(600), 300)
    assert seen <= {(300, Decimal(300), Decimal(300), 300), (300, Decimal(600), Decimal(600), 300)}
    assert (300, Decimal(300), Decimal(300), 300) in seen


def _look(connection: Any) -> tuple[Any, ...]:
    """Rows and money in every table, as one statement sees them."""
    row: tuple[Any, ...] = connection.execute(
        "SELECT (SELECT count(*) FROM raw_aws_billing_rows), (SELECT sum(billed_cost) FROM billing_usage_fact),"
        " (SELECT sum(billed_cost) FROM billing_daily_cost), (SELECT sum(row_count)::int FROM billing_statements)"
    ).fetchone()
    return row


def _look_once(landing: Landing) -> tuple[Any, ...]:
    with connect(landing.database.conninfo) as connection:
        return _look(connection)


CORRUPTIONS = {
    "a charge costs more": (FACT, "NEW.billed_cost := NEW.billed_cost + 0.0000000001; RETURN NEW;"),
    "a charge is dropped": (FACT, "IF NEW.billed_cost = 3 THEN RETURN NULL; END IF; RETURN NEW;"),
    "a raw row is dropped": (RAW, "IF NEW.row_data::text LIKE '%item 2%' THEN RETURN NULL; END IF; RETURN NEW;"),
    "a raw row says another cost": (
        RAW,
        """NEW.row_data := replace(NEW.row_data::text, '"3"', '"3.1"')::json; RETURN NEW;""",
    ),
}


def test_nothing_is_published_unless_rows_and_money_agree(landed: Landing) -> None:
    write_bill(landed.root, described("1", "3"), revision=2)

    for name, (table, body) in CORRUPTIONS.items():
        landed.execute(f"CREATE FUNCTION corrupt() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$")
        landed.execute(f"CREATE TRIGGER corrupt BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION corrupt()")

        refused = landed.ingest()

        assert isinstance(refused.exit_error, ReconciliationError), name
        assert "\n" not in str(refused.exit_error), name
        assert refused.state is DeliveryState.FAILED, name
        assert landed.query("SELECT status, error_code FROM billing_ingestion_runs ORDER BY created_at") == [
            ("success", None),
            ("failed", "reconciliation"),
        ], name
        assert landed.billed() == {USD: Decimal(3)}, name
        landed.execute("DROP FUNCTION corrupt() CASCADE")

    good = landed.ingest()

    assert good.state is DeliveryState.PUBLISHED
    assert landed.billed() == {USD: Decimal(4)}
    assert landed.broken_rules() == []


INGEST_IN_ANOTHER_PROCESS = """
import sys
from billfold.settings import load_settings
from billfold.bills.ingest import ingest
from billfold.store.database import Database
settings = load_settings()
database = Database(conninfo=sys.argv[2], reader_conninfo=None, is_embedded=True)
ingest(sys.argv[1], client=settings.default_client(), settings=settings, database=database)
"""


# The tests of crashes kill workers on PostgreSQL 16.
def test_a_killed_worker_leaves_nothing_half_written_and_the_next_finishes_its_work(
    new_database: NewDatabase, settings: Settings, tmp_path: Path, environment: pytest.MonkeyPatch
) -> None:
    landing = Landing.make(new_database(18), settings, tmp_path / "bucket")
    environment.setenv("BILLFOLD_CLIENT", "acme")
    write_bill(landing.root, described("1"))
    landing.ingest()
    write_bill(landing.root, described("1.5", "2"), revision=2)
    landing.execute(
        "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN PERFORM pg_advisory_xact_lock(7); RETURN NULL; END'"
    )
    landing.execute("CREATE TRIGGER hold AFTER UPDATE ON billing_statements FOR EACH STATEMENT EXECUTE FUNCTION hold()")

    with connect(landing.database.conninfo) as gate:
        gate.execute("SELECT pg_advisory_lock(7)")
        command = [sys.executable, "-c", INGEST_IN_ANOTHER_PROCESS, str(landing.root), landing.database.conninfo]
        # The working directory is the test's own: a relative entry of PYTHONPATH would not be found there.
        paths = os.pathsep.join(str(Path(billfold.__file__).parents[1]) if path == "src" else path for path in sys.path)
        worker = WarmProcess(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": paths}
        )
        _await(gate, "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        worker.kill()
        worker.wait()
        # Its sessions notice within a second (client_connection_check_interval), though they wait for a lock.
        _await(gate, "SELECT WHERE NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)")
        after_the_kill = _look(gate)
        state_then = gate.execute("SELECT state FROM billing_deliveries ORDER BY created_at DESC LIMIT 1").fetchone()
    outcome = landing.ingest()

    assert after_the_kill == (1, Decimal(1), Decimal(1), 1)
    assert state_then == ("running",)
    assert outcome.exit_error is None
    assert landing.billed() == {USD: Decimal("3.5")}
    assert landing.value("SELECT max(attempts) FROM billing_ingestion_runs") == 2
    assert landing.broken_rules() == []


def _await(connection: psycopg.Connection[Any], query: str, seconds: int = 30) -> None:
    """Ask until the query has a row; PostgreSQL itself waits between two questions."""
    for _ in range(seconds * 20):
        if connection.execute(query.encode()).fetchone() is not None:
            return
        connection.execute("SELECT pg_sleep(0.05)")
    raise AssertionError(f"nothing after {seconds} seconds: {query}")


def test_one_statement_has_one_worker(landing: Landing) -> None:
    write_bill(landing.root, described("1"))
    impatient = landing.with_settings(claim_wait_seconds=1, retry_max_attempts=2)
    bucket, key = locate(str(landing.root), landing.client, landing.settings)
    [delivery] = resolve(bucket, key)

    with connect(landing.database.conninfo) as other:
        claims.claim(other, landing.client, delivery, wait_seconds=1)
        outcome = impatient.ingest()
    after = landing.ingest()

    assert isinstance(outcome.exit_error, RunConflictError)
    assert outcome.state is DeliveryState.FAILED
    assert after.state is DeliveryState.PUBLISHED
    assert landing.billed() == {USD: Decimal(1)}


def test_what_can_succeed_later_is_tried_up_to_the_limit_and_its_attempts_are_kept(landed: Landing) -> None:
    write_bill(landed.root, described("1", "3"), revision=2)

    refused = landed.with_settings(retry_max_attempts=4, min_free_bytes=2**62).ingest()
    attempts = landed.query("SELECT status, attempts, error_code FROM billing_ingestion_runs ORDER BY created_at")
    billed_then = landed.billed()
    cured = landed.ingest()

    assert isinstance(refused.exit_error, SpoolFullError)
    assert attempts == [("success", 1, None), ("failed", 4, "spool_full")]
    assert billed_then == {USD: Decimal(3)}
    assert cured.state is DeliveryState.PUBLISHED
    assert landed.value("SELECT max(attempts) FROM billing_ingestion_runs") == 5
    assert landed.billed() == {USD: Decimal(4)}
