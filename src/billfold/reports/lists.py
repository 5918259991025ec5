"""The lists: runs, deliveries, statements and publications, the newest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from billfold.selection import Filter
from billfold.store.database import Connection, Database
from billfold.store.reports import reading

MAX_CHOICES = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run. Rows are line items; `delivery_id` is None if the source could not be resolved to a delivery.

    `error_code` is that of the latest attempt, `last_error_code` that of the last failed one.
    """

    ingestion_run_id: UUID
    client_id: str
    delivery_id: UUID | None
    export_name: str | None
    billing_period: str | None
    source_bucket: str
    source_s3_key: str
    source_etag: str
    status: str
    trigger_source: str
    attempts: int
    size_bytes: int | None
    sha256: str | None
    rows_read: int
    rows_inserted: int
    rows_skipped: int
    error_code: str | None
    error_message: str | None
    last_error_code: str | None
    last_error_message: str | None
    last_failed_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRow:
    """A delivery. `is_standing`: it is its statement's current one; `is_current`: it is also counted.

    Money is exact text by currency.

    `publication_id` is the publication by which it last became current, `reason` says why it is not, `columns` are
    the headers of its files with the type of each; `last_error_code` stays when a later attempt succeeds. `timings` are
    seconds by stage, which overlap; `published_at` is when it first became current. One that was requested over HTTP
    and waits for its attempt has `asked_at`, and is tried `not_before` that moment. `superseded_by` replaced a
    superseded one; None if it was rolled back since, or is of another export.
    """

    delivery_id: UUID
    client_id: str
    statement_id: int | None
    export_name: str
    bucket: str
    export_path: str
    billing_period: str | None
    format: str | None
    state: str
    is_current: bool
    is_standing: bool
    delivered_at: datetime
    manifest_key: str | None
    execution_id: str | None
    trigger_source: str
    attempts: int
    rows_read: int
    rows_added: int
    rows_removed: int
    rows_unchanged: int
    source_cost: Mapping[str, str]
    billed_cost: Mapping[str, str]
    findings: Sequence[str]
    columns: Mapping[str, str]
    publication_id: int | None
    reason: str | None
    released_at: datetime | None
    asked_at: datetime | None
    not_before: datetime | None
    error_code: str | None
    error_message: str | None
    last_error_code: str | None
    last_error_message: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_seconds: float | None
    timings: Mapping[str, float]
    published_at: datetime | None
    superseded_by: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementRow:
    """A statement: its current delivery, rows, charges and money (exact text by currency).

    `remembered_since` is None while its whole history is kept. `related` are other statements of
    its month that have costs of one of its accounts: each with its relation, what decided it, and what both hold.
    """

    statement_id: int
    client_id: str
    export_name: str
    bucket: str
    export_path: str
    billing_period: str
    format: str | None
    counted: bool
    cost_basis: str | None
    row_count: int
    charge_count: int
    billed_cost: Mapping[str, str]
    current_delivery_id: UUID | None
    publication_number: int
    publication_kind: str | None
    delivered_at: datetime | None
    published_at: datetime | None
    remembered_since: datetime | None
    related: Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicationRow:
    """One change of a statement's bill: rows and charges are counts, money is exact text by currency.

    `is_standing` says whether this is the current publication, `is_current` whether it is counted, too.

    `delivery_id` is the current delivery after it, None if the statement is empty again. `restored_number` is that
    of the publication that a rollback or an undo restored, 0 for the state before the first.
    """

    publication_id: int
    statement_id: int
    client_id: str
    export_name: str
    billing_period: str
    number: int
    kind: str
    is_current: bool
    is_standing: bool
    counted: bool
    delivery_id: UUID | None
    restored_number: int | None
    published_at: datetime
    rows_before: int
    rows_added: int
    rows_removed: int
    rows_after: int
    charges_before: int
    charges_after: int
    billed_cost_before: Mapping[str, str]
    billed_cost_after: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The bills to choose from: names of exports, and months as text, the newest first."""

    exports: Sequence[str]
    periods: Sequence[str]


def list_choices(database: Database, client: str | None = None) -> Choices:
    """The exports and months that filters offer, at most MAX_CHOICES of each."""
    with reading.read(database) as connection:
        return read_choices(connection, client)


def read_choices(connection: Connection, client: str | None) -> Choices:
    """The same within the transaction of a larger report."""
    [choices] = reading.fetch(connection, "list_choices", Choices, {"client": client, "limit": MAX_CHOICES})
    return choices


def list_runs(database: Database, wanted: Filter) -> tuple[RunRow, ...]:
    """The runs, the newest first."""
    with reading.read(database) as connection:
        return reading.fetch(connection, "list_runs", RunRow, wanted.parameters())


def list_deliveries(database: Database, wanted: Filter) -> tuple[DeliveryRow, ...]:
    """The deliveries, the newest first."""
    with reading.read(database) as connection:
        return reading.fetch(connection, "list_deliveries", DeliveryRow, wanted.parameters())


def list_statements(database: Database, wanted: Filter) -> tuple[StatementRow, ...]:
    """The statements, the newest month first."""
    with reading.read(database) as connection:
        return reading.fetch(connection, "list_statements", StatementRow, wanted.parameters())


def list_publications(database: Database, wanted: Filter) -> tuple[PublicationRow, ...]:
    """The publications of all statements, the newest first."""
    with reading.read(database) as connection:
        return reading.fetch(connection, "list_publications", PublicationRow, wanted.parameters())
