"""Account ids: 12 digits in AWS's bills, but spreadsheets and numeric columns change them.

A spreadsheet shows 444455556666 and other accounts as 4.44456E+11: two accounts become one. A floating-point column
gives 444455556666.0. Both are refused. Other ids are kept as they are, because anonymised bills have them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

import duckdb

from billfold.transform.columns import ACCOUNT_ID_COLUMNS, COST_COLUMNS, CURRENCY_COLUMNS
from billfold.transform.session import quote
from billfold.transform.shape import Shape


def find_odd_ids(session: duckdb.DuckDBPyConnection, shapes: Sequence[Shape], *, currency: str) -> Iterator[str]:
    """One sentence for each column with ids that are not 12 digits: how many line items, their cost, an example.

    `currency` applies to line items without one. Costs have 12 decimals and are only shown; nothing is computed with
    them.
    """
    selects = [select for shape in shapes for select in _select_odd(shape, currency)]
    if not selects:
        return
    rows = session.execute(
        "SELECT header, currency, count(*), min(id), bool_or(is_short),"
        f" coalesce(sum(cost), 0) FROM ({' UNION ALL '.join(selects)}) GROUP BY 1, 2 ORDER BY 1, 2"
    ).fetchall()
    for header in dict.fromkeys(row[0] for row in rows):
        found = [row for row in rows if row[0] == header]
        costs = ", ".join(f"{_shorten(cost):f} {code}" for _, code, _, _, _, cost in found)
        example = min(row[3] for row in found)
        yield (
            f"{sum(row[2] for row in found)} line items ({costs}) have an account id in {header} that is not 12 digits,"
            f" such as {example[:80]!r}"
            + ("; shorter numbers may have lost leading zeros" if any(row[4] for row in found) else "")
        )


def _select_odd(shape: Shape, currency: str) -> Iterator[str]:
    cost = next(filter(None, map(shape.find, COST_COLUMNS)), None)
    code = next(filter(None, map(shape.find, CURRENCY_COLUMNS)), None)
    for column in filter(None, map(shape.find, ACCOUNT_ID_COLUMNS)):
        name = column.sql_name
        yield (
            f"SELECT {quote(column.header)} AS header, {name} AS id, is_short_number({name}) AS is_short,"
            f" coalesce({f'unless_nan({code.sql_name})' if code else 'NULL'}, {quote(currency)}) AS currency,"
            f" {f'shown_cost({cost.sql_name})' if cost else '0::DECIMAL(38, 12)'} AS cost"
            f" FROM {shape.table} WHERE unless_nan({name}) IS NOT NULL AND NOT is_account_id({name})"
        )


def _shorten(cost: Decimal) -> Decimal:
    return cost.normalize() + 0
