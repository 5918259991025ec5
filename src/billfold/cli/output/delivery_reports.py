"""How a backfill, a rollback and a prune look: as JSON documents, and as lines and tables."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from billfold.cli.output.columns import name_column, number_column
from billfold.cli.output.grid import add_row, make_table, print_table, show_rounded
from billfold.cli.output.screen import printable
from billfold.cli.output.tables import show_outcomes
from billfold.documents import format_money, ingest_document
from billfold.model import PublicationKind

if TYPE_CHECKING:
    # These modules load DuckDB and boto3: only commands that ingest pay for that.
    from billfold.bills.backfill import BackfillReport
    from billfold.bills.prune import Pruning
    from billfold.bills.rollback import Restoration


def backfill_document(report: BackfillReport) -> dict[str, Any]:
    """The deliveries that were tried, as `ingest` reports them, and how many statements were in which state."""
    return {
        **ingest_document(report.outcomes),
        "summary": {"statements": report.statement_count, **report.counts},
    }


def restoration_document(restoration: Restoration) -> dict[str, Any]:
    """What a rollback or an undo brought back."""
    return {
        "delivery_id": restoration.delivery_id,
        "kind": restoration.kind,
        "client": restoration.client_id,
        "export": restoration.export_name,
        "billing_period": restoration.billing_period,
        "statement_id": restoration.statement_id,
        "current_delivery_id": restoration.current_delivery_id,
        "restored_publication": restoration.restored_number,
        "rows_added": restoration.rows_added,
        "rows_removed": restoration.rows_removed,
        "rows_after": restoration.rows_after,
        "billed_cost_before": _spell(restoration.billed_cost_before),
        "billed_cost": _spell(restoration.billed_cost),
        "adopted_files": list(restoration.adopted_files),
        "findings": list(restoration.findings),
        "duration_seconds": round(restoration.duration_seconds, 3),
    }


def pruning_document(pruning: Pruning) -> dict[str, Any]:
    """What a prune forgot of each statement."""
    return {
        "before": pruning.before,
        "is_dry_run": pruning.is_dry_run,
        "statements": [
            {
                "statement_id": forgotten.statement.statement_id,
                "client": forgotten.statement.client_id,
                "export": forgotten.statement.export_name,
                "billing_period": str(forgotten.statement.billing_period),
                "rows": forgotten.row_count,
                "charges": forgotten.charge_count,
                "remembered_since": forgotten.statement.published_at,
            }
            for forgotten in pruning.statements
        ],
    }


def show_backfill(console: Console, report: BackfillReport) -> None:
    """The deliveries that were tried, and how many ended in which state."""
    if report.outcomes:
        show_outcomes(console, report.outcomes)
    counts = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in report.counts.items() if count)
    noun = "statement" if report.statement_count == 1 else "statements"
    console.print(f"{report.statement_count} {noun}: {counts or 'none'}")


def show_restoration(console: Console, restoration: Restoration) -> None:
    """What the statement shows now, and what that changed."""
    statement = f"{restoration.export_name} {restoration.billing_period}"
    if restoration.current_delivery_id is None:
        shown = "is empty, as before its first delivery"
    else:
        shown = f"shows delivery {restoration.current_delivery_id}"
    again = "" if restoration.kind is PublicationKind.UNDO or restoration.current_delivery_id is None else " again"
    console.print(f"{statement} {shown}{again}")
    before, after = (
        show_rounded(_spell(amounts)) for amounts in (restoration.billed_cost_before, restoration.billed_cost)
    )
    noun = "row" if restoration.rows_added == 1 else "rows"
    console.print(
        f"{restoration.rows_added:,} {noun} restored, {restoration.rows_removed:,} removed: {before} -> {after}"
    )
    for finding in restoration.findings:
        console.print(Text(printable(finding)), style="yellow")
    if restoration.adopted_files:
        # Their statements are empty now: what undoes this would lose them.
        console.print(Text(printable(f"taken over, no longer counted alone: {', '.join(restoration.adopted_files)}")))
    elif restoration.kind is PublicationKind.ROLLBACK:
        console.print(f"to undo this: billfold rollback {restoration.delivery_id} --undo", style="dim")


def show_pruning(console: Console, pruning: Pruning) -> None:
    """The statements whose history went, or would go."""
    table = make_table(
        number_column("Id"),
        name_column("Client"),
        name_column("Export"),
        name_column("Period"),
        number_column("Rows"),
        number_column("Charges"),
        name_column("Remembered since (UTC)"),
    )
    for forgotten in pruning.statements:
        statement = forgotten.statement
        add_row(
            table,
            str(statement.statement_id),
            statement.client_id,
            statement.export_name,
            str(statement.billing_period),
            forgotten.row_count,
            forgotten.charge_count,
            f"{statement.published_at:%Y-%m-%d %H:%M:%S}",
        )
    print_table(console, table, nothing=f"nothing was withdrawn before {pruning.before:%Y-%m-%d %H:%M} UTC")
    if pruning.is_dry_run and pruning.statements:
        console.print("nothing was deleted: this was a dry run", style="dim")


def _spell(amounts: Mapping[str, Decimal]) -> dict[str, str]:
    return {currency: format_money(amount) for currency, amount in sorted(amounts.items())}
