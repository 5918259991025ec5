"""What people read of costs: months side by side where there are few, and totals by currency."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING

from rich.console import Console

from billfold.cli.output.columns import Column, group_column, name_column, number_column
from billfold.cli.output.grid import add_row, add_total, make_table, print_table, show_money
from billfold.selection import CostColumn, KeyColumn

if TYPE_CHECKING:
    from billfold.reports.costs import CostReport, CostRow

# More months than this do not stand side by side.
_MAX_MONTH_COLUMNS = 6
_NONE = "(none)"


def show_costs(console: Console, report: CostReport) -> None:
    """The costs with their currency's decimals, months side by side where there are few, and totals by currency."""
    months = sorted({total.group[0] for total in report.totals})
    others = [column for column in report.columns if column is not CostColumn.MONTH]
    if CostColumn.MONTH in report.columns and others and len(months) <= _MAX_MONTH_COLUMNS:
        _show_months(console, report, months)
    else:
        table = make_table(
            *(group_column(_header(column)) for column in report.columns),
            name_column("Currency"),
            number_column(report.metric.capitalize()),
        )
        for row in report.rows:
            add_row(table, *(value or _NONE for value in row.group), row.currency, show_money(row.amount, row.currency))
        for place, (currency, amount) in enumerate(_by_currency(report.totals).items()):
            add_total(
                table, place, ["Total", *[""] * (len(report.columns) - 1), currency, show_money(amount, currency)]
            )
        print_table(console, table, nothing="no costs")
    show_truncation(console, report)


def show_truncation(console: Console, report: CostReport) -> None:
    """Say that rows are missing, where some are."""
    if report.is_truncated:
        console.print(f"only the {len(report.rows)} largest rows are shown: raise --limit; totals include everything")


def _show_months(console: Console, report: CostReport, months: Sequence[str]) -> None:
    place = report.columns.index(CostColumn.MONTH)
    lines: dict[tuple[tuple[str, ...], str], dict[str, Decimal]] = {}
    for row in report.rows:
        group = row.group[:place] + row.group[place + 1 :]
        amounts = lines.setdefault((group, row.currency), {})
        amounts[row.group[place]] = row.amount
    headers = [group_column(_header(column)) for column in report.columns if column is not CostColumn.MONTH]
    sums = [number_column("Total")] if len(months) > 1 else []
    table = make_table(*headers, name_column("Currency"), *map(number_column, months), *sums)
    for (group, currency), amounts in sorted(lines.items(), key=lambda line: -sum(line[1].values())):
        cells = [show_money(amounts[month], currency) if month in amounts else "-" for month in months]
        add_row(
            table, *(value or _NONE for value in group), currency, *cells, *_total(sums, amounts.values(), currency)
        )
    for line, currency in enumerate(_by_currency(report.totals)):
        amounts = {total.group[0]: total.amount for total in report.totals if total.currency == currency}
        cells = [show_money(amounts[month], currency) if month in amounts else "-" for month in months]
        blanks = [""] * (len(headers) - 1)
        add_total(table, line, ["Total", *blanks, currency, *cells, *_total(sums, amounts.values(), currency)])
    print_table(console, table, nothing="no costs")


def _total(sums: Sequence[Column], amounts: Iterable[Decimal], currency: str) -> Iterator[str]:
    if sums:
        yield show_money(sum(amounts, Decimal(0)), currency)


def _by_currency(totals: Sequence[CostRow]) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = {}
    for total in totals:
        sums[total.currency] = sums.get(total.currency, Decimal(0)) + total.amount
    return dict(sorted(sums.items()))


def _header(column: CostColumn | KeyColumn) -> str:
    """A key is shown as it is: keys are case-sensitive."""
    return (
        str(column) if isinstance(column, KeyColumn) else column.replace("-", " ").capitalize().replace("Iam ", "IAM ")
    )
