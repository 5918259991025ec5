"""The worst values of every table stay whole at every width."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from rich.console import Console

from billfold.bills.prune import Pruning
from billfold.cli.commands.client import show_clients
from billfold.cli.commands.dlq import show_letters
from billfold.cli.commands.jobs import show_jobs
from billfold.cli.commands.owner import show_owners, show_unowned
from billfold.cli.commands.schedule import show_visits
from billfold.cli.commands.token import show_tokens
from billfold.cli.commands.validate import show_judged
from billfold.cli.output.changes_table import show_changes
from billfold.cli.output.checks_table import show_checks
from billfold.cli.output.costs_table import show_costs
from billfold.cli.output.delivery_reports import show_pruning
from billfold.cli.output.grid import show_money
from billfold.cli.output.tables import show_deliveries, show_outcomes, show_publications, show_runs, show_statements
from billfold.jobs.dead_letters import DeadLetter
from billfold.model import Client, DeliveryOutcome, DeliveryState
from billfold.period import BillingPeriod
from billfold.reports.changes import ChangeReport, ChangeRow, ComparedPublication, StatementChange
from billfold.reports.checks import CheckReport, CheckRow
from billfold.reports.conformance import JudgedStatement
from billfold.reports.costs import CostReport, CostRow
from billfold.reports.lists import DeliveryRow, PublicationRow, RunRow, StatementRow
from billfold.reports.owners import OwnerRow, UnownedRow
from billfold.selection import ChangeColumn, CostColumn, Metric
from billfold.store.clients.tokens import Token
from billfold.store.deliveries.history import Forgettable, Forgotten
from billfold.store.jobs.jobs import JobRow
from billfold.store.reports.conformance import BrokenRule, Judgement
from billfold.store.reports.focus_rules import charge_rules
from tests.processes.terminal import WIDTHS, console_of, list_broken
from tests.unit.cli.cli_tables_helpers import IDS

EXPORT = "export-" + "n" * 121
CLIENT = "client-" + "c" * 57
WIDE = "請求書データ🧾支払い" * 4
HOSTILE = "owner\x1b[2J\r\n\t\u202eevil"
SPELLED = "owner\\x1b[2J\\x0d\\n\\t\\u202eevil"
SERVICE = "Amazon Elastic Compute Cloud of a very long name"
ACCOUNT = "444455556666"
TWENTY = Decimal("-12345678901234567890.12")
HUGE = Decimal("98765432109876543210987654321098765432.5")
AT = datetime(2026, 5, 3, 10, 4, 5, tzinfo=UTC)
AMOUNTS = {"EUR": format(TWENTY, "f"), "USD": format(HUGE, "f")}
ROUNDED = f"{show_money(TWENTY)} EUR, {show_money(HUGE)} USD"
EXACT = f"{TWENTY:f} EUR, {HUGE:f} USD"
RULE = charge_rules()[0]


Value = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A table of the worst, and the values that must be found in it, by the headers of their columns."""

    show: Callable[[Console], None]
    values: tuple[Value, ...]


def fill(row: type[Any], /, **fields: Any) -> Any:
    """A row with these fields; None in all others."""
    names: Mapping[str, Any] = row.__dataclass_fields__
    return row(**{name: fields.get(name) for name in names})


def statement_fields(**more: Any) -> dict[str, Any]:
    return {
        "client_id": CLIENT,
        "export_name": EXPORT,
        "billing_period": "2026-05",
        "statement_id": 12_345_678,
        "rows_read": 3_456_789_012,
        "rows_added": 50_000,
        "rows_removed": 1_234_567,
        **more,
    }


def outcomes(console: Console) -> None:
    outcome = DeliveryOutcome(
        delivery_id=IDS[0],
        client_id=CLIENT,
        export_name=EXPORT,
        billing_period="2026-05",
        state=DeliveryState.ROLLED_BACK,
        rows_read=3_456_789_012,
        rows_unchanged=50_000,
        billed_cost={"EUR": TWENTY, "USD": HUGE},
    )
    show_outcomes(console, [outcome, fill_outcome("acme")])


def fill_outcome(client: str) -> DeliveryOutcome:
    return DeliveryOutcome(
        delivery_id=None, client_id=client, export_name="b", billing_period=None, state=DeliveryState.FAILED
    )


def runs(console: Console) -> None:
    row = fill(
        RunRow, **statement_fields(source_s3_key=f"a/{EXPORT}-00001.csv.gz", status="failed", created_at=AT,
        rows_inserted=50_000, rows_skipped=1_234_567, error_code="invalid_value"),
    )  # fmt: skip
    show_runs(console, [row, fill(RunRow, client_id="acme", source_s3_key="b", status="success", rows_read=0)])


