"""Findings: anything unusual in a bill that is published, each in one sentence with its count or amount."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from billfold.bills import split_cost
from billfold.bills.discounts import find_remarkable_discounts
from billfold.bills.mapping import MappedBill
from billfold.model import CostBasis
from billfold.transform import Bill

# A residual of Savings Plans up to a cent is rounding.
RESIDUAL_TOLERANCE = Decimal("0.01")


def find_remarkable(bill: Bill, mapped: MappedBill, currency: str) -> Iterator[str]:
    """What an operator should know of a bill that is published; `currency` is the one of line items that name none."""
    ledger = mapped.ledger
    if bill.lacks_currency():
        yield f"the export has no currency column: {currency} is assumed"
    yield from bill.find_odd_values(basis=mapped.basis, currency=currency)
    for name, count in ledger.unknown_types.items():
        yield f"{count} line items of the unknown type {name!r} are charged as Adjustment"
    if ledger.covered_rows_without_share:
        yield (
            f"{ledger.covered_rows_without_share} line items covered by a commitment name no effective cost:"
            " theirs counts as 0"
        )
    if ledger.rows_billed_as_effective:
        yield f"{ledger.rows_billed_as_effective} rows name no EffectiveCost: their BilledCost stands in"
    for code, gross in ledger.totals.gross.items():
        if mapped.basis is CostBasis.NET and gross and not ledger.totals.net.get(code):
            yield f"the net costs in {code} add up to 0, the gross costs to {gross:f}: the net costs were billed"
    yield from find_remarkable_discounts(mapped.basis, ledger)
    if ledger.overdrawn_rows:
        yield f"{ledger.overdrawn_rows} commitment fees say that more was used than committed: nothing counts as unused"
    yield from split_cost.find_costs_of_split_rows(ledger)
    for residual in ledger.residuals:
        if abs(residual.cost) > RESIDUAL_TOLERANCE:
            yield (
                f"Savings Plan covered usage and negations of payer {residual.billing_account_id} leave"
                f" {residual.cost:f} {residual.billing_currency} over, charged as Adjustment"
            )
