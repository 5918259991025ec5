"""Data quality: bills with their checks, the worst first, and whether source, charges and daily costs agree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from billfold.quality import SEVERE_CHECKS
from billfold.reports.checks import CheckRow
from billfold.reports.lists import Choices, read_choices
from billfold.selection import Filter
from billfold.store.database import Database
from billfold.store.reports import quality, reading
from billfold.store.reports.quality import BillCounts, CheckSum, JudgedBill, SharedBill

MAX_SHARED_BILLS = 60


class BillState(StrEnum):
    """The worst known state of a bill. `failed`: its charges do not agree with its source."""

    FAILED = "failed"
    UNCHECKED = "unchecked"
    WARNED = "warned"
    PASSED = "passed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """One currency of a bill: the sums of its source, its charges and its daily costs.

    `left_out` are the line items that became no charge: they are in none of the three.
    """

    currency: str
    source: Decimal
    charged: Decimal
    daily: Decimal
    left_out: Decimal

    @property
    def difference(self) -> Decimal:
        """How much more the tables hold than the source: the worse of the two."""
        return max(self.charged - self.source, self.daily - self.source, key=abs)


@dataclass(frozen=True, slots=True, kw_only=True)
class BillQuality:
    """A bill with its checks, the warned ones first, and its reconciliation by currency."""

    bill: JudgedBill
    checks: tuple[CheckRow, ...]
    reconciliations: tuple[Reconciliation, ...]

    @property
    def is_reconciled(self) -> bool:
        """Whether everything agrees to the last decimal."""
        return not any(each.difference for each in self.reconciliations)


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityReport:
    """Bills as of one moment: `counts` and `sums` are of all bills that match the filters, in any state."""

    counts: BillCounts
    sums: tuple[CheckSum, ...]
    bills: tuple[BillQuality, ...]
    shared: tuple[SharedBill, ...]
    has_more: bool
    choices: Choices


def report_quality(database: Database, wanted: Filter, *, check: str | None = None, offset: int = 0) -> QualityReport:
    """The bills that match `wanted`, the worst first; `check` keeps those that this check warned about.

    `wanted.state` is a BillState; months with several exports are shown for any export and state.
    """
    parameters = {
        **wanted.parameters(),
        "check": check,
        "severe": list(SEVERE_CHECKS),
        "offset": offset,
        "limit": wanted.limit + 1,
    }
    with reading.read(database) as connection:
        bills = quality.list_bills(connection, parameters)
        page = bills[: wanted.limit]
        ids = [bill.statement_id for bill in page]
        of_page = {**Filter().parameters(), "every": False, "statements": ids}
        checks = reading.fetch(connection, "list_checks", CheckRow, of_page) if ids else ()
        daily = quality.sum_daily_costs(connection, ids) if ids else {}
        return QualityReport(
            counts=quality.count_bills(connection, parameters),
            sums=quality.sum_warnings(connection, parameters),
            bills=tuple(_judge(bill, checks, daily.get(bill.statement_id, {})) for bill in page),
            shared=quality.list_shared_months(connection, {**parameters, "limit": MAX_SHARED_BILLS}),
            has_more=len(bills) > len(page),
            choices=read_choices(connection, wanted.client),
        )


def _judge(bill: JudgedBill, checks: tuple[CheckRow, ...], daily: Mapping[str, str]) -> BillQuality:
    left_out: dict[str, Decimal] = {}
    for entry in bill.left_out:
        left_out[entry["currency"]] = left_out.get(entry["currency"], Decimal(0)) + Decimal(entry["cost"])
    return BillQuality(
        bill=bill,
        checks=tuple(sorted((row for row in checks if row.statement_id == bill.statement_id), key=_rank)),
        reconciliations=tuple(
            Reconciliation(
                currency=currency,
                source=Decimal(bill.source_cost.get(currency, 0)),
                charged=Decimal(bill.charged_cost.get(currency, 0)),
                daily=Decimal(daily.get(currency, 0)),
                left_out=left_out.get(currency, Decimal(0)),
            )
            for currency in sorted({*bill.source_cost, *bill.charged_cost, *daily, *left_out})
        ),
    )


def _rank(row: CheckRow) -> tuple[bool, bool]:
    """Warnings first, and of these the ones that may make amounts wrong."""
    return row.state == "passed", row.name not in SEVERE_CHECKS
