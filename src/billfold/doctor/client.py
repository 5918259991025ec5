"""Probes of a client: its role, its bucket, its newest delivery and the events of its bucket."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import structlog

from billfold.aws import probe_bucket, probe_role
from billfold.aws.bucket_probes import BucketFindings
from billfold.aws.credentials import Clock
from billfold.clients import registry
from billfold.errors import BillfoldError, InputError, UsageError
from billfold.log import Event
from billfold.model import Client, Probe, ProbeState
from billfold.settings import Settings
from billfold.store import rights
from billfold.store.database import Database, connect
from billfold.transform.columns import describe_columns, detect_format, needed_columns

# An event is overdue after one and a half refresh intervals, as a client is late.
_LATE_AFTER_INTERVALS = 1.5

log = structlog.get_logger(__name__)


def choose_clients(database: Database | None, settings: Settings, client_id: str | None) -> list[Client]:
    """The client of this id, or all enabled ones. Raises UsageError for an unknown client."""
    default = settings.default_client()
    if database is None:
        # Without the registry only the client of the settings is known.
        if client_id not in (None, default.client_id):
            return []
        return [default] if default.bucket or client_id else []
    known = [client for client in registry.list_clients(database) if client.is_registered]
    if client_id is not None:
        named = [client for client in known if client.client_id == client_id]
        if not named and client_id == default.client_id:
            named = [default]
        if not named:
            registered = ", ".join(client.client_id for client in known) or "none yet"
            raise UsageError(f"there is no client {client_id}", advice=f"registered clients: {registered}")
        return named
    return ([default] if default.bucket else []) + [client for client in known if client.enabled]


def probe_client(
    client: Client, settings: Settings, database: Database | None, our_arn: str, clock: Clock
) -> Iterator[Probe]:
    """The probes of one client. A defect of ours ends them with a failed probe; other clients are still probed."""
    try:
        yield from _probe_client(client, settings, database, our_arn, clock)
    except Exception as error:
        # The text of an unexpected error may contain anything.
        log.exception(Event.INTERNAL_ERROR)
        found = f"the probes of this client stopped: {type(error).__name__}"
        yield Probe(name="client", state=ProbeState.FAILED, found=found, fix="report this as a defect of Billfold")


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
        found = "is disabled: nothing is ingested for it"
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
        yield Probe(name="listing", state=ProbeState.SKIPPED, found="the role denies access")
        return
    bucket = probe_bucket(client, settings, role.wide, clock)
    yield from (
        _judge_event(probe, client, database, clock) if probe.name == "notification" else probe
        for probe in bucket.probes
    )
    yield _probe_columns(bucket)


def _judge_event(probe: Probe, client: Client, database: Database | None, clock: Clock) -> Probe:
    """If the role may not read the bucket's notifications, received events show whether they work."""
    if database is None or probe.state is ProbeState.OK:
        return probe
    try:
        with connect(database.conninfo) as connection:
            last_at = rights.find_last_event(connection, client.client_id)
    except BillfoldError:
        return probe
    if last_at is None:
        return replace(probe, found=f"{probe.found}; no event of this client was ever received")
    last = f"the last event was received at {last_at:%Y-%m-%d %H:%M} UTC"
    hours = (clock() - last_at).total_seconds() / 3600
    if probe.state is ProbeState.UNKNOWN and hours <= client.refresh_hours * _LATE_AFTER_INTERVALS:
        return replace(probe, state=ProbeState.OK, found=last, fix="")
    return replace(probe, found=f"{probe.found}; {last}")


def _probe_columns(bucket: BucketFindings) -> Probe:
    name = "columns"
    if bucket.headers is None:
        found = "no columns could be read" if bucket.header_source else "there is no delivery yet"
        return Probe(name=name, state=ProbeState.SKIPPED, found=found)
    try:
        export_format = detect_format(bucket.headers, file=bucket.header_source)
        describe_columns(bucket.headers, export_format, file=bucket.header_source)
    except InputError as error:
        fix = error.advice or "select all columns in the export"
        return Probe(name=name, state=ProbeState.FAILED, found=f"{bucket.header_source}: {error.message}", fix=fix)
    needed = len(needed_columns(export_format))
    found = f"{len(bucket.headers)} of {export_format}, including the {needed} required ones"
    return Probe(name=name, state=ProbeState.OK, found=found)
