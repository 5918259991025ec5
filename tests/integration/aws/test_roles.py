"""The database's roles: ingest does all of its work without a right to change the schema, the reader reads."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from billfold import clients
from billfold.bills.prune import prune
from billfold.bills.remap import remap
from billfold.bills.rollback import roll_back
from billfold.doctor.database import probe_database
from billfold.errors import SchemaVersionError, StoreError
from billfold.model import DeliveryState, TriggerSource
from billfold.store.database import Database, connect
from billfold.store.jobs import jobs
from billfold.store.jobs.jobs import NewJob
from billfold.store.migrate import check_schema, migrate_database
from tests.bills.landing import Landing
from tests.bills.line_items import described, write_bill
from tests.bills.split_bills import instance, pod

INGEST_ROLE = "billfold_ingest"
READER_ROLE = "billfold_reader"


@pytest.fixture
def ingest_database(database: Database) -> Database:
    """The database as the role that ingests sees it; the embedded server trusts whoever reaches its socket."""
    with connect(database.conninfo) as connection:
        connection.execute(f"ALTER ROLE {INGEST_ROLE} LOGIN".encode())
    return replace(database, conninfo=make_conninfo(database.conninfo, user=INGEST_ROLE), is_embedded=False)


@pytest.fixture
def ingesting(landing: Landing, ingest_database: Database) -> Landing:
    return replace(landing, database=ingest_database)


def refusal(database: Database, role: str, statement: str) -> str:
    """The SQLSTATE with which PostgreSQL refuses the role a statement; empty where it does not."""
    with psycopg.connect(make_conninfo(database.conninfo, user=role)) as connection:
        try:
            connection.execute(statement.encode())
        except psycopg.Error as error:
            return error.sqlstate or "?"
        finally:
            connection.rollback()
    return ""


def test_all_that_happens_to_a_bill_needs_no_more_than_the_role_that_ingests(
    ingesting: Landing, landing: Landing
) -> None:
    with connect(ingesting.database.conninfo) as connection:
        check_schema(connection)
        assert connection.info.user == INGEST_ROLE
    write_bill(ingesting.root, [*described("1", "2"), instance("0"), pod("web", "0.5")])
    first = ingesting.ingest()
    write_bill(ingesting.root, [*described("1", "5", "3"), instance("0"), pod("web", "0.6")], revision=2)
    restated = ingesting.ingest()
    assert ingesting.billed() == {"USD": Decimal(9)}
    rolled_back = restated.delivery_id
    assert isinstance(rolled_back, UUID)
    roll_back(rolled_back, settings=ingesting.settings, database=ingesting.database)
    assert ingesting.billed() == {"USD": Decimal(3)}
    roll_back(rolled_back, settings=ingesting.settings, database=ingesting.database, undo=True)
    remapped = remap(settings=ingesting.settings, database=ingesting.database, force=True)
    pruned = prune(
        settings=ingesting.settings,
        database=ingesting.database,
        keep_days=1,
        now=datetime.now(UTC) + timedelta(days=3),
    )

    assert {outcome.state for outcome in (first, restated)} == {DeliveryState.PUBLISHED}
    assert len(remapped) == 1
    assert sum(forgotten.row_count for forgotten in pruned.statements) > 0
    assert ingesting.billed() == {"USD": Decimal(9)}
    assert ingesting.count("billing_split_cost") == 3
    assert landing.broken_rules() == []


def test_clients_come_and_go_by_the_role_that_ingests(ingesting: Landing) -> None:
    values = {"client_id": "globex", "bucket": "globex-bills", "account_id": "111122223333", "prefix": "exports/"}

    clients.register(ingesting.database, ingesting.settings, values)
    clients.set_enabled(ingesting.database, "globex", enabled=False)
    write_bill(ingesting.root, described("1"))
    ingesting.ingest()
    clients.remove(ingesting.database, "globex", purge=False)
    clients.remove(ingesting.database, "acme", purge=True)

    assert ingesting.count("billing_clients") == 0
    assert ingesting.count("raw_aws_billing_rows") == 0


SCHEMA_CHANGES = [
    "DROP TABLE billing_clients",
    "DROP TABLE raw_aws_billing_rows_2026_05",
    "ALTER TABLE billing_clients ADD COLUMN mine text",
    "ALTER TABLE raw_aws_billing_rows DETACH PARTITION raw_aws_billing_rows_2026_05",
    "CREATE TABLE mine (a integer)",
    "CREATE VIEW mine AS SELECT 1",
    "CREATE FUNCTION mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "CREATE INDEX ON billing_clients (region)",
    "TRUNCATE raw_aws_billing_rows",
    "TRUNCATE billing_clients CASCADE",
    "INSERT INTO billfold_migrations (number, name, sha256) VALUES (999, 'mine', 'x')",
    "DELETE FROM billfold_migrations",
    "SELECT billfold_grant_rights()",
    "ALTER FUNCTION billfold_create_partitions(date) SECURITY INVOKER",
    "SET ROLE postgres",
    "COPY (SELECT 1) TO PROGRAM 'true'",
]
WRITES = [
    "INSERT INTO billing_clients (client_id) VALUES ('mine')",
    "UPDATE billing_clients SET enabled = false",
    "DELETE FROM billing_usage_fact",
    "INSERT INTO raw_aws_billing_rows_2026_05 SELECT * FROM raw_aws_billing_rows",
    "SELECT billfold_create_partitions('2026-06-01')",
    "SELECT nextval('billing_statements_statement_id_seq')",
    "SELECT * FROM billing_clients FOR UPDATE",
    "UPDATE billing_jobs SET state = 'dead'",
    "DELETE FROM billing_jobs",
]
SECRETS = [
    "SELECT external_id FROM billing_clients",
    "SELECT * FROM billing_clients",
    "SELECT billing_clients::text FROM billing_clients",
    "COPY billing_clients (external_id) TO STDOUT",
    "SELECT body FROM billing_jobs",
    "SELECT attributes FROM billing_jobs",
    "SELECT * FROM billing_jobs",
    "SELECT billing_jobs::text FROM billing_jobs",
    "COPY billing_jobs (body) TO STDOUT",
    "SELECT probes FROM billing_doctor_runs",
    "CREATE TEMP VIEW mine AS SELECT external_id FROM billing_clients; SELECT * FROM mine",
]


@pytest.fixture
def filled(landing: Landing, ingest_database: Database) -> Landing:
    landing.execute("SELECT billfold_create_partitions('2026-05-01')")
    landing.execute("INSERT INTO billing_clients (client_id, external_id) VALUES ('acme', 'between-us')")
    return landing


def test_the_role_that_ingests_changes_no_schema(filled: Landing) -> None:
    allowed = [each for each in SCHEMA_CHANGES if refusal(filled.database, INGEST_ROLE, each) != "42501"]

    assert allowed == []


def test_the_reader_changes_nothing_and_sees_neither_external_ids_nor_messages(filled: Landing) -> None:
    wanted = [*SCHEMA_CHANGES, *WRITES, *SECRETS]

    allowed = [each for each in wanted if refusal(filled.database, READER_ROLE, each) != "42501"]

    assert allowed == []
    for table in (
        "raw_aws_billing_rows_2026_05",
        "billing_usage_fact",
        "billing_split_cost",
        "billing_split_cost_history_2026_05",
        "focus_cost_and_usage",
        "focus_split_cost",
        "billing_checks",
    ):
        assert refusal(filled.database, READER_ROLE, f"SELECT * FROM {table}") == ""
    assert refusal(filled.database, READER_ROLE, "SELECT client_id, backfilled_at FROM billing_clients") == ""
    assert refusal(filled.database, READER_ROLE, "SELECT client_id, state, due_at FROM billing_jobs") == ""


def test_the_role_that_ingests_does_all_that_a_worker_does_with_jobs(ingesting: Landing) -> None:
    ingesting.execute("INSERT INTO billing_clients (client_id) VALUES ('acme')")
    worker_id = uuid4()

    with connect(ingesting.database.conninfo) as connection:
        job_ids = [
            jobs.add(connection, NewJob(client_id="acme", bucket="b", key=key, work=key, trigger=TriggerSource.SQS))
            for key in ("a", "b", "c")
        ]
        jobs.live(connection, worker_id)
        done, failed = jobs.take(connection, worker_id, limit=2)
        jobs.finish(connection, done, worker_id)
        jobs.bury(connection, failed, worker_id, error_code="internal", reason="a defect")
        assert jobs.retry(connection, failed.job_id)
        assert jobs.cancel(connection, job_ids[2])
        assert [row.state for row in jobs.list_jobs(connection)] == ["waiting"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("GRANT SELECT ON billing_jobs", "may read the messages of billing_jobs"),
        ("GRANT SELECT (body) ON billing_jobs", "may read the messages of billing_jobs"),
        ("REVOKE ALL ON billing_jobs", "may not read focus_cost_and_usage and the state of billing_jobs"),
    ],
)
def test_doctor_tells_of_a_reader_that_sees_too_much_or_too_little_of_the_queue(
    filled: Landing, change: str, found: str
) -> None:
    def look() -> str:
        _, probes = probe_database(filled.settings, lambda _: filled.database)
        [probe] = [probe for probe in probes if probe.name == "reader"]
        return f"{probe.state}: {probe.found}"

    filled.execute(f"{change} {'FROM' if 'REVOKE' in change else 'TO'} {READER_ROLE}")
    wrong = look()
    filled.execute("SELECT billfold_grant_rights()")

    assert wrong == f"failed: {READER_ROLE} {found}"
    assert look() == f"ok: {READER_ROLE} may only read, without external ids and messages"


def test_the_statistics_of_a_column_tell_the_reader_nothing(filled: Landing) -> None:
    filled.execute(
        "INSERT INTO billing_clients (client_id, external_id) SELECT 'c' || n, 'shared' FROM generate_series(1, 9) AS n"
    )
    filled.execute("ANALYZE billing_clients")

    with psycopg.connect(make_conninfo(filled.database.conninfo, user=READER_ROLE)) as connection:
        rows = connection.execute("SELECT attname FROM pg_stats WHERE tablename = 'billing_clients'").fetchall()

    assert "external_id" not in [name for (name,) in rows]
    assert rows


def test_doctor_tells_of_a_role_that_ingests_and_may_not_write_jobs(filled: Landing, ingest_database: Database) -> None:
    filled.execute(f"REVOKE INSERT ON billing_jobs FROM {INGEST_ROLE}")

    _, probes = probe_database(filled.settings, lambda _: ingest_database)

    assert [(probe.state, probe.found) for probe in probes if probe.name == "rights"] == [
        ("failed", f"{INGEST_ROLE} lacks INSERT on billing_jobs")
    ]


@pytest.mark.parametrize("period", ["2026-05-02", "1999-12-01", "3000-01-01", "infinity"])
def test_a_partition_is_of_a_month(filled: Landing, period: str) -> None:
    assert refusal(filled.database, INGEST_ROLE, f"SELECT billfold_create_partitions('{period}')") == "P0001"


def test_a_callers_own_tables_do_not_lead_the_owners_rights_astray(filled: Landing) -> None:
    with psycopg.connect(make_conninfo(filled.database.conninfo, user=INGEST_ROLE), autocommit=True) as connection:
        for parent in ("raw_aws_billing_rows", "raw_aws_billing_rows_2026_07", "billing_usage_fact"):
            connection.execute(f"CREATE TEMP TABLE {parent} (mine integer)".encode())
        connection.execute("SET search_path = pg_temp, public")
        connection.execute("SELECT public.billfold_create_partitions('2026-07-01')")

    # The caller's own table may outlive its connection by a moment.
    owners = filled.query(
        "SELECT DISTINCT pg_get_userbyid(relowner)::text, relnamespace::regnamespace::text FROM pg_class"
        " WHERE relname ~ '_2026_07$' AND NOT (relname = 'raw_aws_billing_rows_2026_07' AND relpersistence = 't')"
    )
    assert owners == [("postgres", "public")]


def test_the_role_that_ingests_cannot_migrate(ingest_database: Database, landing: Landing) -> None:
    landing.execute("DELETE FROM billfold_migrations WHERE number = 11")

    with connect(ingest_database.conninfo) as connection, pytest.raises(SchemaVersionError, match="billfold migrate"):
        check_schema(connection)
    with pytest.raises(StoreError, match="PostgreSQL refuses"):
        migrate_database(ingest_database)


def test_a_database_that_was_migrated_with_a_former_wording_is_accepted_as_it_is(
    database: Database, landing: Landing
) -> None:
    """0004 granted all tables of the schema once, and failed beside a table of another role."""
    former = "0aaedf7c745a297f5c97fcdfd77acb21ae534b2dc9075745585d3786750d7595"
    landing.execute("UPDATE billfold_migrations SET sha256 = %s WHERE number = 4", former)

    applied = migrate_database(database)

    assert applied == ()
    with connect(database.conninfo) as connection:
        check_schema(connection)


@pytest.mark.parametrize(
    ("number", "sha256"), [(4, "0" * 64), (5, "0aaedf7c745a297f5c97fcdfd77acb21ae534b2dc9075745585d3786750d7595")]
)
def test_any_other_wording_is_refused(database: Database, landing: Landing, number: int, sha256: str) -> None:
    landing.execute("UPDATE billfold_migrations SET sha256 = %s WHERE number = %s", sha256, number)

    with pytest.raises(SchemaVersionError, match=rf"migration {number} .* in another wording"):
        migrate_database(database)


def test_a_role_that_is_made_later_gets_its_rights_from_the_owner(filled: Landing) -> None:
    filled.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {INGEST_ROLE}, {READER_ROLE}")
    filled.execute(f"REVOKE SELECT (client_id) ON billing_clients FROM {READER_ROLE}")
    assert refusal(filled.database, INGEST_ROLE, "SELECT * FROM billing_clients") == "42501"

    filled.execute("SELECT billfold_grant_rights()")

    assert refusal(filled.database, INGEST_ROLE, "SELECT * FROM billing_clients") == ""
    assert refusal(filled.database, READER_ROLE, "SELECT client_id FROM billing_clients") == ""
    assert refusal(filled.database, READER_ROLE, "SELECT external_id FROM billing_clients") == "42501"
    assert refusal(filled.database, INGEST_ROLE, "SELECT body FROM billing_jobs FOR UPDATE") == ""
    assert refusal(filled.database, READER_ROLE, "SELECT state FROM billing_jobs") == ""
    assert refusal(filled.database, READER_ROLE, "SELECT body FROM billing_jobs") == "42501"


def test_an_owner_that_may_not_create_roles_migrates_all_the_same(database: Database) -> None:
    """Roles belong to the server, so here they exist already; what an owner without rights over them can, it does."""
    name = psycopg.conninfo.conninfo_to_dict(database.conninfo)["dbname"]
    with connect(database.conninfo) as connection:
        connection.execute("DROP ROLE IF EXISTS plain_owner")
        connection.execute("CREATE ROLE plain_owner LOGIN")
        connection.execute(f"CREATE DATABASE {name}_plain OWNER plain_owner".encode())
    plain = make_conninfo(database.conninfo, dbname=f"{name}_plain", user="plain_owner")
    owned = replace(database, conninfo=make_conninfo(database.conninfo, dbname=f"{name}_plain"))
    try:
        with connect(owned.conninfo) as connection:
            connection.execute("CREATE TABLE public.somebodys AS SELECT 1 AS secret")
        applied = migrate_database(Database(conninfo=plain, reader_conninfo=None, is_embedded=False))

        assert applied[-1].number >= 11
        with connect(database.conninfo) as connection:
            connection.execute(f"ALTER ROLE {INGEST_ROLE} LOGIN".encode())
        assert refusal(owned, INGEST_ROLE, "SELECT billfold_create_partitions('2026-05-01')") == ""
        assert refusal(owned, INGEST_ROLE, "CREATE TABLE mine (a integer)") == "42501"
        assert refusal(owned, READER_ROLE, "SELECT external_id FROM billing_clients") == "42501"

        # A table of another role beside Billfold's stays closed, and is in nobody's way.
        assert refusal(owned, "plain_owner", "SELECT billfold_grant_rights()") == ""
        with connect(plain) as connection:
            connection.execute("SELECT billfold_grant_rights()")
        assert refusal(owned, READER_ROLE, "SELECT * FROM somebodys") == "42501"
        assert refusal(owned, READER_ROLE, "SELECT * FROM billfold_migrations, focus_cost_and_usage") == ""
    finally:
        with connect(database.conninfo) as connection:
            connection.execute(f"DROP DATABASE {name}_plain WITH (FORCE)".encode())
            connection.execute("DROP ROLE plain_owner")
