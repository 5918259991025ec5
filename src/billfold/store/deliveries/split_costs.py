"""Split cost allocation in the publishing transaction: workloads are set against the charges of their parents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa

from billfold.period import BillingPeriod
from billfold.sql import read_queries
from billfold.store.database import BulkConnection
from billfold.store.deliveries.partitions import partitions

_TEMPORARY_TABLES = ("split_staging", "split_place", "split_parent", "split_flip", "split_due")


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSums:
    """The amounts of split cost allocation in one currency that do not match.

    `not_allocated` is the sum of the parents' remainders, each without its sign. `without_parent` is the cost of
    workloads whose parents are not in the bill, and `without_parent_count` how many of them cost anything.
    """

    billing_currency: str
    not_allocated: Decimal
    without_parent_count: int
    without_parent: Decimal


def has_split(bulk: BulkConnection, period: BillingPeriod, *, statement_id: int) -> bool:
    """Whether the statement holds any split cost allocation."""
    query = read_queries("billfold.store.deliveries", "split_costs")["has_split"].format(**partitions(period))
    return bool(bulk.query(query, statement_id)[0][0])


def publish_split(
    bulk: BulkConnection,
    period: BillingPeriod,
    workloads: pa.RecordBatchReader | None,
    *,
    statement_id: int,
    publication_id: int,
    has_withdrawals: bool,
    all_workloads: bool,
) -> tuple[SplitSums, ...]:
    """Update the statement's split costs to its charges, which this publication has landed already.

    `workloads` are the added ones, None if there are none. `has_withdrawals`: the table `removed_row` names line items
    whose workloads are withdrawn; with `all_workloads` every workload is. The parents' rows and the remainders are
    derived from charges and workloads: rows no longer due go to history, new ones are added.
    """
    queries = {
        name: query.format(**partitions(period))
        for name, query in read_queries("billfold.store.deliveries", "split_costs").items()
    }
    place = (statement_id, publication_id)
    if all_workloads or has_withdrawals:
        bulk.execute(queries["withdraw_all_workloads" if all_workloads else "withdraw_workloads"], *place)
    bulk.query(queries["prefer_hashing"])
    land_workloads(bulk, queries, workloads, statement_id=statement_id)
    bulk.execute(queries["find_flips"], statement_id)
    bulk.execute(queries["withdraw_flipped"], *place)
    bulk.execute(queries["insert_flipped"], *place)
    find_due(bulk, queries, statement_id=statement_id, publication_id=publication_id)
    bulk.execute(queries["withdraw_undue"], *place)
    bulk.execute(queries["insert_due"], statement_id)
    bulk.query(queries["allow_lookups"])
    bulk.execute(queries["drop_split"])
    return sum_split(bulk, period, statement_id=statement_id)


def land_workloads(
    bulk: BulkConnection,
    queries: Mapping[str, str],
    workloads: pa.RecordBatchReader | None,
    *,
    statement_id: int,
    with_parents: bool = True,
) -> None:
    """Make the temporary tables, find the charges that are split, and insert these workloads into {split}.

    Without parents, charges are ignored, as if the bill had none.
    """
    for table in _TEMPORARY_TABLES:
        bulk.execute(queries[f"create_{table}"])
    if workloads is not None:
        bulk.load("split_staging", workloads, temporary=True)
        bulk.execute(queries["analyze_split_staging"])
    if with_parents:
        bulk.execute(queries["find_places"], statement_id)
        bulk.execute(queries["analyze_split_place"])
        bulk.execute(queries["find_parents"], statement_id)
        bulk.execute(queries["analyze_split_parent"])
    bulk.execute(queries["insert_workloads"])


def find_due(bulk: BulkConnection, queries: Mapping[str, str], *, statement_id: int, publication_id: int) -> None:
    """Fill `split_due` with the rows that are due beside the workloads of {split}."""
    bulk.execute(queries["find_due"], statement_id, publication_id)
    bulk.execute(queries["analyze_split_due"])


def sum_split(bulk: BulkConnection, period: BillingPeriod, *, statement_id: int) -> tuple[SplitSums, ...]:
    """The amounts of the statement's split cost allocation that do not match, by currency."""
    query = read_queries("billfold.store.deliveries", "split_costs")["sum_split"].format(**partitions(period))
    return tuple(
        SplitSums(
            billing_currency=row[0],
            not_allocated=Decimal(row[1]),
            without_parent_count=row[2],
            without_parent=Decimal(row[3]),
        )
        for row in bulk.query(query, statement_id)
    )
