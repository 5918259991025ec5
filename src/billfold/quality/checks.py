"""Data quality in money: the named checks of a statement's bill, made after each publication and kept with it.

A check never refuses a bill. It says how much of it stands on something that nobody has mapped, tagged or explained.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from importlib import resources

import structlog

from billfold.errors import StoreUnavailableError
from billfold.model import CheckState
from billfold.store.database import Database
from billfold.store.reports.checks import CheckedBill, Found, open_checked_bill

# What Savings Plans leave over up to a cent is rounding.
RESIDUAL_TOLERANCE = Decimal("0.01")
# The same of what split cost allocation leaves over.
SPLIT_TOLERANCE = Decimal("0.01")

# So many names are told; the queries give the dearest first.
_TOLD_NAMES = 5

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOutcome:
    """What one check found: how many charges (or what its detail says), their exact cost by currency, in words."""

    name: str
    state: CheckState
    row_count: int
    cost: Mapping[str, Decimal]
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    is_warned: bool
    row_count: int = 0
    cost: Mapping[str, Decimal] | None = None
    detail: str


def record_checks(database: Database, *, statement_id: int) -> tuple[CheckOutcome, ...]:
    """Check what stands after a publication, and keep and log what is found; called once the publication is committed.

    Never raises because a check fails: the publication stands, and the event `checks_failed` tells of it.
    """
    try:
        outcomes = make_checks(database, statement_id=statement_id)
    except StoreUnavailableError as error:
        # A defect keeps its traceback; a server that has gone is none.
        log.error("checks_failed", statement_id=statement_id, error=str(error))
        return ()
    except Exception as error:
        log.exception("checks_failed", statement_id=statement_id, error=str(error))
        return ()
    for outcome in outcomes:
        if outcome.state is CheckState.WARNED:
            log.warning(
                "check_warned",
                statement_id=statement_id,
                name=outcome.name,
                rows=outcome.row_count,
                cost={currency: format(cost, "f") for currency, cost in outcome.cost.items()},
                detail=outcome.detail,
            )
    return outcomes


def make_checks(database: Database, *, statement_id: int) -> tuple[CheckOutcome, ...]:
    """Make every check of the statement's current publication and keep them, all in one transaction.

    Nothing is checked where the statement is empty. Raises StoreError.
    """
    with open_checked_bill(database, statement_id) as bill:
        if bill is None:
            return ()
        outcomes = []
        for name, check in CHECKS.items():
            finding = check(bill)
            outcome = CheckOutcome(
                name=name,
                state=CheckState.WARNED if finding.is_warned else CheckState.PASSED,
                row_count=finding.row_count,
                cost=finding.cost or {},
                detail=finding.detail,
            )
            bill.keep(
                name,
                state=outcome.state,
                row_count=outcome.row_count,
                cost=outcome.cost,
                detail=outcome.detail,
            )
            outcomes.append(outcome)
        return tuple(outcomes)


def _check_services(bill: CheckedBill) -> _Finding:
    found = bill.find("check_unmapped_services", known=list(_known_services()))
    return _warn_of(found, "no category is known for", passed="every service has its category")


def _check_regions(bill: CheckedBill) -> _Finding:
    return _warn_of(bill.find("check_unmapped_regions"), "no name is known for", passed="every region has its name")


def _check_line_types(bill: CheckedBill) -> _Finding:
    found = bill.find("check_unknown_line_types")
    return _warn_of(found, "nobody knows the type", passed="every type of line item is known")


def _check_tags(bill: CheckedBill) -> _Finding:
    found = bill.find("check_untagged_cost")
    if not found.row_count:
        return _Finding(is_warned=False, detail="all usage has a tag")
    usage = bill.sum_usage()
    shares = (
        f"{100 * cost / usage[currency]:.1f} % of the usage in {currency}"
        for currency, cost in found.cost.items()
        if usage.get(currency)
    )
    detail = ", ".join(("effective cost of usage without a tag of the client's own", *shares))
    return _Finding(is_warned=True, row_count=found.row_count, cost=found.cost, detail=detail)


def _check_residual(bill: CheckedBill) -> _Finding:
    found = bill.find("check_savings_plan_residual")
    if not found.row_count:
        return _Finding(is_warned=False, detail="covered usage and negations cancel out")
    return _Finding(
        is_warned=any(abs(cost) > RESIDUAL_TOLERANCE for cost in found.cost.values()),
        row_count=found.row_count,
        cost=found.cost,
        detail="left over by covered usage and negations of Savings Plans, billed as Adjustment; 0.01 is rounding",
    )


def _check_hours(bill: CheckedBill) -> _Finding:
    if not bill.has_commitments:
        return _Finding(is_warned=False, detail="no commitments whose fees the bill tells")
    found = bill.find("check_savings_plan_hours")
    return _warn_of(
        found,
        f"hours of a plan in which covered usage and negations do not cancel out: {found.row_count}, such as",
        passed="covered usage and negations cancel out in every hour of every plan",
    )


def _check_commitments(bill: CheckedBill) -> _Finding:
    if not bill.has_commitments:
        return _Finding(is_warned=False, detail="no commitments whose fees the bill tells")
    named, with_fees = bill.count_commitments()
    judged = f"{with_fees} of {named} commitments have their fees in this bill"
    found = bill.find("check_commitment_identity")
    return _warn_of(
        found,
        f"used and unused cost is not what {found.row_count} commitments cost ({judged})",
        passed=f"used and unused cost is what the commitments cost: {judged}",
    )


def _check_overlap(bill: CheckedBill) -> _Finding:
    finding = _warn_of(bill.find("check_overlap"), "this bill is", passed="this bill makes up the costs once")
    relations = bill.find("tell_relations").names
    return replace(finding, detail="; ".join((finding.detail, *relations[:_TOLD_NAMES]))) if relations else finding


def _check_net(bill: CheckedBill) -> _Finding:
    found = bill.find("check_net_proof")
    return _warn_of(
        found,
        "billed costs that are off the gross costs less the discounts that the export names",
        passed="billed costs are the gross costs less the discounts that the export names",
    )


def _check_split(bill: CheckedBill) -> _Finding:
    found = bill.find("check_split_cost")
    if not found.row_count:
        return _Finding(
            is_warned=False, detail="split cost allocation, where there is any, is all that its parents cost"
        )
    return _Finding(
        is_warned=any(cost > SPLIT_TOLERANCE for cost in found.cost.values()),
        row_count=found.row_count,
        cost=found.cost,
        detail=f"split costs are off what their parents cost, in hours such as {_tell(found.names)}; 0.01 is rounding",
    )


def _check_rules(bill: CheckedBill) -> _Finding:
    judgement = bill.judge_added()
    musts = judgement.broken
    if not musts:
        return _Finding(is_warned=False, detail=f"{judgement.charge_count} added charges keep the rules of FOCUS")
    named = [f"{broken.rule.rule} ({broken.row_count})" for broken in musts]
    return _Finding(
        is_warned=True,
        row_count=judgement.failing_count,
        cost=judgement.failing_cost,
        detail=f"of {judgement.charge_count} added charges; rules broken: {_tell(named)}",
    )


# Each check by its name, in the order in which they are shown: a new one is one more line.
CHECKS: Mapping[str, Callable[[CheckedBill], _Finding]] = {
    "unmapped_services": _check_services,
    "unmapped_regions": _check_regions,
    "unknown_line_types": _check_line_types,
    "untagged_cost": _check_tags,
    "savings_plan_residual": _check_residual,
    "savings_plan_hours": _check_hours,
    "commitment_identity": _check_commitments,
    "net_proof": _check_net,
    "split_cost": _check_split,
    "overlap": _check_overlap,
    "focus_rules": _check_rules,
}


def _warn_of(found: Found, problem: str, *, passed: str) -> _Finding:
    if not found.row_count:
        return _Finding(is_warned=False, detail=passed)
    detail = f"{problem} {_tell(found.names)}".rstrip()
    return _Finding(is_warned=True, row_count=found.row_count, cost=found.cost, detail=detail)


def _tell(names: Sequence[str]) -> str:
    more = [f"and {len(names) - _TOLD_NAMES} more"] if len(names) > _TOLD_NAMES else []
    return ", ".join([*names[:_TOLD_NAMES], *more])


@cache
def _known_services() -> tuple[str, ...]:
    """The codes and names of services that have a place in the mapping, be it Other."""
    table = resources.files("billfold.transform") / "lookups" / "services.csv"
    lines = io.StringIO(table.read_text(encoding="utf-8"), newline="")
    return tuple(line[column] for line in csv.DictReader(lines) for column in ("service_code", "service_name"))
