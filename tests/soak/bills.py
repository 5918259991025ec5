"""Random bills, what AWS may make of them at the next refresh, and what the tables hold of a statement."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import psycopg

from tests.bills.line_items import PERIOD, LineItem, line_item, write_bill

EXPORT = "exports/acme"

_ACCOUNTS = ("444455556666", "555566667777", "666677778888")
_SERVICES = ("AmazonEC2", "AmazonS3", "AmazonRDS", "AWSLambda")
_LINE_ITEM_TYPES = ("Usage", "Usage", "Usage", "Tax", "Credit")
_MAX_FILES = 5

# A line item or charge as far as money is concerned: its description, its day and its cost.
Entry = tuple[str, date, Decimal]
Money = Mapping[date, tuple[Decimal, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBill:
    """What the tables say of one statement: how often each line item and charge is there, cost and charges by day."""

    line_items: Counter[Entry]
    charges: Counter[Entry]
    daily: Money


def random_bill(random: Random, count: int) -> list[LineItem]:
    """Line items, some of them identical."""
    items = [_random_item(random) for _ in range(count - count // 20)]
    return items + random.choices(items, k=count - len(items))


def restate(
    random: Random, items: Sequence[LineItem], *, changed: int, removed: int, added: int, repeated: int
) -> list[LineItem]:
    """The bill at the next refresh: some line items cost something else, are gone, are new, or come once more."""
    kept = random.sample(items, len(items) - removed)
    recosted = [{**item, "line_item_unblended_cost": _random_cost(random)} for item in kept[:changed]]
    untouched = kept[changed:]
    return recosted + untouched + [_random_item(random) for _ in range(added)] + random.choices(untouched, k=repeated)


def deliver(random: Random, root: Path, items: Sequence[LineItem], *, revision: int, export_path: str = EXPORT) -> Path:
    """Write the bill as AWS would: in any order, in any number of files, with other ids and columns in another order.

    Returns the manifest's path.
    """
    named = [{**item, "identity_line_item_id": f"{random.getrandbits(80):020x}"} for item in items]
    random.shuffle(named)
    headers = list(named[0])
    random.shuffle(headers)
    file_count = random.randint(2, _MAX_FILES)
    files = [named[number::file_count] for number in range(file_count)]
    return write_bill(root, *files, headers=headers, revision=revision, export_path=export_path)


def expect(items: Iterable[LineItem]) -> HeldBill:
    """What the tables must hold of these line items: each is one charge at its own cost."""
    entries = Counter(
        (
            item["line_item_line_item_description"],
            date.fromisoformat(item["line_item_usage_start_date"][:10]),
            Decimal(item["line_item_unblended_cost"]),
        )
        for item in items
    )
    costs: defaultdict[date, Decimal] = defaultdict(Decimal)
    counts: Counter[date] = Counter()
    for (_, day, cost), count in entries.items():
        costs[day] += cost * count
        counts[day] += count
    return HeldBill(line_items=entries, charges=entries, daily={day: (costs[day], counts[day]) for day in costs})


def total(bill: HeldBill) -> Decimal:
    """What the bill adds up to."""
    return sum((cost for cost, _ in bill.daily.values()), Decimal())


def read_bill(connection: psycopg.Connection[Any], export_path: str = EXPORT) -> HeldBill:
    """What the tables hold of an export, all of it as one moment saw it."""
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    with connection.transaction():
        return HeldBill(
            line_items=_read_entries(connection, _LINE_ITEMS, export_path),
            charges=_read_entries(connection, _CHARGES, export_path),
            daily={day: (cost, count) for day, cost, count in connection.execute(_DAILY, [export_path])},
        )


def read_withdrawn(connection: psycopg.Connection[Any], export_path: str = EXPORT) -> tuple[Counter[Entry], int]:
    """The line items that history holds of an export, and the number of its charges."""
    charges = connection.execute(_WITHDRAWN_CHARGES, [export_path]).fetchone()
    assert charges is not None
    return _read_entries(connection, _WITHDRAWN, export_path), charges[0]


def _read_entries(connection: psycopg.Connection[Any], query: bytes, export_path: str) -> Counter[Entry]:
    rows = connection.execute(query, [export_path])
    return Counter({(description, day, cost): count for description, day, cost, count in rows})


_LINE_ITEM = b"""
    SELECT row_data ->> 'line_item_line_item_description', left(row_data ->> 'line_item_usage_start_date', 10)::date,
        (row_data ->> 'line_item_unblended_cost')::numeric, count(*)"""
_OF_EXPORT = b" JOIN billing_statements USING (statement_id) WHERE export_path = %s"
_LINE_ITEMS = _LINE_ITEM + b" FROM raw_aws_billing_rows" + _OF_EXPORT + b" GROUP BY 1, 2, 3"
_WITHDRAWN = _LINE_ITEM + b" FROM raw_aws_billing_rows_history" + _OF_EXPORT + b" GROUP BY 1, 2, 3"
_WITHDRAWN_CHARGES = b"SELECT count(*) FROM billing_usage_fact_history" + _OF_EXPORT
_CHARGES = (
    b"""
    SELECT charge_description, (charge_period_start AT TIME ZONE 'UTC')::date, billed_cost, count(*)
    FROM billing_usage_fact JOIN dim_sku USING (sku_key)"""
    + _OF_EXPORT
    + b" GROUP BY 1, 2, 3"
)
_DAILY = (
    b"SELECT charge_date, sum(billed_cost), sum(charge_count)::bigint FROM billing_daily_cost"
    + _OF_EXPORT
    + b" GROUP BY 1"
)


def _random_item(random: Random) -> LineItem:
    day, hour = random.randint(1, 28), random.randint(0, 22)
    line_item_type = random.choice(_LINE_ITEM_TYPES)
    sign = "-" if line_item_type == "Credit" else ""
    return line_item(
        line_item_type,
        sign + _random_cost(random),
        line_item_line_item_description=f"product {random.randint(1, 60)}",
        line_item_usage_start_date=f"{PERIOD}-{day:02d}T{hour:02d}:00:00.000Z",
        line_item_usage_end_date=f"{PERIOD}-{day:02d}T{hour + 1:02d}:00:00.000Z",
        line_item_usage_account_id=random.choice(_ACCOUNTS),
        line_item_product_code=random.choice(_SERVICES),
    )


def _random_cost(random: Random) -> str:
    return f"{random.randint(1, 9_999)}.{random.randint(0, 9_999_999_999):010d}"