def deliveries(console: Console) -> None:
    rows = [
        fill(
            DeliveryRow,
            **statement_fields(delivery_id=each, state="published", is_current=True, delivered_at=AT),
            billed_cost=AMOUNTS,
            reason="because its manifest names the file " + "f" * 60,
        )
        for each in IDS
    ]
    show_deliveries(console, rows)


def statements(console: Console) -> None:
    related = [{
        "relation": "duplicates", "statement_id": 7, "decided_by": "operator", "measure": "daily costs",
        "share_of_smaller": "0.99999", "cost_in_both": AMOUNTS,
    }]  # fmt: skip
    fields = statement_fields(counted=True, row_count=50_000, charge_count=1_234_567, billed_cost=AMOUNTS)
    show_statements(console, [fill(StatementRow, **fields, related=related, delivered_at=AT, format="cur-2.0")])


def publications(console: Console) -> None:
    fields = statement_fields(number=17, is_current=True, kind="rollback", restored_number=3, rows_after=3_456_789_012)
    before, after = {"USD": format(HUGE, "f")}, AMOUNTS
    row = fill(
        PublicationRow, **fields, published_at=AT, billed_cost_before=before, billed_cost_after=after,
        delivery_id=IDS[1],
    )  # fmt: skip
    show_publications(console, [row])


def months(console: Console) -> None:
    names = [f"2026-{month:02d}" for month in range(1, 7)]
    rows = [
        CostRow(group=(service, month), currency="USD", amount=TWENTY) for service in (SERVICE, WIDE) for month in names
    ]
    totals = tuple(CostRow(group=(month,), currency="USD", amount=TWENTY) for month in names)
    columns = (CostColumn.SERVICE, CostColumn.MONTH)
    show_costs(console, _costs(columns, tuple(rows), totals))


def days(console: Console) -> None:
    group = (ACCOUNT, SERVICE, HOSTILE, "2026-05-03")
    columns = (CostColumn.ACCOUNT, CostColumn.SERVICE, CostColumn.OWNER, CostColumn.DAY)
    rows = (CostRow(group=group, currency="USD", amount=HUGE),)
    show_costs(console, _costs(columns, rows, (CostRow(group=("2026-05",), currency="USD", amount=TWENTY),)))


def _costs(columns: tuple[CostColumn, ...], rows: tuple[CostRow, ...], totals: tuple[CostRow, ...]) -> CostReport:
    return CostReport(metric=Metric.BILLED, as_of=None, columns=columns, rows=rows, totals=totals, is_truncated=False)


def changes(console: Console) -> None:
    def row(*group: str) -> ChangeRow:
        return ChangeRow(group=group, currency="USD", old=TWENTY, new=Decimal(5), difference=Decimal(5))

    changed = [
        StatementChange(
            statement_id=number,
            client_id=CLIENT,
            export_name=EXPORT,
            billing_period="2026-05",
            counted=True,
            earlier=None,
            later=ComparedPublication(
                publication_id=1, number=17, kind="rollback", published_at=AT, delivery_id=IDS[0]
            ),
            rows_added=50_000,
            rows_removed=1_234_567,
            has_moved=True,
            closed_month_moved=False,
            totals=(row(), ChangeRow(group=(), currency="EUR", old=TWENTY, new=Decimal(7), difference=Decimal(7))),
            groups=(row(ACCOUNT, SERVICE, "2026-05-03", "Usage"),),
        )
        for number in (12_345_678, 3)
    ]
    columns = (ChangeColumn.ACCOUNT, ChangeColumn.SERVICE, ChangeColumn.DAY, ChangeColumn.CATEGORY)
    show_changes(
        console,
        ChangeReport(metric=Metric.BILLED, columns=columns, changes=tuple(changed), totals=(row(),), group_count=2),
    )


def checks(console: Console) -> None:
    row = CheckRow(
        **{name: value for name, value in statement_fields().items() if not name.startswith("rows_")},
        publication_number=17,
        is_current=True,
        publication_id=1,
        delivery_id=IDS[0],
        name="savings_plan_hours",
        state="warned",
        row_count=50_000,
        cost=AMOUNTS,
        detail="the hours of " + "p" * 30 + " do not cancel out",
        checked_at=AT,
    )
    show_checks(console, CheckReport(rows=(row,), unchecked=()))


