"""The page of checks: the data quality of bills in rows and cost, worst first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from billfold.app.values import CHECKS, BillState, Severity, describe_check
from billfold.documents import format_money, shortest
from billfold.spreadsheet import Cell
from billfold.web.access import ReadAccess
from billfold.web.dependencies import OurBillfold
from billfold.web.forms.check_query import CheckQuery, read_check_query
from billfold.web.forms.known_ids import KNOWN_IDS
from billfold.web.pages.csv_download import send_csv
from billfold.web.pages.rendering import frame, render

if TYPE_CHECKING:
    from billfold.reports.bill_quality import BillQuality, QualityReport
    from billfold.store.reports.quality import CheckSum

PAGE_SIZE = 12
MAX_CSV_BILLS = 120

_HEADER = (
    *("statement", "client", "export", "month", "counted", "publication", "check", "severity", "state", "rows"),
    *("currency", "cost", "detail", "checked_at"),
)

CheckQueryOf = Annotated[CheckQuery, Depends(read_check_query)]


router = APIRouter(include_in_schema=False, dependencies=[KNOWN_IDS])


@router.get("/checks")
def show_checks(request: Request, billfold: OurBillfold, access: ReadAccess, query: CheckQueryOf) -> Response:
    """Bills with their checks."""
    surround = frame(billfold, access, tab="checks", client=query.client)
    report = billfold.dashboard.quality(
        query.wanted(surround.client, limit=PAGE_SIZE),
        check=query.check,
        offset=(query.page - 1) * PAGE_SIZE,
    )
    context: dict[str, Any] = {
        "query": query,
        "report": report,
        "sums": sorted(report.sums, key=_rank),
        "states": tuple(BillState),
        "meanings": CHECKS,
        "describe": describe_check,
        "page_size": PAGE_SIZE,
    }
    return render(request, "checks.html", frame=surround, **context)


@router.get("/checks.csv")
def send_checks(billfold: OurBillfold, access: ReadAccess, query: CheckQueryOf) -> Response:
    """The same as CSV."""
    wanted = query.wanted(access.narrow(query.client), limit=MAX_CSV_BILLS)
    return send_csv("checks.csv", _HEADER, _list_rows(billfold.dashboard.quality(wanted, check=query.check)))


def _rank(found: CheckSum) -> tuple[bool, bool, int]:
    """Checks with warnings first, and among them those that make amounts doubtful."""
    is_low = describe_check(found.name).severity is Severity.LOW
    names = list(CHECKS)
    return found.warned_count == 0, is_low, names.index(found.name) if found.name in names else len(names)


def _list_rows(report: QualityReport) -> Iterator[list[Cell]]:
    """A line for each check and currency, for each unchecked bill, and for the reconciliation of each currency."""
    for judged in report.bills:
        bill = judged.bill
        place = [str(bill.statement_id), bill.client_id, bill.export_name, bill.billing_period]
        place += ["yes" if bill.counted else "no", str(bill.publication_number)]
        if not judged.checks:
            yield [*place, "", "", BillState.UNCHECKED, "", "", "", "the current bill was not checked", ""]
        for row in judged.checks:
            found = [row.name, describe_check(row.name).severity, row.state, str(row.row_count)]
            for currency, cost in sorted(row.cost.items()) or [("", "")]:
                amount = shortest(cost) if cost else ""
                yield [*place, *found, currency, amount, row.detail, row.checked_at.isoformat()]
        yield from ([*place, *line] for line in _list_reconciliations(judged))


def _list_reconciliations(judged: BillQuality) -> Iterator[list[Cell]]:
    for each in judged.reconciliations:
        state = BillState.FAILED if each.difference else BillState.PASSED
        sums = (("source", each.source), ("charges", each.charged), ("daily costs", each.daily))
        detail = ", ".join(f"{name} {format_money(amount)}" for name, amount in sums)
        count = str(judged.bill.row_count)
        yield ["reconciliation", Severity.HIGH, state, count, each.currency, shortest(each.difference), detail, ""]
