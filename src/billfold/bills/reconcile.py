"""Reconcile: a bill is published only if rows and money agree with the source to the last decimal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext

from billfold.errors import ReconciliationError
from billfold.model import Totals

# More digits than any sum of bills has: the arithmetic of this module never rounds.
_DIGITS = 2000
_UNDISCOUNTED = " before credits, refunds and discounts"


def carry(before: Totals, added: Totals, removed: Totals) -> Totals:
    """What a statement holds after a publication: what it held, plus the added rows, minus the removed ones."""
    return Totals(
        row_count=before.row_count + added.row_count - removed.row_count,
        charge_count=before.charge_count + added.charge_count - removed.charge_count,
        gross=_carry_money(before.gross, added.gross, removed.gross),
        net=_carry_money(before.net, added.net, removed.net),
        billed=_carry_money(before.billed, added.billed, removed.billed),
    )


def reconcile(source: Totals, held: Totals) -> None:
    """Raise ReconciliationError unless the tables hold exactly the totals of the source.

    Line items are counted; gross and net cost are compared between the source files' text and the landed raw rows,
    billed cost between the source (on the statement's basis, less what was left out) and the charges.
    """
    differences = []
    if source.row_count != held.row_count:
        differences.append(f"rows: source {source.row_count}, raw {held.row_count}")
    for name, wanted, found in (
        ("gross cost in raw rows", source.gross, held.gross),
        ("net cost in raw rows", source.net, held.net),
        ("billed cost of charges", source.billed, held.billed),
    ):
        for currency in sorted(set(wanted) | set(found)):
            expected, actual = wanted.get(currency, Decimal(0)), found.get(currency, Decimal(0))
            if expected != actual:
                differences.append(f"{name}: source {expected:f} {currency}, found {actual:f} {currency}")
    if differences:
        raise ReconciliationError(
            "rows or money do not agree with the source (" + "; ".join(differences) + ")",
            advice="nothing was published and the current bill is unchanged: report this with the delivery's id",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Worth:
    """What a loss is judged by: rows, and by currency the cost without credits, refunds and discounts.

    `billed` is the billed cost, by which messages decide whether they must say the difference.
    """

    row_count: int
    undiscounted: Mapping[str, Decimal]
    billed: Mapping[str, Decimal]


def find_loss(before: Sequence[Worth], after: Worth, *, min_percent: int) -> str | None:
    """What would be lost if a bill left less than `min_percent` of the rows or of the cost of those before it.

    None where it leaves enough. Costs are compared by currency. Credits, refunds and discounts are no part of them: a
    bill that gets more of these loses nothing, nor does one that loses them.
    """
    losses = []
    row_count = sum(each.row_count for each in before)
    if after.row_count * 100 < row_count * min_percent:
        losses.append(f"{after.row_count} of {row_count} rows")
    held = _add_money([each.undiscounted for each in before])
    billed = _add_money([each.billed for each in before])
    for currency, cost in held.items():
        left = after.undiscounted.get(currency, Decimal(0))
        if cost > 0 and left * 100 < cost * min_percent:
            is_billed = (cost, left) == (billed.get(currency), after.billed.get(currency, Decimal(0)))
            losses.append(f"{left:f} of {cost:f} {currency}{'' if is_billed else _UNDISCOUNTED}")
    return f"would leave {' and '.join(losses)}" if losses else None


def _add_money(amounts: Sequence[Mapping[str, Decimal]]) -> dict[str, Decimal]:
    total: dict[str, Decimal] = {}
    for each in amounts:
        total = _carry_money(total, each, {})
    return total


def _carry_money(
    before: Mapping[str, Decimal], added: Mapping[str, Decimal], removed: Mapping[str, Decimal]
) -> dict[str, Decimal]:
    with localcontext() as context:
        context.prec = _DIGITS
        zero = Decimal(0)
        return {
            currency: before.get(currency, zero) + added.get(currency, zero) - removed.get(currency, zero)
            for currency in sorted({*before, *added, *removed})
        }
