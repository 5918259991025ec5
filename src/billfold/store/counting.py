"""Which statements make up the costs, and which others hold the same bill."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from billfold.sql import read_queries
from billfold.store.database import BulkConnection


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Another statement of the same client and month that holds an account of the same payer."""

    statement_id: int
    export_name: str
    is_counted: bool


def list_overlaps(
    bulk: BulkConnection, statement_id: int, *, delivery_id: UUID | None = None, export_format: str | None = None
) -> list[Overlap]:
    """The statements that hold the same bill, the one that was published first leading.

    `delivery_id` and `export_format` are those of the delivery that is being published, which the statement does not
    name yet. Single files of one folder and format do not overlap: they are parts of one bill.
    """
    query = read_queries("billfold.store", "counting")["list_overlaps"]
    rows = bulk.query(query, statement_id, str(delivery_id) if delivery_id else None, export_format)
    return [Overlap(statement_id=row[0], export_name=row[1], is_counted=row[2]) for row in rows]


def read(bulk: BulkConnection, statement_id: int) -> tuple[bool, bool]:
    """Whether the statement makes up the costs, and whether it does not because another one of its bill does."""
    [(is_counted, yields)] = bulk.query(read_queries("billfold.store", "counting")["read_counted"], statement_id)
    return is_counted, yields


def keep(bulk: BulkConnection, statement_id: int, *, is_counted: bool, yields: bool) -> None:
    """Have the statement make up the costs, or not, from its next publication on, and say why not."""
    query = read_queries("billfold.store", "counting")["keep_counted"]
    bulk.execute(query, statement_id, int(is_counted), int(yields))