def judged(console: Console) -> None:
    broken = BrokenRule(rule=RULE, row_count=3_456_789_012, cost={"USD": HUGE}, example={})
    judgement = Judgement(charge_count=1, broken=(broken,), failing_count=1, failing_cost={"USD": HUGE})
    show_judged(
        console,
        JudgedStatement(
            statement_id=1, client_id="acme", export_name="b", billing_period="2026-05", counted=True,
            judgement=judgement,
        ),
    )  # fmt: skip


def owners(console: Console) -> None:
    rows = [
        OwnerRow(client_id=CLIENT, account_id=ACCOUNT, owner=owner, account_name=WIDE, updated_at=AT)
        for owner in (HOSTILE, WIDE)
    ]
    show_owners(console, rows)


def unowned(console: Console) -> None:
    row = UnownedRow(
        client_id=CLIENT, account_id=ACCOUNT, account_name=WIDE, billing_period="2026-05", currency="USD", cost=HUGE
    )
    show_unowned(console, [row])


def clients(console: Console) -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/{'r' * 64}"
    row = Client(
        client_id=CLIENT, bucket="b" * 63, prefix="exports/", account_id=ACCOUNT, role_arn=role, is_registered=True
    )
    show_clients(console, [row], {})


def tokens(console: Console) -> None:
    row = fill(
        Token, token_id=12_345_678, name=HOSTILE, scopes=["admin", "ingest", "read"], client_id=CLIENT, created_at=AT,
        expires_at=AT,
    )  # fmt: skip
    show_tokens(console, [row])


def letters(console: Console) -> None:
    rows = [
        fill(
            DeadLetter, message_id=str(each), sent_at=AT, reason="no client has the bucket " + "b" * 63,
            error_code="access_denied", bucket="b" * 63, key=f"a/{EXPORT}", object_count=3,
        )
        for each in IDS
    ]  # fmt: skip
    show_letters(console, rows)


def visits(console: Console) -> None:
    from billfold.jobs.schedule import Visit

    visit = Visit(client_id=CLIENT, state="done", statement_count=50_000, counts={"published": 50_000}, failures=())
    show_visits(console, [visit], [])


def pruning(console: Console) -> None:
    statement = fill(
        Forgettable, statement_id=12_345_678, client_id=CLIENT, export_name=EXPORT,
        billing_period=BillingPeriod(AT.date().replace(day=1)), published_at=AT,
    )  # fmt: skip
    forgotten = Forgotten(statement=statement, row_count=50_000, charge_count=3_456_789_012)
    show_pruning(console, Pruning(before=AT, is_dry_run=True, statements=(forgotten,)))


STATEMENT = ("Statement", f"{EXPORT} 2026-05")


def jobs(console: Console) -> None:
    usual = {"client_id": CLIENT, "kind": "ingest", "bucket": "b" * 63, "created_at": AT, "failure_count": 1_234}
    work = {"job_id": 1_234_567_890_123, "work": f"{'b' * 63} exports/{EXPORT} 2026-05"}
    reason = f"s3://{'b' * 63}/a is not answered"
    rows = [
        fill(JobRow, **usual, **work, state="running", began_at=AT, worker=f"{'h' * 40}.example.com 42"),
        fill(JobRow, **usual, **work, state="waiting", due_at=AT, reason=reason),
        fill(JobRow, **usual, **work, state="dead", ended_at=AT, reason=reason, error_code="access_denied"),
    ]
    show_jobs(console, rows[:1], AT + timedelta(days=9_999))
    show_jobs(console, rows[1:], AT - timedelta(minutes=1))


