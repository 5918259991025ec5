"""The publishing transaction: land, map and publish on the bulk loader's connection, all or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa

from billfold.dimensions import Dimension
from billfold.errors import RunConflictError
from billfold.model import CostBasis, LeftOut, MoneyColumns, PublicationKind, Totals
from billfold.period import BillingPeriod
from billfold.sql import read_queries
from billfold.store.database import BulkConnection
from billfold.store.reports import scans

# The tables of daily costs, what is added to each, and the key that only the one has.
_ROLL_UPS = (("billing_daily_cost", "moved_day", ""), ("billing_daily_tag_cost", "moved_tag_day", "tag_set_key,"))


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCounts:
    """What one file brought to a delivery."""

    file_number: int
    ingestion_run_id: UUID
    rows_read: int
    rows_inserted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What the control tables keep of a publication; `delivery_id` is the delivery that stands after it.

    `published_at` is a moment of PostgreSQL's, as `take_moment` gives it. `undiscounted` is empty where the
    publication brings no new line items.
    """

    publication_id: int
    published_at: str
    statement_id: int
    kind: PublicationKind
    delivery_id: UUID | None
    restored_publication_id: int | None = None
    cost_basis: CostBasis
    hash_version: int
    mapping_version: int
    before: Totals
    after: Totals
    rows_added: int
    rows_removed: int
    left_out: tuple[LeftOut, ...] = ()
    unproved: Mapping[str, Decimal] = field(default_factory=dict)
    undiscounted: Mapping[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What the control tables keep of the delivery that a publication brings."""

    billing_period: BillingPeriod
    export_format: str
    rows_read: int
    findings: tuple[str, ...]
    columns: Mapping[str, str]
    timings: Mapping[str, float]
    files: tuple[FileCounts, ...]


def ensure_members(bulk: BulkConnection, dimension: Dimension, members: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """Insert the members that are new, in one short transaction, and return member_hash (text) and key of all of them.

    They are inserted in the order of their hash, so that two ingestions never wait for each other in a circle.
    """
    names = (*(("client_id",) if dimension.of_client else ()), *dimension.attributes)
    types = ", ".join(f"{name} {'json' if name in dimension.json_attributes else 'text'}" for name in names)
    casts = ", ".join(f"{name}::jsonb" if name in dimension.json_attributes else name for name in names)
    columns = ", ".join(names)
    bulk.execute(f"CREATE TEMP TABLE new_member (member_hash uuid, {types}) ON COMMIT DROP")
    bulk.load("new_member", members, temporary=True)
    bulk.execute("ANALYZE new_member (member_hash)")
    bulk.execute(
        f"INSERT INTO {dimension.table} (member_hash, {columns}) SELECT member_hash, {casts} FROM new_member"
        f" WHERE NOT EXISTS (SELECT FROM {dimension.table} AS known WHERE known.member_hash = new_member.member_hash)"
        " ORDER BY member_hash"
        " ON CONFLICT (member_hash) DO NOTHING"
    )
    with bulk.stream(
        f"SELECT member_hash::text AS member_hash, {dimension.key} FROM {dimension.table}"
        " JOIN new_member USING (member_hash)"
    ) as stream:
        keys = stream.read_all()
    bulk.commit()
    return keys.to_reader()


@contextmanager
def stream_current_rows(
    bulk: BulkConnection, period: BillingPeriod, *, statement_id: int
) -> Iterator[pa.RecordBatchReader]:
    """The statement's current pairs (row_hash, occurrence) as an Arrow stream."""
    query = read_queries("billfold.store", "charges")["current_rows"].format(**partitions(period))
    with bulk.stream(query, statement_id) as rows:
        yield rows
    bulk.rollback()


@contextmanager
def stream_landed_rows(
    bulk: BulkConnection, period: BillingPeriod, *, statement_id: int
) -> Iterator[pa.RecordBatchReader]:
    """The statement's raw rows (row_hash, occurrence, row_data as text) as an Arrow stream, in bounded memory."""
    # The statement's id stands in the text: with a bound parameter the driver would hold the whole result in memory.
    query = read_queries("billfold.store", "charges")["landed_rows"]
    with bulk.stream(query.format(statement_id=int(statement_id), **partitions(period))) as rows:
        yield rows
    bulk.rollback()


def begin_publication(bulk: BulkConnection, *, statement_id: int, expected_publication_id: int | None) -> int:
    """Lock the statement's row and take the next publication's id.

    Raises RunConflictError when the statement no longer holds the publication that the delivery was compared with.
    """
    queries = read_queries("billfold.store", "publish")
    current = bulk.query(queries["lock_publication"], statement_id)
    if not current or current[0][0] != expected_publication_id:
        raise RunConflictError("the statement was published by another worker meanwhile", advice="try again")
    publication_id: int = bulk.query(queries["next_publication"])[0][0]
    return publication_id


def land_rows(bulk: BulkConnection, period: BillingPeriod, rows: pa.RecordBatchReader, *, row_count: int) -> None:
    """COPY the added line items into the partition of their month."""
    bulk.load(partitions(period)["raw"], rows)
    # The reconciliation reads them back.
    scans.prefer_scans(bulk.query, period, row_count=row_count)


def withdraw(
    bulk: BulkConnection,
    period: BillingPeriod,
    removed: pa.RecordBatchReader,
    *,
    statement_id: int,
    publication_id: int,
    all_charges: bool,
) -> None:
    """Move the removed line items and their charges to history; with `all_charges` every charge of the statement."""
    queries = read_queries("billfold.store", "charges")
    names = partitions(period)
    bulk.execute("CREATE TEMP TABLE removed_row (row_hash uuid, occurrence integer) ON COMMIT DROP")
    bulk.load("removed_row", removed, temporary=True)
    bulk.execute("ANALYZE removed_row")
    bulk.execute(queries["withdraw_rows"].format(**names), statement_id, publication_id)
    charges = queries["withdraw_all_charges" if all_charges else "withdraw_charges"]
    bulk.execute(charges.format(**names), statement_id, publication_id)


def withdraw_charges(bulk: BulkConnection, period: BillingPeriod, *, statement_id: int, publication_id: int) -> None:
    """Move every charge of the statement to history; its line items stay."""
    query = read_queries("billfold.store", "charges")["withdraw_all_charges"]
    bulk.execute(query.format(**partitions(period)), statement_id, publication_id)


def sum_charged(bulk: BulkConnection, period: BillingPeriod, *, statement_id: int, publication_id: int) -> Totals:
    """Count and billed cost of the charges that this publication added, read back."""
    query = read_queries("billfold.store", "charges")["sum_charges"]
    names = partitions(period)
    rows = bulk.query(query.format(fact=names["fact"], mark="added_by"), statement_id, publication_id)
    return _as_totals([], rows)


def land_charges(bulk: BulkConnection, period: BillingPeriod, charges: pa.RecordBatchReader) -> None:
    """Bring the charges into a staging table as text and from there, computed exactly, into the facts."""
    queries = read_queries("billfold.store", "charges")
    bulk.execute(queries["create_staging"])
    bulk.load("charge_staging", charges, temporary=True)
    bulk.execute(queries["insert_charges"].format(partition=partitions(period)["fact"]))


def roll_up(
    bulk: BulkConnection, period: BillingPeriod, *, statement_id: int, publication_id: int, is_first: bool
) -> None:
    """Carry what this publication added and withdrew into the daily costs, with and without tags.

    The differences of those without are kept. A statement's first publication has none: all of it is new.
    """
    queries = read_queries("billfold.store", "charges")
    bulk.execute(queries["create_moved_tags"])
    bulk.execute(queries["sum_moved_tags"].format(**partitions(period)), statement_id, publication_id)
    bulk.execute(queries["create_moved"])
    bulk.execute(queries["sum_moved"])
    for daily, moved, tag_set_key in _ROLL_UPS:
        onto = "" if is_first else queries["onto"].format(tag_set_key=tag_set_key)
        bulk.execute(queries["roll_up"].format(daily=daily, moved=moved, onto=onto))
        if not is_first:
            bulk.execute(queries["drop_empty_days"].format(daily=daily), statement_id)
    if not is_first:
        bulk.execute(queries["keep_restatement"], publication_id)
    bulk.execute(queries["drop_moved"])


def sum_landed(
    bulk: BulkConnection,
    period: BillingPeriod,
    *,
    statement_id: int,
    publication_id: int,
    currency: str,
    columns: MoneyColumns,
    source: Totals,
) -> tuple[Totals, Totals]:
    """What this publication added and what it withdrew, read back from raw JSON and facts.

    Each ->> reads a row's whole JSON, so the landed rows are asked for no more than their source can hold: net costs
    where it has some, currencies where it has several. `currency` stands where a line item names none.
    """
    queries = read_queries("billfold.store", "charges")
    names = partitions(period)
    is_single = len(source.gross) == 1
    added_rows = queries["sum_raw_added"].format(
        raw=names["raw"],
        currency="$3::text" if is_single else f"coalesce({_value(columns.currency)}, $3::text)",
        gross_cost=f"({_value(columns.gross)})::numeric",
        net_cost=f"billfold_number({_value(columns.net)})" if columns.net else "0::numeric",
    )
    only_currency = next(iter(source.gross)) if is_single else currency
    added = _as_totals(
        bulk.query(added_rows, statement_id, publication_id, only_currency),
        bulk.query(queries["sum_charges"].format(fact=names["fact"], mark="added_by"), statement_id, publication_id),
    )
    return added, sum_withdrawn(
        bulk, period, statement_id=statement_id, publication_id=publication_id, currency=currency
    )


def sum_withdrawn(
    bulk: BulkConnection, period: BillingPeriod, *, statement_id: int, publication_id: int, currency: str
) -> Totals:
    """What this publication withdrew, read back from the history."""
    names = partitions(period)
    return _sum_known(
        bulk, names["raw_history"], names["fact_history"], "removed_by", statement_id, publication_id, currency
    )


def sum_restored(
    bulk: BulkConnection, period: BillingPeriod, *, statement_id: int, publication_id: int, currency: str
) -> Totals:
    """What this publication brought back from the history, read from where it stands again."""
    names = partitions(period)
    return _sum_known(bulk, names["raw"], names["fact"], "added_by", statement_id, publication_id, currency)


def _sum_known(
    bulk: BulkConnection, raw: str, fact: str, mark: str, statement_id: int, publication_id: int, currency: str
) -> Totals:
    queries = read_queries("billfold.store", "charges")
    return _as_totals(
        bulk.query(queries["sum_raw_known"].format(table=raw, mark=mark), statement_id, publication_id, currency),
        bulk.query(queries["sum_charges"].format(fact=fact, mark=mark), statement_id, publication_id),
    )


def lock_bucket(bulk: BulkConnection, *, client_id: str) -> None:
    """Let no other publication of this client commit before this one: held only from here to the commit."""
    bulk.execute(read_queries("billfold.store", "publish")["lock_bucket"], client_id)


def take_moment(bulk: BulkConnection, statement_ids: Sequence[int]) -> str:
    """The moment at which these statements change together: taken once, just before the commit."""
    query = read_queries("billfold.store", "publish")["take_moment"]
    moment: str = bulk.query(query, ",".join(map(str, statement_ids)))[0][0]
    return moment


def finish_publication(bulk: BulkConnection, publication: Publication, arrival: Arrival) -> None:
    """Write the publication, the statement, the delivery and its runs, and commit everything at once."""
    record_publication(bulk, publication)
    _record_arrival(bulk, publication, arrival)
    bulk.commit()


def record_publication(bulk: BulkConnection, publication: Publication) -> None:
    """Write the publication and make it its statement's current one; the transaction goes on."""
    queries = read_queries("billfold.store", "publish")
    delivery_id = str(publication.delivery_id) if publication.delivery_id else None
    bulk.execute(
        queries["insert_publication"],
        publication.publication_id,
        publication.statement_id,
        str(publication.kind),
        delivery_id,
        publication.restored_publication_id,
        publication.hash_version,
        publication.mapping_version,
        str(publication.cost_basis),
        publication.before.row_count,
        publication.rows_added,
        publication.rows_removed,
        publication.after.row_count,
        publication.before.charge_count,
        publication.after.charge_count,
        _money_json(publication.before.billed),
        _money_json(publication.after.billed),
        _money_json(publication.after.gross),
        _money_json(publication.after.net),
        _left_out_json(publication.left_out),
        publication.published_at,
        _money_json(publication.unproved),
        _money_json(publication.undiscounted) if publication.undiscounted else None,
    )
    bulk.execute(
        queries["update_statement"],
        publication.statement_id,
        publication.publication_id,
        delivery_id,
        publication.after.row_count,
        str(publication.cost_basis),
        publication.mapping_version,
        publication.hash_version,
    )


def finish_remap(bulk: BulkConnection, publication: Publication) -> None:
    """Write the publication, its statement and which mapping made the charges of its delivery, and commit."""
    record_publication(bulk, publication)
    bulk.execute(
        read_queries("billfold.store", "publish")["update_mapping"],
        str(publication.delivery_id),
        publication.mapping_version,
        _money_json(publication.after.billed),
    )
    bulk.commit()


def _record_arrival(bulk: BulkConnection, publication: Publication, arrival: Arrival) -> None:
    queries = read_queries("billfold.store", "publish")
    delivery_id = str(publication.delivery_id)
    bulk.execute(
        queries["update_delivery"],
        delivery_id,
        publication.statement_id,
        str(arrival.billing_period.starts_on),
        arrival.export_format,
        arrival.rows_read,
        publication.rows_added,
        publication.rows_removed,
        arrival.rows_read - publication.rows_added,
        _money_json(publication.after.billed),
        _money_json(publication.after.billed),
        publication.mapping_version,
        json.dumps(arrival.findings),
        json.dumps({stage: round(seconds, 3) for stage, seconds in arrival.timings.items()}),
        json.dumps(dict(arrival.columns)),
        publication.publication_id,
    )
    for file in arrival.files:
        counts = (file.rows_read, file.rows_inserted, file.rows_read - file.rows_inserted)
        bulk.execute(queries["update_run"], str(file.ingestion_run_id), delivery_id, *counts)
        bulk.execute(queries["update_delivery_file"], delivery_id, file.file_number, *counts)


def _as_totals(rows: Sequence[tuple[Any, ...]], charges: Sequence[tuple[Any, ...]]) -> Totals:
    return Totals(
        row_count=sum(row[1] for row in rows),
        charge_count=sum(row[1] for row in charges),
        gross={row[0]: Decimal(row[2]) for row in rows},
        net={row[0]: Decimal(row[3]) for row in rows},
        billed={row[0]: Decimal(row[2]) for row in charges},
    )


def _value(headers: Sequence[str]) -> str:
    """The value of a row's JSON under the first of these headers that it has."""
    found = [f"raw.row_data->>{_literal(header)}" for header in headers]
    return f"coalesce({', '.join(found)})" if len(found) > 1 else found[0] if found else "NULL::text"


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def partitions(period: BillingPeriod) -> dict[str, str]:
    """The partitions of a month, as `billfold_create_partitions` names them."""
    suffix = f"_{period.starts_on:%Y_%m}"
    return {
        "raw": f"raw_aws_billing_rows{suffix}",
        "raw_history": f"raw_aws_billing_rows_history{suffix}",
        "fact": f"billing_usage_fact{suffix}",
        "fact_history": f"billing_usage_fact_history{suffix}",
        "split": f"billing_split_cost{suffix}",
        "split_history": f"billing_split_cost_history{suffix}",
    }


def _money_json(amounts: Mapping[str, Decimal]) -> str:
    return json.dumps({currency: format(amount, "f") for currency, amount in sorted(amounts.items())})


def _left_out_json(left_out: Sequence[LeftOut]) -> str:
    return json.dumps(
        [
            {"reason": item.reason, "currency": item.currency, "rows": item.row_count, "cost": format(item.cost, "f")}
            for item in left_out
        ]
    )
