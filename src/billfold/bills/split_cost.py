"""Split cost allocation: containers' shares of EC2 instances, published beside the charges, and its findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from billfold.model import Ledger
from billfold.period import BillingPeriod
from billfold.store.database import BulkConnection
from billfold.store.deliveries import split_costs
from billfold.store.deliveries.split_costs import SplitSums
from billfold.transform import Bill

# AWS rounds: up to a cent in a bill may be left over.
TOLERANCE = Decimal("0.01")


def publish(
    bulk: BulkConnection,
    bill: Bill,
    period: BillingPeriod,
    *,
    statement_id: int,
    publication_id: int,
    has_withdrawals: bool,
    all_workloads: bool,
) -> tuple[str, ...]:
    """Publish the bill's split costs after its charges, in the same transaction; returns findings.

    Does nothing for a statement that neither has nor had any.
    """
    has_workloads = bill.has_workloads()
    if not has_workloads and not split_costs.has_split(bulk, period, statement_id=statement_id):
        return ()
    workloads = (
        bill.read_workloads(statement_id=statement_id, billing_period=period.starts_on, publication_id=publication_id)
        if has_workloads
        else None
    )
    sums = split_costs.publish_split(
        bulk,
        period,
        workloads,
        statement_id=statement_id,
        publication_id=publication_id,
        has_withdrawals=has_withdrawals,
        all_workloads=all_workloads,
    )
    return tuple(_find_remarkable(sums))


def find_costs_of_split_rows(ledger: Ledger) -> Iterator[str]:
    """Findings about split cost rows with a cost of their own: AWS writes them beside the instance's charge."""
    for item in ledger.left_out:
        if item.cost and item.reason.startswith("split cost allocation"):
            yield (
                f"{item.row_count} split cost rows have an unblended cost of {item.cost:f} {item.currency} in all: it"
                " is left out, because the instance's charge holds it"
            )
    if ledger.split_rows_with_a_cost:
        yield (
            f"{ledger.split_rows_with_a_cost} rows name a parent resource as split cost rows do, and have an unblended"
            " cost: they are charged too"
        )


def _find_remarkable(sums: Sequence[SplitSums]) -> Iterator[str]:
    for each in sums:
        if each.not_allocated > TOLERANCE:
            yield (
                f"split cost allocation leaves {each.not_allocated:f} {each.billing_currency} of the parents' effective"
                " cost not allocated"
            )
        if each.without_parent_count:
            yield (
                f"{each.without_parent_count} split cost rows, {each.without_parent:f} {each.billing_currency} in all,"
                " name a parent resource whose charge is not in the bill: their cost is not counted"
            )
