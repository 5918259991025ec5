"""What ingests rely on of the connections and sessions that they work with."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from billfold.errors import StoreUnavailableError
from billfold.store.database import Database, connect, connect_bulk
from billfold.transform.session import open_session
from tests.services import NewDatabase

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


def test_bulk_connections_that_share_a_driver_are_each_to_their_own_database(new_database: NewDatabase) -> None:
    databases = [new_database(version) for version in (16, 18, 16)]

    seen = []
    for database in databases:
        with connect_bulk(database.conninfo) as bulk:
            with pytest.raises(StoreUnavailableError), connect_bulk("host=/nowhere"):
                pass
            with bulk.beside() as beside:
                seen += beside.query("SELECT current_database(), 1.10::numeric, '{}'::jsonb")

    names = [conninfo_to_dict(database.conninfo)["dbname"] for database in databases]
    assert seen == [(name, "1.10", "{}") for name in names]


def test_a_session_waits_for_no_disk(tmp_path: Path) -> None:
    with open_session(tmp_path, memory_limit_mb=256, threads=1) as session:
        [[mode]] = session.execute("SELECT current_setting('fsync_mode')").fetchall()

    assert mode == "NONE"
