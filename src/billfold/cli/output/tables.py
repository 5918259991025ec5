"""Tables for people: tables of deliveries, runs, statements, publications and query results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from decimal import ROUND_DOWN, Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from billfold.cli.output.columns import Column, id_column, name_column, number_column, text_column
from billfold.cli.output.grid import (
    add_row,
    make_table,
    print_table,
    show_amounts,
    show_instant,
    show_moment,
    show_rounded,
)
from billfold.cli.output.screen import Screen, printable
from billfold.model import DeliveryOutcome, LeftOutFile

if TYPE_CHECKING:
    from billfold.reports.lists import DeliveryRow, PublicationRow, RunRow, StatementRow
    from billfold.store.query import QueryResult

# This many rows of a query are measured and shown at once: memory stays small and the first ones appear early.
_ROWS_AT_ONCE = 200
_NOT_COUNTED = "not counted"


def show_outcomes(console: Console, outcomes: Sequence[DeliveryOutcome]) -> None:
    """How each delivery ended, why it was not published, and its findings."""
    clients = _client_column(outcomes)
    table = make_table(
        *clients,
        name_column("Export"),
        name_column("Period"),
        name_column("State"),
        number_column("Read"),
        number_column("Added"),
        number_column("Removed"),
        number_column("Unchanged", spare=1),
        number_column("Billed"),
        number_column("Took", spare=2),
    )
    for outcome in outcomes:
        add_row(
            table,
            *([outcome.client_id] if clients else []),
            outcome.export_name or None,
            outcome.billing_period,
            outcome.state,
            outcome.rows_read,
            outcome.rows_added,
            outcome.rows_removed,
            outcome.rows_unchanged,
            show_amounts(outcome.billed_cost),
            _duration(outcome.duration_seconds),
        )
    print_table(console, table, nothing="no deliveries")
    for outcome in outcomes:
        for finding in outcome.findings:
            line = f"finding: {outcome.export_name} {outcome.billing_period}: {finding}"
            console.print(Text(printable(line), style="yellow"))
        # Of one that is held the error line says it, with what to do.
        if outcome.reason and not outcome.exit_error:
            state = outcome.state.replace("_", " ")
            line = f"{state}: {_statement(outcome.export_name, outcome.billing_period)} {outcome.reason}"
            console.print(Text(printable(line), style="yellow"))


def describe_left_out(left_out: Sequence[LeftOutFile]) -> str:
    """How many files were left out, what they are, and one of each kind."""
    first = {each.kind: each.key for each in reversed(left_out)}
    counts = Counter(each.kind for each in left_out)
    kinds = ", ".join(f"{kind} ({count}, such as {first[kind]})" for kind, count in sorted(counts.items()))
    noun = "file that is not a bill" if len(left_out) == 1 else "files that are not bills"
    return f"left out {len(left_out)} {noun}: {kinds}"


def show_left_out(console: Console, left_out: Sequence[LeftOutFile]) -> None:
    """One line for the files that are not bills; nothing without any."""
    if left_out:
        console.print(Text(printable(describe_left_out(left_out)), style="dim"), soft_wrap=True)


def show_runs(console: Console, runs: Sequence[RunRow]) -> None:
    """The runs with their files and errors."""
    clients = _client_column(runs)
    table = make_table(
        name_column("Created (UTC)", spare=1),
        *clients,
        name_column("Statement"),
        name_column("File"),
        name_column("Status"),
        number_column("Read"),
        number_column("Inserted", spare=2),
        number_column("Skipped", spare=3),
        name_column("Error"),
    )
    for run in runs:
        add_row(
            table,
            show_instant(run.created_at),
            *([run.client_id] if clients else []),
            _statement(run.export_name, run.billing_period),
            run.source_s3_key.rpartition("/")[2] or run.source_s3_key,
            run.status,
            run.rows_read,
            run.rows_inserted,
            run.rows_skipped,
            run.error_code,
        )
    print_table(console, table, nothing="no runs")


def show_deliveries(
    console: Console, deliveries: Sequence[DeliveryRow], *, short: Mapping[str, str] | None = None
) -> None:
    """The deliveries with what each of them changed; a star marks the current one of its statement.

    `short` are the prefixes that stand for their ids.
    """
    clients = _client_column(deliveries)
    table = make_table(
        id_column("Delivery", short=short),
        *clients,
        name_column("Statement"),
        name_column("Delivered (UTC)", spare=1),
        name_column("State"),
        number_column("Read", spare=2),
        number_column("Added", spare=3),
        number_column("Removed", spare=3),
        number_column("Billed"),
        text_column("Error or reason"),
    )
    for delivery in deliveries:
        add_row(
            table,
            str(delivery.delivery_id),
            *([delivery.client_id] if clients else []),
            _statement(delivery.export_name, delivery.billing_period),
            show_instant(delivery.delivered_at),
            delivery.state + ("*" if delivery.is_current else ""),
            delivery.rows_read,
            delivery.rows_added,
            delivery.rows_removed,
            show_rounded(delivery.billed_cost),
            delivery.error_code or delivery.reason or (_NOT_COUNTED if _is_uncounted(delivery) else None),
        )
    print_table(console, table, nothing="no deliveries")
    if any(delivery.is_current for delivery in deliveries):
        console.print("* current: costs include it", style="dim")


def show_statements(console: Console, statements: Sequence[StatementRow]) -> None:
    """The statements as they are now."""
    has_related = any(statement.related for statement in statements)
    table = make_table(
        number_column("Id"),
        name_column("Client"),
        name_column("Export"),
        name_column("Period"),
        name_column("Format", spare=3),
        name_column("Counted"),
        number_column("Rows", spare=1),
        number_column("Charges", spare=2),
        number_column("Billed"),
        name_column("Delivered (UTC)", spare=1),
        *([text_column("Same month")] if has_related else []),
    )
    for statement in statements:
        add_row(
            table,
            str(statement.statement_id),
            statement.client_id,
            statement.export_name,
            statement.billing_period,
            statement.format,
            "yes" if statement.counted else "no",
            statement.row_count,
            statement.charge_count,
            show_rounded(statement.billed_cost),
            show_instant(statement.delivered_at),
            *([_show_related(statement)] if has_related else []),
        )
    print_table(console, table, nothing="no statements")


def _show_related(statement: StatementRow) -> str:
    """How a statement relates to others of its month: what both hold, and who decided."""
    lines = []
    for each in statement.related:
        share = each["share_of_smaller"]
        found = f", {_percent(share)} % by {each['measure']}" if share else ""
        by = ", by hand" if each["decided_by"] == "operator" else ""
        in_both = ", ".join(f"{cost} {code}" for code, cost in each["cost_in_both"].items() if Decimal(cost))
        shared = f", {in_both} in both" if in_both else ""
        lines.append(f"{each['relation']} with {each['statement_id']}{by}{found}{shared}")
    return "; ".join(lines)


def _percent(share: str) -> Decimal:
    """Rounded down: less than everything never reads as everything."""
    return (Decimal(share) * 100).quantize(Decimal("0.01"), rounding=ROUND_DOWN)


def show_publications(
    console: Console, publications: Sequence[PublicationRow], *, short: Mapping[str, str] | None = None
) -> None:
    """The publications with what each of them made of the bill; a star marks the current one of its statement.

    `short` are the prefixes that stand for the deliveries' ids.
    """
    clients = _client_column(publications)
    table = make_table(
        name_column("Published (UTC)"),
        number_column("Id"),
        *clients,
        name_column("Statement", spare=1),
        number_column("No"),
        name_column("Kind"),
        number_column("Added", spare=3),
        number_column("Removed", spare=3),
        number_column("Rows", spare=2),
        number_column("Billed before"),
        number_column("Billed after"),
        id_column("Delivery", spare=1, short=short),
    )
    for publication in publications:
        restored = "" if publication.restored_number is None else f" to {publication.restored_number}"
        add_row(
            table,
            show_moment(publication.published_at),
            str(publication.statement_id),
            *([publication.client_id] if clients else []),
            _statement(publication.export_name, publication.billing_period),
            f"{publication.number}{'*' if publication.is_current else ''}",
            f"{publication.kind}{restored}{f' ({_NOT_COUNTED})' if _is_uncounted(publication) else ''}",
            publication.rows_added,
            publication.rows_removed,
            publication.rows_after,
            show_rounded(publication.billed_cost_before),
            show_rounded(publication.billed_cost_after),
            publication.delivery_id,
        )
    print_table(console, table, nothing="no publications")
    if any(publication.is_current for publication in publications):
        console.print("* current: costs include it; Id is the statement's", style="dim")


def show_query(screen: Screen, result: QueryResult) -> int:
    """The rows of a query, a block at a time; returns how many they were."""
    row_count = 0
    while not screen.has_no_reader and (block := list(islice(result.rows, _ROWS_AT_ONCE))):
        cells = [[printable(_spell_value(value)) for value in row] for row in block]
        if screen.is_terminal:
            table = make_table(*map(name_column, result.columns))
            for row in cells:
                add_row(table, *row)
            print_table(screen, table)
        else:
            headers = [] if row_count else [[printable(column) for column in result.columns]]
            screen.print("\n".join(_align(headers + cells)), soft_wrap=True)
        row_count += len(block)
    return row_count


def _align(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of columns, without Rich: a pipe may take many thousands."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _spell_value(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list | tuple):
        return "{" + ", ".join(_spell_value(item) for item in value) + "}"
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _client_column(rows: Sequence[RunRow | DeliveryRow | PublicationRow | DeliveryOutcome]) -> list[Column]:
    """A column of clients is worth its room only where there are several."""
    return [name_column("Client")] if len({row.client_id for row in rows}) > 1 else []


def _is_uncounted(row: DeliveryRow | PublicationRow) -> bool:
    """Whether it belongs to a statement that shows it and is not counted."""
    return row.is_standing and not row.is_current


def _statement(export_name: str | None, billing_period: str | None) -> str | None:
    return " ".join(part for part in (export_name, billing_period) if part) or None


def _duration(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:.1f} s"
