"""Discounts: how far the billed cost is from the gross cost less the discounts, and the findings about that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal

from billfold.model import CostBasis, Ledger

# Up to a cent is rounding.
TOLERANCE = Decimal("0.01")
_FROM_COLUMNS = (CostBasis.GROSS_PLUS_DISCOUNTS, CostBasis.GROSS_MINUS_DISCOUNTS)


def find_unproved(basis: CostBasis, ledger: Ledger) -> Mapping[str, Decimal]:
    """By currency: how far the billed cost is from the gross cost less the discounts that the export names.

    If only columns of the rows name discounts, it is the doubtful amount: totals that are not the sum of their parts,
    and discounts that raise a cost. If discounts are line items, it is the amount that the columns name beyond them.
    """
    if basis is CostBasis.NET:
        return ledger.unproved
    found = {}
    for currency, discounts in ledger.discounts.items():
        if basis in _FROM_COLUMNS:
            difference = abs(discounts.off_parts) + abs(discounts.raising)
        else:
            difference = abs(discounts.named) - abs(discounts.line_items) if discounts.named else Decimal(0)
        if difference:
            found[currency] = difference
    return found


def find_remarkable_discounts(basis: CostBasis, ledger: Ledger) -> Iterator[str]:
    """The findings of a bill's discounts, each with its amount and currency."""
    if ledger.rows_with_unreadable_discounts and basis is not CostBasis.NET:
        yield (
            f"{ledger.rows_with_unreadable_discounts} line items name a discount that is not a number: it counts as 0"
        )
    if basis is CostBasis.NET:
        yield from _find_unproved_net(ledger)
        return
    for currency, discounts in ledger.discounts.items():
        if basis is CostBasis.GROSS_MINUS_DISCOUNTS:
            yield f"the discount columns hold amounts above 0: {discounts.named:f} {currency} was subtracted"
        if basis not in _FROM_COLUMNS:
            if discounts.named and abs(abs(discounts.named) - abs(discounts.line_items)) > TOLERANCE:
                yield (
                    f"the discount columns name {discounts.named:f} {currency}, the discount line items"
                    f" {discounts.line_items:f} {currency}: only the line items were billed, because the columns"
                    " usually repeat them"
                )
            continue
        if abs(discounts.off_parts) > TOLERANCE:
            yield (
                f"total discounts in {currency} are {discounts.off_parts:f} off the sum of their parts:"
                " the totals were billed"
            )
        if abs(discounts.raising) > TOLERANCE:
            yield f"discounts of {discounts.raising:f} {currency} raise the cost of their line items: check their sign"
        if abs(discounts.on_commitments) > TOLERANCE:
            yield (
                f"discounts of {discounts.on_commitments:f} {currency} are on commitments: they are in BilledCost, but"
                " not in EffectiveCost, because the export has no net effective costs"
            )


def _find_unproved_net(ledger: Ledger) -> Iterator[str]:
    for currency, difference in ledger.unproved.items():
        # Net costs that sum to 0 are a finding of their own.
        if abs(difference) > TOLERANCE and ledger.totals.net.get(currency):
            yield (
                f"the net costs in {currency} are {difference:f} off the gross costs less the discounts that the export"
                " names: the net costs were billed"
            )
