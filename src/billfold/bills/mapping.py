"""Mapping: from line items to charges, with the keys of their dimensions and the exact sums of their money."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from billfold.bills.discounts import find_unproved
from billfold.bills.plan import PriorState, Timings
from billfold.model import CostBasis, Ledger
from billfold.store.database import BulkConnection
from billfold.store.deliveries import members
from billfold.store.deliveries.ledger import sum_ledger
from billfold.transform import Bill
from billfold.transform.mapping import MAPPING_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedBill:
    """A bill with its charges: its cost basis, whether all charges are new ones, and its money."""

    basis: CostBasis
    remap: bool
    ledger: Ledger

    @property
    def unproved(self) -> Mapping[str, Decimal]:
        """By currency, how far the billed cost is from the gross cost less the discounts; empty if it is proved."""
        return find_unproved(self.basis, self.ledger)


def map_bill(
    bill: Bill, bulk: BulkConnection, client_id: str, prior: PriorState, timings: Timings, *, all_charges: bool = False
) -> MappedBill:
    """Compute charges and dimension keys of the added line items.

    All line items are mapped if `all_charges`, or if the cost basis or the version of the mapping differs from the
    current bill's. New members are committed at once, so `bulk` must have no open transaction.
    """
    statement = prior.statement
    with timings.measure("map"):
        basis = bill.choose_cost_basis()
        current = (statement.cost_basis, statement.mapping_version)
        remap = all_charges or (statement.publication_id is not None and current != (basis, MAPPING_VERSION))
        bill.prepare_mapping(basis=basis, currency=statement.currency, remap=remap)
        ledger = sum_ledger(bulk, bill.read_ledger())
        _update_residuals(bill, ledger, {} if remap else prior.residuals, prior)
        for dimension in bill.find_dimensions():
            found = bill.read_members(dimension, client_id=client_id)
            bill.keep_keys(dimension, members.ensure_members(bulk, dimension, found))
        return MappedBill(basis=basis, remap=remap, ledger=ledger)


def _update_residuals(bill: Bill, ledger: Ledger, held: Mapping[UUID, Decimal], prior: PriorState) -> None:
    """Add the Savings Plan residuals that are new or differ, and withdraw those that they replace."""
    due = {residual.row_hash: residual for residual in ledger.residuals}
    bill.add_residuals(
        [residual for row_hash, residual in due.items() if held.get(row_hash) != residual.cost],
        period=prior.statement.billing_period,
    )
    bill.withdraw_residuals(
        [row_hash for row_hash, cost in held.items() if row_hash not in due or due[row_hash].cost != cost]
    )
