"""How each check examines a bill: what it counts, in which amount, and when it warns."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from importlib import resources

from billfold.store.reports.checks import CheckedBill, Found

# A difference of up to a cent is rounding.
CENT = Decimal("0.01")
# AWS writes amounts to 10 decimals and more; sums of hours agree far better than this.
PRECISION = Decimal("0.000001")

# The detail names the largest few; the queries return the largest first.
_MAX_NAMES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found in one bill; `cost` is exact, by currency."""

    is_warned: bool
    row_count: int = 0
    cost: Mapping[str, Decimal] | None = None
    detail: str


def check_services(bill: CheckedBill) -> Finding:
    """AWS products that no table maps to a category."""
    found = bill.find("check_unmapped_services", known=list(_known_services()))
    return _warn_of(found, "no category is known for", passed="every service has a category")


def check_regions(bill: CheckedBill) -> Finding:
    """Regions that no table names."""
    return _warn_of(bill.find("check_unmapped_regions"), "no name is known for", passed="every region has a name")


def check_line_types(bill: CheckedBill) -> Finding:
    """Line items of a type that no version of Billfold maps."""
    found = bill.find("check_unknown_line_types")
    return _warn_of(found, "unknown line item types:", passed="every line item type is known")


def check_tags(bill: CheckedBill) -> Finding:
    """Usage without a tag of the client's own."""
    found = bill.find("check_untagged_cost")
    if not found.row_count:
        return Finding(is_warned=False, detail="all usage has a tag")
    usage = bill.sum_usage()
    shares = (
        f"{100 * cost / usage[currency]:.1f} % of the usage in {currency}"
        for currency, cost in found.cost.items()
        if usage.get(currency)
    )
    detail = ", ".join(("effective cost of usage without a tag of the client's own", *shares))
    return Finding(is_warned=True, row_count=found.row_count, cost=found.cost, detail=detail)


def check_residual(bill: CheckedBill) -> Finding:
    """What covered usage and negations of Savings Plans leave over."""
    found = bill.find("check_savings_plan_residual")
    if not found.row_count:
        return Finding(is_warned=False, detail="covered usage and negations cancel out")
    return Finding(
        is_warned=any(abs(cost) > CENT for cost in found.cost.values()),
        row_count=found.row_count,
        cost=found.cost,
        detail=f"covered usage and negations of Savings Plans differ, charged as Adjustment; {CENT} is rounding",
    )


def check_hours(bill: CheckedBill) -> Finding:
    """Hours of a Savings Plan in which covered usage and negations differ."""
    if not bill.has_commitments:
        return Finding(is_warned=False, detail="the bill has no fees of commitments")
    found = bill.find("check_savings_plan_hours", tolerance=PRECISION)
    return _warn_of(
        found,
        f"covered usage and negations differ in {found.row_count} hours of a plan, such as",
        passed="covered usage and negations cancel out in every hour of every plan",
    )


def check_commitments(bill: CheckedBill) -> Finding:
    """Commitments whose used and unused cost differs from what they cost in the month."""
    if not bill.has_commitments:
        return Finding(is_warned=False, detail="the bill has no fees of commitments")
    named, with_fees = bill.count_commitments()
    judged = f"{with_fees} of {named} commitments have their fees in this bill"
    found = bill.find("check_commitment_identity", tolerance=PRECISION)
    return _warn_of(
        found,
        f"used and unused cost differs from the cost of {found.row_count} commitments ({judged})",
        passed=f"used and unused cost is what the commitments cost: {judged}",
    )


def check_overlap(bill: CheckedBill) -> Finding:
    """Bills, or parts of them, that are counted twice or not at all."""
    finding = _warn_of(bill.find("check_overlap"), "this bill is", passed="this bill is counted once")
    relations = bill.find("describe_relations").names
    return replace(finding, detail="; ".join((finding.detail, *relations[:_MAX_NAMES]))) if relations else finding


def check_net(bill: CheckedBill) -> Finding:
    """Billed costs that differ from the gross costs less the discounts."""
    found = bill.find("check_net_proof", tolerance=CENT)
    return _warn_of(
        found,
        "billed costs differ from the gross costs less the discounts that the export names",
        passed="billed costs are the gross costs less the discounts that the export names",
    )


def check_split(bill: CheckedBill) -> Finding:
    """Containers whose costs differ from those of their instances."""
    found = bill.find("check_split_cost")
    if not found.row_count:
        return Finding(is_warned=False, detail="containers cost together what their instances cost, if there are any")
    return Finding(
        is_warned=any(cost > CENT for cost in found.cost.values()),
        row_count=found.row_count,
        cost=found.cost,
        detail=f"containers' costs differ from their instances' in hours such as {_shorten(found.names)}; {CENT} is"
        " rounding",
    )


def check_rules(bill: CheckedBill) -> Finding:
    """Charges of the current publication that break a must-rule of FOCUS."""
    judgement = bill.judge_added()
    musts = judgement.broken
    if not musts:
        return Finding(is_warned=False, detail=f"{judgement.charge_count} added charges follow the rules of FOCUS")
    named = [f"{broken.rule.rule} ({broken.row_count})" for broken in musts]
    return Finding(
        is_warned=True,
        row_count=judgement.failing_count,
        cost=judgement.failing_cost,
        detail=f"of {judgement.charge_count} added charges; broken rules: {_shorten(named)}",
    )


def _warn_of(found: Found, problem: str, *, passed: str) -> Finding:
    if not found.row_count:
        return Finding(is_warned=False, detail=passed)
    detail = f"{problem} {_shorten(found.names)}".rstrip()
    return Finding(is_warned=True, row_count=found.row_count, cost=found.cost, detail=detail)


def _shorten(names: Sequence[str]) -> str:
    more = [f"and {len(names) - _MAX_NAMES} more"] if len(names) > _MAX_NAMES else []
    return ", ".join([*names[:_MAX_NAMES], *more])


@cache
def _known_services() -> tuple[str, ...]:
    """The codes and names of services that the mapping gives a category, including Other."""
    table = resources.files("billfold.transform") / "lookups" / "services.csv"
    lines = io.StringIO(table.read_text(encoding="utf-8"), newline="")
    return tuple(line[column] for line in csv.DictReader(lines) for column in ("service_code", "service_name"))
