"""Doctor: everything that an ingest needs is tried for real, and what is missing is told with what mends it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import structlog

from billfold.aws import probe_bucket, probe_identity, probe_queue, probe_role
from billfold.aws.bucket_probes import BucketFindings
from billfold.aws.credentials import Clock, utc_now
from billfold.clients import registry as clients
from billfold.errors import BillfoldError, InputError, UsageError
from billfold.model import Client, Probe, ProbeState
from billfold.settings import Settings
from billfold.store import rights
from billfold.store.database import Connection, Database, connect, open_database
from billfold.store.migrate import check_schema, prepare
from billfold.transform.columns import describe_columns, detect_format, needed_columns

MIN_VERSION = 16
# A large delivery takes a few gigabytes while it is unpacked.
_ROOM_BYTES = 5 * 2**30
# Beside DuckDB the process itself needs some of the memory.
_MEMORY_SHARE = 0.8
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))

Tell = Callable[[Probe], None]

log = structlog.get_logger(__name__)


def examine(
    *,
    settings: Settings,
    client_id: str | None = None,
    tell: Tell = lambda _: None,
    open_store: Callable[[Settings], Database] = open_database,
    clock: Clock = utc_now,
) -> tuple[Probe, ...]:
    """Try everything, of one client or of all that are enabled, and say what was found; `tell` hears each at once.

    Nothing is written, nothing is ingested. Raises UsageError for an unknown client; what cannot be reached is a probe
    that failed.
    """
    probes: list[Probe] = []

    def keep(found: Iterable[Probe], client: Client | None = None) -> None:
        for probe in found:
            named = replace(probe, client_id=client.client_id if client else None)
            probes.append(named)
            tell(named)

    keep((_probe_spool(settings), _probe_memory(settings)))
    database, found = _open(settings, open_store)
    keep(found)
    chosen = _choose_clients(database, settings, client_id)
    identity, our_arn = probe_identity(settings, clock)
    keep(identity)
    keep((probe_queue(settings),))
    for client in chosen:
        keep(_unbroken(_probe_client(client, settings, database, our_arn, clock)), client)
    return tuple(probes)


def _unbroken(probes: Iterator[Probe]) -> Iterator[Probe]:
    """The probes of one client; a fault of ours ends them with one that failed, and the other clients are examined."""
    try:
        yield from probes
    except Exception as error:
        # The text of an error that nobody foresaw may hold anything.
        log.exception("internal_error")
        found = f"the examination broke off: {type(error).__name__}"
        yield Probe(name="client", state=ProbeState.FAILED, found=found, fix="report this as a fault of Billfold")


def _open(settings: Settings, open_store: Callable[[Settings], Database]) -> tuple[Database | None, Sequence[Probe]]:
    """The database, None where it cannot be used, and what was found of it."""
    try:
        database = open_store(settings)
        with connect(database.conninfo) as connection:
            server = rights.describe_server(connection)
    except BillfoldError as error:
        return None, [_failed("database", error, error.advice)]
    probes = [_probe_version(server)]
    try:
        # The embedded database is migrated at every start, here as anywhere.
        prepare(database)
        with connect(database.conninfo) as connection:
            check_schema(connection)
            probes.append(_database("schema", ProbeState.OK, "is current"))
            probes += _probe_writer(connection, server, is_embedded=database.is_embedded)
    except BillfoldError as error:
        return None, [*probes, _failed("schema", error, error.advice)]
    return database, [*probes, _probe_reader(database)]


def _probe_version(server: rights.Server) -> Probe:
    if server.version_number < MIN_VERSION * 10_000:
        fix = f"upgrade the server to PostgreSQL {MIN_VERSION} or later"
        return _database("postgresql", ProbeState.FAILED, f"version {server.version}", fix)
    return _database("postgresql", ProbeState.OK, f"version {server.version}, as {server.role_name}")


def _probe_writer(connection: Connection, server: rights.Server, *, is_embedded: bool) -> Iterator[Probe]:
    fix = "as the owner of the tables: SELECT billfold_grant_rights(); it knows billfold_ingest and billfold_reader"
    if missing := rights.list_missing_rights(connection):
        yield _database("rights", ProbeState.FAILED, f"{server.role_name} lacks {', '.join(missing)}", fix)
    elif server.is_superuser and not is_embedded:
        found = f"{server.role_name} is a superuser"
        yield _database("rights", ProbeState.WARNING, found, "ingest as billfold_ingest: docs/postgresql.md")
    else:
        yield _database("rights", ProbeState.OK, f"{server.role_name} may write what an ingest writes")
    if rights.may_create_partitions(connection):
        yield _database("new months", ProbeState.OK, "their partitions can be made")
    else:
        found = f"{server.role_name} may not run billfold_create_partitions"
        yield _database("new months", ProbeState.FAILED, found, fix)


def _probe_reader(database: Database) -> Probe:
    name = "reader"
    if database.reader_conninfo is None:
        fix = "ALTER ROLE billfold_reader LOGIN PASSWORD '…', and set BILLFOLD_READER_DATABASE_URL"
        found = "BILLFOLD_READER_DATABASE_URL is not set: reports read as the writer, and `billfold sql` refuses to run"
        return _database(name, ProbeState.WARNING, found, fix)
    try:
        with connect(database.reader_conninfo) as connection:
            reader = rights.describe_reader(connection)
            excess = rights.list_excess_rights(connection)
    except BillfoldError as error:
        return _failed(name, error, "check BILLFOLD_READER_DATABASE_URL, and run: SELECT billfold_grant_rights()")
    if excess:
        found = f"{reader.role_name} may do more than read: {', '.join(excess)}"
        return _database(name, ProbeState.FAILED, found, "use a role with SELECT alone, such as billfold_reader")
    if reader.sees_external_ids:
        fix = f"REVOKE SELECT ON billing_clients FROM {reader.role_name}, then SELECT billfold_grant_rights()"
        return _database(name, ProbeState.FAILED, f"{reader.role_name} may read the external ids of clients", fix)
    if not reader.may_read:
        fix = "as the owner of the tables: SELECT billfold_grant_rights()"
        return _database(name, ProbeState.FAILED, f"{reader.role_name} may not read focus_cost_and_usage", fix)
    return _database(name, ProbeState.OK, f"{reader.role_name} may only read, and no external id")


def _choose_clients(database: Database | None, settings: Settings, client_id: str | None) -> list[Client]:
    default = settings.default_client()
    if database is None:
        # Without the registry there is the client of the settings alone.
        if client_id not in (None, default.client_id):
            return []
        return [default] if default.bucket or client_id else []
    known = [client for client in clients.list_clients(database) if client.is_registered]
    if client_id is not None:
        named = [client for client in known if client.client_id == client_id]
        if not named and client_id == default.client_id:
            named = [default]
        if not named:
            registered = ", ".join(client.client_id for client in known) or "none yet"
            raise UsageError(f"there is no client {client_id}", advice=f"registered clients: {registered}")
        return named
    return ([default] if default.bucket else []) + [client for client in known if client.enabled]


def _probe_client(
    client: Client, settings: Settings, database: Database | None, our_arn: str, clock: Clock
) -> Iterator[Probe]:
    if client.is_registered and client.client_id == settings.client and (settings.bucket or settings.role_arn):
        yield Probe(
            name="client",
            state=ProbeState.FAILED,
            found="registry and settings both describe it",
            fix="unset AWS_BILLING_BUCKET and AWS_ASSUME_ROLE_ARN, or `billfold client remove` it",
        )
    if not client.enabled:
        found = "is disabled: nothing is taken in for it"
        yield Probe(
            name="client", state=ProbeState.WARNING, found=found, fix=f"billfold client enable {client.client_id}"
        )
    role = probe_role(client, settings, our_arn)
    yield from role.probes
    if client.bucket is None:
        fix = "set AWS_BILLING_BUCKET and AWS_BILLING_PREFIX"
        yield Probe(name="listing", state=ProbeState.FAILED, found="the client has no bucket", fix=fix)
        return
    if not role.is_open:
        yield Probe(name="listing", state=ProbeState.SKIPPED, found="the role does not let us in")
        return
    bucket = probe_bucket(client, settings, role.wide, clock)
    yield from (
        _judge_event(probe, client, database, clock) if probe.name == "notification" else probe
        for probe in bucket.probes
    )
    yield _probe_columns(bucket)


def _judge_event(probe: Probe, client: Client, database: Database | None, clock: Clock) -> Probe:
    """Where the bucket may not be asked, the events that came tell."""
    if database is None or probe.state is ProbeState.OK:
        return probe
    try:
        with connect(database.conninfo) as connection:
            last_at = rights.find_last_event(connection, client.client_id)
    except BillfoldError:
        return probe
    if last_at is None:
        return replace(probe, found=f"{probe.found}; no event of this client was ever taken in")
    told = f"the last event was taken in at {last_at:%Y-%m-%d %H:%M} UTC"
    hours = (clock() - last_at).total_seconds() / 3600
    if probe.state is ProbeState.UNKNOWN and hours <= client.refresh_hours * 1.5:
        return replace(probe, state=ProbeState.OK, found=told, fix="")
    return replace(probe, found=f"{probe.found}; {told}")


def _probe_columns(bucket: BucketFindings) -> Probe:
    name = "columns"
    if bucket.headers is None:
        found = "no columns could be read" if bucket.header_source else "there is no delivery that could tell"
        return Probe(name=name, state=ProbeState.SKIPPED, found=found)
    try:
        export_format = detect_format(bucket.headers, file=bucket.header_source)
        describe_columns(bucket.headers, export_format, file=bucket.header_source)
    except InputError as error:
        fix = error.advice or "choose all columns in the export"
        return Probe(name=name, state=ProbeState.FAILED, found=f"{bucket.header_source}: {error.message}", fix=fix)
    needed = len(needed_columns(export_format))
    found = f"{len(bucket.headers)} of {export_format}, the {needed} needed ones among them"
    return Probe(name=name, state=ProbeState.OK, found=found)


def _probe_spool(settings: Settings) -> Probe:
    name, folder = "spool", settings.spool
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            pass
        free = shutil.disk_usage(folder).free
    except OSError as error:
        fix = "set BILLFOLD_SPOOL to a folder that this user may write"
        return _machine(name, ProbeState.FAILED, f"{folder} cannot be written: {error.strerror}", fix)
    found = f"{free / 2**30:.1f} GiB free in {folder}"
    fix = "free some space, or set BILLFOLD_SPOOL to a folder on a larger disk"
    if free <= settings.min_free_bytes:
        kept = f"{settings.min_free_bytes / 2**30:.1f} GiB are kept free (BILLFOLD_MIN_FREE_BYTES)"
        return _machine(name, ProbeState.FAILED, f"{found}; {kept}", fix)
    if free < settings.min_free_bytes + _ROOM_BYTES:
        return _machine(name, ProbeState.WARNING, f"{found}: a large delivery may not fit", fix)
    return _machine(name, ProbeState.OK, found)


def _probe_memory(settings: Settings) -> Probe:
    total_mb = _memory_bytes() / 1e6
    found = f"DuckDB may take {settings.memory_limit_mb} MB of {total_mb:.0f} MB"
    fix = f"BILLFOLD_MEMORY_LIMIT_MB={max(256, int(total_mb * 0.5))}"
    if settings.memory_limit_mb >= total_mb:
        return _machine("memory", ProbeState.FAILED, found, fix)
    if settings.memory_limit_mb > total_mb * _MEMORY_SHARE:
        return _machine("memory", ProbeState.WARNING, f"{found}; the process needs some besides", fix)
    return _machine("memory", ProbeState.OK, found)


def _memory_bytes() -> int:
    """The memory of the machine, or of the container where that is less."""
    total = int(psutil.virtual_memory().total)
    for path in _CGROUP_LIMITS:
        try:
            text = path.read_text().strip()
        except OSError:
            continue
        return min(total, int(text)) if text.isdecimal() else total
    return total


def _failed(name: str, error: BillfoldError, fix: str) -> Probe:
    return _database(name, ProbeState.FAILED, error.message, fix or "check DATABASE_URL")


def _database(name: str, state: ProbeState, found: str, fix: str = "") -> Probe:
    return Probe(name=name, state=state, found=found, fix=fix, area="database")


def _machine(name: str, state: ProbeState, found: str, fix: str = "") -> Probe:
    return Probe(name=name, state=state, found=found, fix=fix, area="machine")
