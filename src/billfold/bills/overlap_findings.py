"""Findings about statements that hold the same bill, or parts of one, in one sentence each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, localcontext

from billfold.model import Relation
from billfold.store.deliveries.counting import Candidate
from billfold.store.deliveries.parts import Evidence, Share

_DIGITS = 2000


def describe_not_counted(
    statement_id: int, others: Sequence[Candidate], found: Mapping[int, Evidence], before: Mapping[int, Candidate]
) -> str:
    """Which statements are counted instead of this one, and which of its costs are missing for that."""
    plural = len(others) > 1
    text = (
        f"{name_all(others)} {'hold' if plural else 'holds'} the same bill and {'are' if plural else 'is'} counted:"
        f" this one is kept but not counted; `billfold statement count {statement_id}` switches"
    )
    if any(each.statement_id in before and before[each.statement_id].decided is Relation.PARTS for each in others):
        text += "; until now they were parts of one bill"
    missing = _find_missing([found[each.statement_id] for each in others])
    overlapping = [each for each in others if each.decided is not Relation.DUPLICATES]
    if overlapping:
        shares = ", ".join(show_share(found[each.statement_id].share) for each in others)
        text += f". By {found[others[0].statement_id].measure}, {shares}"
    if any(missing.values()):
        shared = show_money(_add_up(found[each.statement_id].cost_in_both for each in others))
        text += f"; {shared} of this one is in there too, {show_money(missing)} is not and is missing from the costs"
    if any(missing.values()) and overlapping:
        advice = ", ".join(f"`billfold statement parts {each.statement_id} {statement_id}`" for each in overlapping)
        text += f": if they are parts of one bill, {advice} counts both"
    return text


def describe_counted_twice(statement_id: int, others: Sequence[Candidate]) -> str:
    """The statement is counted beside others of the same bill, as an operator decided."""
    return (
        f"{name_all(others)} {'hold' if len(others) > 1 else 'holds'} the same bill, and both are counted: it is"
        f" counted twice; `billfold statement count {statement_id}` counts only this one"
    )


def describe_grown(others: Sequence[Candidate]) -> str:
    """The statement now holds all of other parts."""
    verb = "are" if len(others) > 1 else "is"
    return f"this statement now holds all of {name_all(others)} and more: {name_all(others)} {verb} no longer counted"


def describe_recounted(statement_id: int) -> str:
    """Another statement is counted again."""
    return f"statement {statement_id} is counted again: no other counted statement holds its bill"


def describe_waiting(statement_id: int) -> str:
    """Another statement should be counted again, but cannot be changed now."""
    return (
        f"statement {statement_id} should be counted again, but another worker holds it: its next delivery or"
        f" `billfold statement count {statement_id}` counts it"
    )


def describe_part(other: Candidate, evidence: Evidence, *, is_new: bool) -> Iterator[str]:
    """Another part of the bill is counted beside this statement; and what is in both."""
    if any(evidence.cost_in_both.values()) or evidence.share.of_smaller:
        yield (
            f"{name(other)} is another part of this bill, but {show_money(evidence.cost_in_both)} is in both and"
            f" counted twice ({show_share(evidence.share)})"
        )
    elif is_new:
        yield (f"{name(other)} holds other charges of the same accounts: both are parts of one bill and are counted")


def name(statement: Candidate) -> str:
    return f"statement {statement.statement_id} ({statement.export_name})"


def name_all(statements: Sequence[Candidate]) -> str:
    return ", ".join(map(name, statements))


def show_share(share: Share) -> str:
    """The part of both statements that is the same, in percent, rounded down."""
    smaller, larger = (int(each * 10_000) for each in (share.of_smaller, share.of_larger))
    of_smaller = f"{smaller // 100}.{smaller % 100:02} % of the smaller"
    return f"{of_smaller} and {larger // 100}.{larger % 100:02} % of the larger one are in both"


def show_money(amounts: Mapping[str, Decimal]) -> str:
    """Exact amounts, each beside its currency."""
    shown = [f"{amount or Decimal(0):f} {code}" for code, amount in sorted(amounts.items())]
    return ", ".join(shown) or "nothing"


def _find_missing(found: Sequence[Evidence]) -> dict[str, Decimal]:
    """The costs of this statement that are in none of the others, which have next to nothing in common."""
    own = _add_up((found[0].cost_in_both, found[0].cost_only_here))
    shared = _add_up(each.cost_in_both for each in found)
    with localcontext(prec=_DIGITS):
        return {code: own.get(code, Decimal(0)) - shared.get(code, Decimal(0)) for code in sorted({*own, *shared})}


def _add_up(amounts: Iterable[Mapping[str, Decimal]]) -> dict[str, Decimal]:
    total: dict[str, Decimal] = {}
    with localcontext(prec=_DIGITS):
        for each in amounts:
            for code, cost in each.items():
                total[code] = total.get(code, Decimal(0)) + cost
    return total
