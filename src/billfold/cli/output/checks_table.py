"""How checks look: a table of them, and one line after an ingest that says where to look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from billfold.cli.output.columns import name_column, number_column, text_column
from billfold.cli.output.grid import add_row, make_table, print_table, show_amounts
from billfold.cli.output.screen import Screen, printable
from billfold.errors import StoreUnavailableError
from billfold.model import DeliveryOutcome

if TYPE_CHECKING:
    from billfold import Billfold
    from billfold.reports.checks import CheckReport

# At most this many statements without checks are named.
_NAMED_STATEMENTS = 10


def show_checks(screen: Console, report: CheckReport) -> None:
    """A row for each check, and the statements that have none."""
    table = make_table(
        number_column("Statement"),
        name_column("Bill", spare=1),
        number_column("Publication", spare=2),
        name_column("Check"),
        name_column("State"),
        number_column("Rows", spare=3),
        number_column("Cost"),
        text_column("Detail"),
    )
    for row in report.rows:
        add_row(
            table,
            str(row.statement_id),
            f"{row.client_id} {row.export_name} {row.billing_period}",
            f"{row.publication_number}{'*' if row.is_current else ''}",
            row.name,
            row.state,
            row.row_count,
            show_amounts(row.cost),
            row.detail,
        )
    print_table(screen, table, nothing="no checks")
    if report.unchecked:
        more = ", …" if len(report.unchecked) > _NAMED_STATEMENTS else ""
        ids = ", ".join(map(str, report.unchecked[:_NAMED_STATEMENTS]))
        line = f"current bill not checked: statements {ids}{more}; run `billfold checks --refresh`"
        screen.print(Text(printable(line), style="yellow"), soft_wrap=True)


def show_warned(screen: Screen, billfold: Billfold, outcomes: Sequence[DeliveryOutcome]) -> None:
    """One line where a check warned of what these deliveries brought; nothing where PostgreSQL does not answer.

    The deliveries are published then all the same.
    """
    ids = {outcome.delivery_id for outcome in outcomes if outcome.rows_added or outcome.rows_removed}
    try:
        count = sum(row.delivery_id in ids for row in billfold.checks(state="warned").rows) if ids else 0
    except StoreUnavailableError:
        return
    if count:
        line = f"{count} {'check warns' if count == 1 else 'checks warn'}: billfold checks --state warned"
        screen.print(Text(line, style="yellow"), soft_wrap=True)
