"""What ingests rely on of the connections and sessions that they work with."""

from __future__ import annotations

from pathlib import Path

from billfold.store.database import Database, connect, connect_bulk
from billfold.transform.session import open_session

ADD = "INSERT INTO billing_clients (client_id) VALUES ($1)"


def test_a_connection_beside_has_a_transaction_of_its_own(each_database: Database) -> None:
    with connect_bulk(each_database.conninfo) as bulk:
        bulk.execute(ADD, "acme")
        with bulk.beside() as beside:
            seen = beside.query("SELECT client_id FROM billing_clients")
            beside.execute(ADD, "globex")
            beside.commit()
        bulk.execute(ADD, "initech")
        bulk.rollback()

    with connect(each_database.conninfo) as connection:
        kept = connection.execute("SELECT client_id FROM billing_clients").fetchall()
    assert seen == []
    assert kept == [("globex",)]


def test_a_connection_beside_ends_without_what_it_did_not_commit(each_database: Database) -> None:
    with connect_bulk(each_database.conninfo) as bulk:
        with bulk.beside() as beside:
            beside.execute(ADD, "acme")
        seen = bulk.query("SELECT client_id FROM billing_clients")

    assert seen == []


def test_a_session_waits_for_no_disk(tmp_path: Path) -> None:
    with open_session(tmp_path, memory_limit_mb=256, threads=1) as session:
        [[mode]] = session.execute("SELECT current_setting('fsync_mode')").fetchall()

    assert mode == "NONE"
