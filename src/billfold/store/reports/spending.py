"""What pages about costs read besides the sums: the months with bills, and the charges of one month."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from psycopg import sql
from psycopg.rows import class_row

from billfold.sql import read_queries
from billfold.store.database import Connection
from billfold.store.reports.costs import choose_by_tag_set, names_tag_set, refunds
from billfold.store.reports.reading import COST_METRICS


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeRow:
    """A charge; instants are UTC, `amount` is exact, '' means that the bill does not say.

    It `is_split` where workloads have shares of it.
    """

    statement_id: int
    row_hash: UUID
    occurrence: int
    part: int
    starts_at: datetime
    ends_at: datetime
    account: str
    service: str
    region: str
    category: str
    description: str
    resource: str
    quantity: Decimal | None
    unit: str
    currency: str
    amount: Decimal
    is_split: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargePlace:
    """The place of a charge in the order of a month's charges: the most expensive first, equal costs by key."""

    cost: Decimal
    statement_id: int
    row_hash: UUID
    occurrence: int
    part: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """What usage of a month costs at list prices, at contracted prices and effectively, and what is left unused.

    `covered` is the usage that commitments paid for, at contracted prices, `covered_effective` what it cost with them.
    `negotiated` is what contracted prices save, `net` what commitments save without what they leave unused.
    """

    currency: str
    list: Decimal
    contracted: Decimal
    covered: Decimal
    covered_effective: Decimal
    unused: Decimal
    negotiated: Decimal
    net: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargedDays:
    """The days that a client's bills in a currency charge, of a month and of the month before it.

    `has_month` says whether a bill of the month is in that currency, `last_usage_on` is the last day of the month with
    usage in these bills, `first_on` the first day that they charge.
    """

    client: str
    currency: str
    has_month: bool
    first_on: date
    last_usage_on: date | None


def list_months(connection: Connection, client: str | None) -> tuple[date, ...]:
    """The first days of the months with counted statements, the newest first."""
    return tuple(month for (month,) in connection.execute(_query("list_months"), {"client": client}))


def list_charged_days(
    connection: Connection, client: str | None, *, month: date, before: date, ends_on: date
) -> tuple[ChargedDays, ...]:
    """The charged days of each client and currency, before any other filter; `ends_on` is the month's last day."""
    parameters = {"client": client, "month": month, "before": before, "ends_on": ends_on}
    with connection.cursor(row_factory=class_row(ChargedDays)) as cursor:
        return tuple(cursor.execute(_query("list_charged_days"), parameters))


def has_split(connection: Connection, parameters: Mapping[str, Any]) -> bool:
    """Whether counted statements of these months have split costs."""
    row = connection.execute(_query("has_split"), parameters).fetchone()
    assert row
    return bool(row[0])


def sum_savings(connection: Connection, parameters: Mapping[str, Any]) -> tuple[Savings, ...]:
    """What was saved on one month's usage, by currency."""
    has_tags = names_tag_set(parameters)
    query = sql.SQL(_query("sum_savings")).format(
        charged=sql.Identifier("billing_daily_tag_cost" if has_tags else "billing_daily_cost"),
        chosen=_choose(by_tag_set=has_tags),
    )
    with connection.cursor(row_factory=class_row(Savings)) as cursor:
        return tuple(cursor.execute(query, parameters))


def list_charges(
    connection: Connection, metric: str, parameters: Mapping[str, Any], *, after: ChargePlace | None
) -> tuple[ChargeRow, ...]:
    """Charges of one month, the most expensive first: those that follow `after`, and at most `limit` of them."""
    assert metric in COST_METRICS
    names = [field.name for field in fields(ChargePlace)]
    bound = {**parameters, **{f"after_{name}": getattr(after, name, None) for name in names}}
    query = sql.SQL(_query("list_charges")).format(
        metric=sql.Identifier(f"{metric}_cost"), chosen=_choose(by_tag_set=True)
    )
    with connection.cursor(row_factory=class_row(ChargeRow)) as cursor:
        return tuple(cursor.execute(query, bound))


def _choose(*, by_tag_set: bool) -> sql.Composed:
    """The condition for the requested charges."""
    chosen_tags = choose_by_tag_set() if by_tag_set else sql.SQL("true")
    return sql.SQL(_query("chosen")).format(
        chosen_tags=chosen_tags, chosen_accounts=sql.SQL(_query("chosen_accounts")), is_refund=sql.SQL(refunds())
    )


def _query(name: str) -> str:
    return read_queries("billfold.store.reports", "spending")[name]