SHORT = tuple(("Delivery", str(each)[:18]) for each in IDS)
TABLES = {
    "outcomes": Shown(
        show=outcomes,
        values=(
            ("Client", CLIENT), ("Export", EXPORT), ("Period", "2026-05"), ("State", "rolled_back"),
            ("Read", "3,456,789,012"), ("Unchanged", "50,000"), ("Billed", EXACT),
        ),
    ),
    "runs": Shown(
        show=runs,
        values=(
            ("Client", CLIENT), STATEMENT, ("File", f"{EXPORT}-00001.csv.gz"), ("Read", "3,456,789,012"),
            ("Inserted", "50,000"), ("Skipped", "1,234,567"), ("Created (UTC)", "2026-05-03 10:04"),
        ),
    ),
    "deliveries": Shown(
        show=deliveries,
        values=(
            *SHORT, STATEMENT, ("Delivered (UTC)", "2026-05-03 10:04"), ("State", "published*"),
            ("Read", "3,456,789,012"), ("Added", "50,000"), ("Removed", "1,234,567"), ("Billed", ROUNDED),
            ("Error or reason", "f" * 60),
        ),
    ),
    "statements": Shown(
        show=statements,
        values=(
            ("Id", "12345678"), ("Client", CLIENT), ("Export", EXPORT), ("Rows", "50,000"), ("Charges", "1,234,567"),
            ("Billed", ROUNDED), ("Same month", f"{TWENTY:f}"), ("Same month", f"{HUGE:f}"),
        ),
    ),
    "publications": Shown(
        show=publications,
        values=(
            ("Id", "12345678"), STATEMENT, ("No", "17*"), ("Kind", "rollback to 3"), ("Rows", "3,456,789,012"),
            ("Billed before", f"{show_money(HUGE)} USD"), ("Billed after", ROUNDED),
            ("Delivery", str(IDS[1])[:8]),
        ),
    ),
    "costs by month": Shown(
        show=months,
        values=(
            ("Service", WIDE), ("Service", "Amazon Elastic"), ("Currency", "USD"), ("2026-01", show_money(TWENTY)),
            ("2026-06", "2026-06"),
        ),
    ),
    "costs by day": Shown(
        show=days,
        values=(("Account", ACCOUNT), ("Owner", SPELLED), ("Day", "2026-05-03"), ("Billed", show_money(HUGE))),
    ),
    "changes": Shown(
        show=changes,
        values=(
            ("Account", ACCOUNT), ("Day", "2026-05-03"), ("Old", show_money(TWENTY)), ("Difference", "+5.00"),
            ("Rows rewritten", "+50,000 -1,234,567"), ("Id", "12345678"), ("Publications", "0 to 17 rollback"),
            ("Statement", f"{EXPORT} 2026-05"), ("Difference", "+7.00"), ("Total", "Total"),
        ),
    ),
    "checks": Shown(
        show=checks,
        values=(
            ("Bill", f"{CLIENT} {EXPORT} 2026-05"), ("Check", "savings_plan_hours"), ("Rows", "50,000"),
            ("Cost", EXACT), ("Publication", "17*"), ("Detail", "p" * 30),
        ),
    ),
    "validate": Shown(
        show=judged, values=(("Rule", RULE.rule), ("Rows", "3,456,789,012"), ("Billed", f"{HUGE:f} USD"))
    ),
    "owner list": Shown(
        show=owners, values=(("Client", CLIENT), ("Account", ACCOUNT), ("Owner", SPELLED), ("Name", WIDE))
    ),
    "owner list --missing": Shown(
        show=unowned, values=(("Client", CLIENT), ("Account", ACCOUNT), ("Name", WIDE), ("Billed", show_money(HUGE)))
    ),
    "client list": Shown(
        show=clients,
        values=(
            ("Client", CLIENT), ("Bucket and folder", f"s3://{'b' * 63}/exports/"), ("Account", ACCOUNT),
            ("Role", f"arn:aws:iam::{ACCOUNT}:role/{'r' * 64}"),
        ),
    ),
    "token list": Shown(
        show=tokens, values=(("Id", "12345678"), ("Name", SPELLED), ("Client", CLIENT), ("State", "in force"))
    ),
    "dlq list": Shown(
        show=letters,
        values=(
            *(("Message", str(each)[:18]) for each in IDS), ("Error", "access_denied"),
            ("About", f"s3://{'b' * 63}/a/{EXPORT} (+2)"), ("Reason", "b" * 63),
        ),
    ),
    "jobs": Shown(
        show=jobs,
        values=(
            ("Job", "1234567890123"), ("Client", CLIENT), ("For", "9,999 d"), ("What", f"exports/{EXPORT}"),
            ("What", "2026-05"), ("Next", "h" * 40), ("Next", "2026-05-03 10:04"), ("Next", "b" * 63),
        ),
    ),
    "schedule --once": Shown(show=visits, values=(("Client", CLIENT), ("Statements", "50,000"))),
    "prune": Shown(
        show=pruning,
        values=(
            ("Id", "12345678"), ("Client", CLIENT), ("Export", EXPORT), ("Charges", "3,456,789,012"),
            ("Remembered since (UTC)", "2026-05-03 10:04:05"),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("table", TABLES)
def test_the_worst_values_stay_whole_at_every_width(table: str, width: int) -> None:
    console, output = console_of(width)

    TABLES[table].show(console)

    assert list_broken(output.getvalue(), width, TABLES[table].values) == []
