"""Publications: the control rows that the publishing transaction writes, and the locks it takes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

from billfold.errors import RunConflictError
from billfold.model import CostBasis, LeftOut, PublicationKind, Totals
from billfold.period import BillingPeriod
from billfold.sql import read_queries
from billfold.store.database import BulkConnection


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCounts:
    """The rows of one file in a delivery."""

    file_number: int
    ingestion_run_id: UUID
    rows_read: int
    rows_inserted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """What the control tables keep of a publication; `delivery_id` is the current delivery after it.

    `published_at` is PostgreSQL's time, from `take_moment`. `undiscounted` is empty if the publication adds no line
    items.
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
    """What the control tables keep of the delivery that is published."""

    billing_period: BillingPeriod
    export_format: str
    rows_read: int
    findings: tuple[str, ...]
    columns: Mapping[str, str]
    timings: Mapping[str, float]
    files: tuple[FileCounts, ...]


def begin_publication(bulk: BulkConnection, *, statement_id: int, expected_publication_id: int | None) -> int:
    """Lock the statement's row and take the next publication's id.

    Raises RunConflictError if the statement no longer has the publication that the delivery was compared with.
    """
    queries = read_queries("billfold.store.deliveries", "publications")
    current = bulk.query(queries["lock_publication"], statement_id)
    if not current or current[0][0] != expected_publication_id:
        raise RunConflictError("the statement was published by another worker meanwhile", advice="try again")
    publication_id: int = bulk.query(queries["next_publication"])[0][0]
    return publication_id


def lock_bucket(bulk: BulkConnection, *, client_id: str) -> None:
    """Let no other publication of this client commit before this one; held from here to the commit."""
    bulk.execute(read_queries("billfold.store.deliveries", "publications")["lock_bucket"], client_id)


def take_moment(bulk: BulkConnection, statement_ids: Sequence[int]) -> str:
    """The moment at which these statements change together: taken once, just before the commit."""
    query = read_queries("billfold.store.deliveries", "publications")["take_moment"]
    moment: str = bulk.query(query, ",".join(map(str, statement_ids)))[0][0]
    return moment


def finish_publication(bulk: BulkConnection, publication: Publication, arrival: Arrival) -> None:
    """Write the publication, the statement, the delivery and its runs, and commit everything at once."""
    record_publication(bulk, publication)
    _record_arrival(bulk, publication, arrival)
    bulk.commit()


def finish_remap(bulk: BulkConnection, publication: Publication) -> None:
    """Write the publication, its statement and the mapping version of its delivery, and commit."""
    record_publication(bulk, publication)
    bulk.execute(
        read_queries("billfold.store.deliveries", "publications")["update_mapping"],
        str(publication.delivery_id),
        publication.mapping_version,
        _money_json(publication.after.billed),
    )
    bulk.commit()


def record_publication(bulk: BulkConnection, publication: Publication) -> None:
    """Write the publication and make it its statement's current one; the transaction stays open."""
    queries = read_queries("billfold.store.deliveries", "publications")
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


def _record_arrival(bulk: BulkConnection, publication: Publication, arrival: Arrival) -> None:
    queries = read_queries("billfold.store.deliveries", "publications")
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


def _money_json(amounts: Mapping[str, Decimal]) -> str:
    return json.dumps({currency: format(amount, "f") for currency, amount in sorted(amounts.items())})


def _left_out_json(left_out: Sequence[LeftOut]) -> str:
    return json.dumps(
        [
            {"reason": item.reason, "currency": item.currency, "rows": item.row_count, "cost": format(item.cost, "f")}
            for item in left_out
        ]
    )
