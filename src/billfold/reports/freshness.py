"""Freshness: when AWS delivered last, and which clients are late."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from billfold.store.database import Database
from billfold.store.reports import reading


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientFreshness:
    """A client's newest delivery that did not fail, None before the first one, and when its folder was last listed.

    It is late, since `late_since`, after one and a half refresh intervals without a delivery. Nothing is
    expected of a client that is disabled, has no bucket, or is described neither by the registry nor by settings.
    """

    client_id: str
    refresh_hours: int
    backfilled_at: datetime | None
    last_delivered_at: datetime | None
    is_expected: bool
    late_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementFreshness:
    """A statement's newest delivery and its publication; only the newest month of an export can be late."""

    statement_id: int
    client_id: str
    export_name: str
    billing_period: str
    last_delivered_at: datetime | None
    published_at: datetime | None
    late_since: datetime | None


def list_client_freshness(
    database: Database, default_client: str | None, client: str | None = None
) -> tuple[ClientFreshness, ...]:
    """All clients, or one, by id; of those outside of the registry only `default_client` can be late.

    It is the client that the settings describe, None if they describe none: a name alone has no bucket.
    """
    with reading.read(database) as connection:
        parameters = {"client": client, "default_client": default_client}
        return reading.fetch(connection, "list_client_freshness", ClientFreshness, parameters)


def list_statement_freshness(
    database: Database, default_client: str | None, client: str | None = None
) -> tuple[StatementFreshness, ...]:
    """All statements, or those of one client, each export's newest month first; clients are expected as above."""
    with reading.read(database) as connection:
        parameters = {"client": client, "default_client": default_client}
        return reading.fetch(connection, "list_statement_freshness", StatementFreshness, parameters)
