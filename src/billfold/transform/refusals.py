"""What refuses a file: a needed value that is missing or damaged, several months, or another provider's bill."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import duckdb

from billfold.model import ExportFormat
from billfold.period import BillingPeriod
from billfold.transform.columns import ACCOUNT_ID_COLUMNS, COST_COLUMNS, CURRENCY_COLUMNS, SourceColumn, needed_columns
from billfold.transform.focus_origin import refuse_foreign
from billfold.transform.parse import raise_at_first
from billfold.transform.shape import Shape

_ADVICE = "the file is refused: wait for the next delivery, or ask AWS for it again"
_ACCOUNT_ADVICE = (
    "a spreadsheet or a floating-point column changed it, and two accounts can look like one: deliver the file as AWS"
    " wrote it, without opening and saving it in a spreadsheet; in Parquet, store account ids as text or whole numbers"
)
_INSTANTS = (
    "line_item_usage_start_date",
    "line_item_usage_end_date",
    "bill_billing_period_start_date",
    "ChargePeriodStart",
    "ChargePeriodEnd",
    "BillingPeriodStart",
    "BillingPeriodEnd",
)
# Costs that may be missing, also if a generator wrote a word for that; any other text is damage.
_OTHER_COSTS = (
    "line_item_net_unblended_cost",
    "discount_total_discount",
    "EffectiveCost",
    "ListCost",
    "ContractedCost",
)
_PERIOD_COLUMNS = ("bill_billing_period_start_date", "BillingPeriodStart")
_SHOWN_MONTHS = 6
_START_COLUMNS = ("line_item_usage_start_date", "ChargePeriodStart")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    canonical: str
    bad: str
    message: str
    advice: str = _ADVICE


def refuse_bad_values(session: duckdb.DuckDBPyConnection, shapes: Sequence[Shape]) -> None:
    """Refuse missing needed values, unreadable costs and times, damaged account ids, NUL, and other providers' FOCUS.

    Raises InvalidValueError with file, line, column and value of the first bad row, UnknownFormatError for FOCUS from
    another provider or before 1.0.
    """
    for shape in shapes:
        _refuse_nul(session, shape)
        refuse_foreign(session, shape)
        rules = [rule for rule in _rules(shape.export_format) if shape.find(rule.canonical)]
        if not rules:
            continue
        counts = ", ".join(f"count(*) FILTER (WHERE {_of_column(shape, rule)})" for rule in rules)
        found = session.execute(f"SELECT {counts} FROM {shape.table}").fetchall()[0]
        for rule, count in zip(rules, found, strict=True):
            column = shape.find(rule.canonical)
            if count and column:
                raise_at_first(session, shape, column, rule.bad, rule.message, rule.advice)


def _refuse_nul(session: duckdb.DuckDBPyConnection, shape: Shape) -> None:
    """Refuse the character NUL, which PostgreSQL cannot hold; the parser has refused it in CSV."""
    if shape.kind != "parquet" or not shape.columns:
        return
    bad = "contains({}, chr(0))"
    found = session.execute(
        f"SELECT {', '.join(f'bool_or({bad.format(column.sql_name)})' for column in shape.columns)} FROM {shape.table}"
    ).fetchall()[0]
    for column, has_nul in zip(shape.columns, found, strict=True):
        if has_nul:
            raise_at_first(session, shape, column, bad.format("value"), "holds the character NUL", _ADVICE)


def find_period(
    session: duckdb.DuckDBPyConnection, shapes: Sequence[Shape], *, expected: BillingPeriod | None, fallback: date
) -> BillingPeriod:
    """The one billing period of all rows; `expected` (the manifest's or the key's) must agree with it.

    Without a billing period column, it is the expected period, else the month in which all usage starts; a file without
    rows and without any of these belongs to the month of `fallback`. Raises InvalidValueError for a second period, and
    if usage in several months is all there is.
    """
    found = _months(session, shapes, _PERIOD_COLUMNS)
    if not found and expected is None:
        found = _months(session, shapes, _START_COLUMNS)
        _refuse_several(session, found)
    months = sorted({month for _, _, shape_months in found for month in shape_months})
    own = expected.starts_on if expected else months[0] if months else fallback.replace(day=1)
    for shape, column, shape_months in found:
        if shape_months != [own]:
            raise_at_first(
                session,
                shape,
                column,
                _is_of_another_month(own),
                f"belongs to another billing period than {own:%Y-%m}",
                "one statement is one month: deliver each month in its own file",
            )
    return BillingPeriod(own)


def _refuse_several(
    session: duckdb.DuckDBPyConnection, found: Sequence[tuple[Shape, SourceColumn, list[date]]]
) -> None:
    """Refuse a bill of an unknown month: it may hold late or refunded usage, so the user must name the month."""
    months = sorted({month for _, _, shape_months in found for month in shape_months})
    if len(months) < 2:
        return
    shown = ", ".join(f"{month:%Y-%m}" for month in months[:_SHOWN_MONTHS])
    for shape, column, _ in found:
        raise_at_first(
            session,
            shape,
            column,
            _is_of_another_month(months[0]),
            f"there is no billing period, and usage starts in {len(months)} months"
            f" ({shown}{', …' if len(months) > _SHOWN_MONTHS else ''})",
            "if this is the bill of one month, name it: billfold ingest FILE --month YYYY-MM; otherwise deliver each"
            " month in its own file",
        )


def _is_of_another_month(own: date) -> str:
    return f"date_trunc('month', instant(value)) <> TIMESTAMPTZ '{own} 00:00:00+00'"


def _rules(export_format: ExportFormat) -> list[_Rule]:
    needed = needed_columns(export_format)
    rules = [
        _Rule(
            canonical=name,
            bad="value IS NULL" if name in COST_COLUMNS else "value IS NULL OR is_nan(value)",
            message="a needed value is missing",
        )
        for name in needed
    ]
    rules += [
        _Rule(canonical=name, bad="number_text(value) IS NULL", message="this cost is not a number")
        for name in COST_COLUMNS
    ]
    # An empty currency means the client's; the word nan is damage.
    rules += [_Rule(canonical=name, bad="is_nan(value)", message="this is not a currency") for name in CURRENCY_COLUMNS]
    rules += [
        _Rule(
            canonical=name,
            bad="is_damaged_account_id(value)",
            message="this account id has become a number with an exponent or a fraction",
            advice=_ACCOUNT_ADVICE,
        )
        for name in ACCOUNT_ID_COLUMNS
    ]
    rules += [
        _Rule(
            canonical=name,
            bad="value IS NOT NULL AND instant(value) IS NULL"
            + ("" if name in needed else " AND lower(trim(value)) NOT IN ('nan', 'nat')"),
            message="this is not a time",
        )
        for name in _INSTANTS
    ]
    rules += [
        _Rule(
            canonical=name,
            bad="number_text(value) IS NULL AND NOT is_missing_number(value)",
            message="this cost is not a number",
        )
        for name in _OTHER_COSTS
    ]
    return rules


def _of_column(shape: Shape, rule: _Rule) -> str:
    column = shape.find(rule.canonical)
    assert column is not None
    return re.sub(r"\bvalue\b", column.sql_name, rule.bad)


def _months(
    session: duckdb.DuckDBPyConnection, shapes: Sequence[Shape], names: Sequence[str]
) -> list[tuple[Shape, SourceColumn, list[date]]]:
    """For each shape that has one of the columns: the column, and the months in it, in order; none without a value."""
    found = []
    for shape in shapes:
        column = next(filter(None, map(shape.find, names)), None)
        if column is None:
            continue
        rows = session.execute(
            f"SELECT DISTINCT date_trunc('month', instant({column.sql_name}))::DATE FROM {shape.table}"
            f" WHERE instant({column.sql_name}) IS NOT NULL ORDER BY 1"
        ).fetchall()
        if rows:
            found.append((shape, column, [row[0] for row in rows]))
    return found
