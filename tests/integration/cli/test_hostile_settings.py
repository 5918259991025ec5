"""The same bill to the last digit, whatever PostgreSQL is set to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest

from billfold.errors import QueryError
from billfold.settings import load_settings
from billfold.store.database import Database, connect, connect_bulk
from billfold.store.query import run_query
from tests.bills.landing import Landing
from tests.processes.hostile_settings import HOSTILE, HOSTILE_SINCE_17, set_for_database, work_through
from tests.services import NewDatabase

# What the administrator's settings stay in force for.
THEIR_OWN = {
    "work_mem",
    "max_parallel_workers_per_gather",
    "plan_cache_mode",
    "row_security",
    "synchronous_commit",
    "check_function_bodies",
    "escape_string_warning",
}


def land(new_database: NewDatabase, version: int, folder: Path, hostile: dict[str, str]) -> dict[str, Any]:
    folder.mkdir()
    database = new_database(version)
    set_for_database(database, hostile.items())
    with pytest.MonkeyPatch.context() as variables:
        variables.setenv("BILLFOLD_MIN_FREE_BYTES", "0")
        variables.setenv("BILLFOLD_HOME", str(folder / "home"))
        landing = Landing.make(database, load_settings(), folder / "bucket")
    return work_through(landing, folder, is_doubtful=bool(hostile))


@pytest.fixture(scope="module")
def calm(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What everything is where nothing is set."""
    return land(new_database, 16, tmp_path_factory.mktemp("calm") / "c", {})


def test_bills_of_every_format_are_the_same_under_hostile_settings(
    new_database: NewDatabase, calm: dict[str, Any], tmp_path: Path
) -> None:
    hostile = {name: values[0] for name, values in {**HOSTILE, **HOSTILE_SINCE_17}.items()}

    found = land(new_database, 18, tmp_path / "h", hostile)

    for name, expected in calm.items():
        assert found[name] == expected, name
    assert (found["differences"], found["broken"]) == ([], [])


def read_settings(connection: Any) -> dict[str, str]:
    rows = connection("SELECT name, setting FROM pg_settings")
    return {name: value for name, value in rows if name in {**HOSTILE, **HOSTILE_SINCE_17} and name not in THEIR_OWN}


@pytest.mark.parametrize("version", [16, 18])
def test_every_connection_has_the_same_settings(new_database: NewDatabase, version: int) -> None:
    plain, hostile = new_database(version), new_database(version)
    known = {**HOSTILE, **(HOSTILE_SINCE_17 if version >= 17 else {})}
    set_for_database(hostile, ((name, values[-1]) for name, values in known.items()))
    assert hostile.reader_conninfo is not None
    with connect(plain.conninfo) as connection:
        expected = read_settings(lambda sql: connection.execute(sql).fetchall())

    with connect(hostile.conninfo) as connection:
        writer = read_settings(lambda sql: connection.execute(sql).fetchall())
    with connect(hostile.reader_conninfo) as connection:
        reader = read_settings(lambda sql: connection.execute(sql).fetchall())
    with connect_bulk(hostile.conninfo) as bulk, bulk.beside() as beside:
        bulk.rollback()
        bulks = [read_settings(each.query) for each in (bulk, beside)]

    assert expected["lock_timeout"] == expected["idle_in_transaction_session_timeout"] == "0"
    assert expected["DateStyle"] == "ISO, MDY"
    # Only a superuser may set this one.
    assert reader.pop("session_replication_role") == "replica"
    assert writer == expected
    assert bulks == [expected, expected]
    assert reader == {name: value for name, value in expected.items() if name != "session_replication_role"}


@pytest.mark.parametrize("place", ["PGOPTIONS", "DATABASE_URL"])
def test_options_of_the_environment_and_of_the_url_stay_in_force_beside_ours(
    database: Database, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    options = "-c search_path=billing,public -c DateStyle=German -c statement_timeout=1234"
    conninfo = database.conninfo
    if place == "PGOPTIONS":
        monkeypatch.setenv(place, options)
    else:
        conninfo = psycopg.conninfo.make_conninfo(conninfo, options=options)
    show = "SELECT current_setting('search_path'), current_setting('DateStyle'), current_setting('statement_timeout')"

    with connect(conninfo) as connection:
        shown = connection.execute(show).fetchone()
    with connect_bulk(conninfo) as bulk:
        [bulks] = bulk.query(show)

    assert shown == bulks == ("billing,public", "ISO, MDY", "1234ms")


def test_a_pooler_is_sent_nothing_that_it_does_not_know(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGOPTIONS", raising=False)

    with connect(database.conninfo) as connection:
        sent = connection.info.get_parameters()

    assert "options" not in sent


def test_a_shorter_statement_timeout_of_the_administrator_holds_for_sql(database: Database) -> None:
    set_for_database(database, [("statement_timeout", "100ms")])

    with (
        pytest.raises(QueryError, match=r"took longer than 0\.1 s"),
        run_query(database, "SELECT pg_sleep(30)", timeout_seconds=20, max_rows=10) as result,
    ):
        list(result.rows)
