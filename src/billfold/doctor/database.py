"""Probes of PostgreSQL: its version, the schema, and what writer and reader may do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from billfold.errors import BillfoldError
from billfold.model import Probe, ProbeState
from billfold.settings import Settings
from billfold.store import rights
from billfold.store.database import Connection, Database, connect
from billfold.store.migrate import check_schema, prepare

MIN_VERSION = 16


def probe_database(
    settings: Settings, open_store: Callable[[Settings], Database]
) -> tuple[Database | None, Sequence[Probe]]:
    """The database, None if it cannot be used, and what the probes found."""
    try:
        database = open_store(settings)
        with connect(database.conninfo) as connection:
            server = rights.describe_server(connection)
    except BillfoldError as error:
        return None, [_failed("database", error, error.advice)]
    probes = [_probe_version(server)]
    try:
        # The embedded database is migrated at every start, also here.
        prepare(database)
        with connect(database.conninfo) as connection:
            check_schema(connection)
            probes.append(_probe("schema", ProbeState.OK, "is current"))
            probes += _probe_writer(connection, server, is_embedded=database.is_embedded)
    except BillfoldError as error:
        return None, [*probes, _failed("schema", error, error.advice)]
    return database, [*probes, _probe_reader(database)]


def _probe_version(server: rights.Server) -> Probe:
    if server.version_number < MIN_VERSION * 10_000:
        fix = f"upgrade the server to PostgreSQL {MIN_VERSION} or later"
        return _probe("postgresql", ProbeState.FAILED, f"version {server.version}", fix)
    return _probe("postgresql", ProbeState.OK, f"version {server.version}, as {server.role_name}")


def _probe_writer(connection: Connection, server: rights.Server, *, is_embedded: bool) -> Iterator[Probe]:
    fix = "as the owner of the tables: SELECT billfold_grant_rights(), for billfold_ingest and billfold_reader"
    if missing := rights.list_missing_rights(connection):
        yield _probe("rights", ProbeState.FAILED, f"{server.role_name} lacks {', '.join(missing)}", fix)
    elif server.is_superuser and not is_embedded:
        found = f"{server.role_name} is a superuser"
        yield _probe("rights", ProbeState.WARNING, found, "ingest as billfold_ingest: docs/postgresql.md")
    else:
        yield _probe("rights", ProbeState.OK, f"{server.role_name} may write everything that an ingest writes")
    if rights.may_create_partitions(connection):
        yield _probe("new months", ProbeState.OK, "their partitions can be created")
    else:
        found = f"{server.role_name} may not run billfold_create_partitions"
        yield _probe("new months", ProbeState.FAILED, found, fix)


def _probe_reader(database: Database) -> Probe:
    name = "reader"
    if database.reader_conninfo is None:
        fix = "ALTER ROLE billfold_reader LOGIN PASSWORD '…', and set BILLFOLD_READER_DATABASE_URL"
        found = "BILLFOLD_READER_DATABASE_URL is not set: reports read as the writer, and `billfold sql` does not run"
        return _probe(name, ProbeState.WARNING, found, fix)
    try:
        with connect(database.reader_conninfo) as connection:
            reader = rights.describe_reader(connection)
            excess = rights.list_excess_rights(connection)
    except BillfoldError as error:
        return _failed(name, error, "check BILLFOLD_READER_DATABASE_URL, and run: SELECT billfold_grant_rights()")
    if excess:
        found = f"{reader.role_name} may do more than read: {', '.join(excess)}"
        return _probe(name, ProbeState.FAILED, found, "use a role with SELECT only, such as billfold_reader")
    if reader.sees_external_ids:
        fix = f"REVOKE SELECT ON billing_clients FROM {reader.role_name}, then SELECT billfold_grant_rights()"
        return _probe(name, ProbeState.FAILED, f"{reader.role_name} may read the external ids of clients", fix)
    if reader.sees_messages:
        fix = f"REVOKE SELECT ON billing_jobs FROM {reader.role_name}, then SELECT billfold_grant_rights()"
        return _probe(name, ProbeState.FAILED, f"{reader.role_name} may read the messages of billing_jobs", fix)
    if not reader.may_read:
        fix = "as the owner of the tables: SELECT billfold_grant_rights()"
        found = f"{reader.role_name} may not read focus_cost_and_usage and the state of billing_jobs"
        return _probe(name, ProbeState.FAILED, found, fix)
    return _probe(name, ProbeState.OK, f"{reader.role_name} may only read, without external ids and messages")


def _failed(name: str, error: BillfoldError, fix: str) -> Probe:
    return _probe(name, ProbeState.FAILED, error.message, fix or "check DATABASE_URL")


def _probe(name: str, state: ProbeState, found: str, fix: str = "") -> Probe:
    return Probe(name=name, state=state, found=found, fix=fix, area="database")
