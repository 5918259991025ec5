"""A statement that was published five times and one that was published twice, and what changes between any two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from billfold.reports.changes import ChangeReport, ChangeRow, StatementChange, list_changes
from billfold.selection import Filter
from tests.bills.landing import Landing
from tests.bills.line_items import line_item

OTHER_ACCOUNT = "777788889999"
# Of each statement's publications, in their order: May is over at the third of its own.
MAY_TIMES = tuple(
    datetime(2026, month, day, 10, tzinfo=UTC) for month, day in ((5, 10), (5, 20), (6, 3), (6, 8), (6, 9))
)
JUNE_TIMES = tuple(datetime(2026, 6, day, 12, tzinfo=UTC) for day in (5, 15))
# The charges that a statement held after a publication: from facts and history alone, never from what reports read.
HELD = """
    SELECT coalesce(sub.account_id, payer.account_id, '') AS account,
        coalesce(service.service_name, service.service_code, '') AS service,
        to_char(charge_period_start AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day,
        coalesce(charge.charge_category, '') AS category, billing_currency AS currency, sum({metric}_cost) AS cost
    FROM (
        SELECT statement_id, added_by, NULL::bigint AS removed_by, charge_period_start, billing_account_key,
            sub_account_key, service_key, charge_key, billing_currency, {metric}_cost FROM billing_usage_fact
        UNION ALL
        SELECT statement_id, added_by, removed_by, charge_period_start, billing_account_key, sub_account_key,
            service_key, charge_key, billing_currency, {metric}_cost FROM billing_usage_fact_history
    ) AS held
    LEFT JOIN dim_account AS sub ON sub.account_key = sub_account_key
    LEFT JOIN dim_account AS payer ON payer.account_key = billing_account_key
    LEFT JOIN dim_service AS service USING (service_key)
    LEFT JOIN dim_charge AS charge USING (charge_key)
    WHERE statement_id = %s AND added_by <= %s AND coalesce(removed_by > %s, true)
    GROUP BY 1, 2, 3, 4, 5"""

Group = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restated:
    """Two exports with their publications: (publication id, number) from 1 on; ids of the statements."""

    landing: Landing
    may: int
    june: int

    def publications(self, statement: int) -> list[int]:
        query = "SELECT publication_id FROM billing_publications WHERE statement_id = %s ORDER BY number"
        return [publication_id for (publication_id,) in self.landing.query(query, statement)]

    def held(self, statement: int, number: int, metric: str = "billed") -> dict[Group, Decimal]:
        """Cost by account, service, day, category and currency after this publication; nothing after number 0."""
        if number == 0:
            return {}
        publication_id = self.publications(statement)[number - 1]
        rows = self.landing.query(HELD.format(metric=metric), statement, publication_id, publication_id)
        return {row[:-1]: row[-1] for row in rows}

    def changes(self, **options: Any) -> ChangeReport:
        wanted = Filter(statement=options.pop("statement", None), period=options.pop("period", None))
        return list_changes(self.landing.database, wanted, **options)

    def change(self, statement: int, **options: Any) -> StatementChange:
        [change] = self.changes(statement=statement, **options).changes
        return change


def item(name: str, cost: str, **columns: str) -> dict[str, str]:
    return line_item(cost=cost, line_item_line_item_description=name, **columns)


def on_day(day: int, month: int = 5) -> dict[str, str]:
    return {
        "bill_billing_period_start_date": f"2026-{month:02}-01T00:00:00.000Z",
        "line_item_usage_start_date": f"2026-{month:02}-{day:02}T04:00:00.000Z",
        "line_item_usage_end_date": f"2026-{month:02}-{day:02}T05:00:00.000Z",
    }


S3 = {"line_item_product_code": "AmazonS3", "line_item_usage_account_id": OTHER_ACCOUNT}
EURO = {"line_item_currency_code": "EUR"}


def may_versions() -> list[list[dict[str, str]]]:
    """Five bills: rows come, go and change; a cost moves to another day; back to the second; a currency goes."""
    first = [
        item("steady", "10.000000000000000001"),
        item("twin", "1.10"),
        item("twin", "1.10"),
        item("grows", "2.5", pricing_public_on_demand_cost="4.5"),
        item("goes", "3", **S3),
        item("moves", "0.75", **on_day(7)),
        item("tax", "0.61", line_item_line_item_type="Tax"),
        item("euro", "5", **EURO),
    ]
    grown = item("grows", "2.500000000000000002", pricing_public_on_demand_cost="5")
    second = [*first[:3], grown, *first[5:], item("comes", "1.25", **S3, **on_day(9))]
    third = [one for one in second if one is not first[5]] + [item("moves", "0.75", **on_day(8)), item("twin", "1.10")]
    fifth = [one for one in second if one.get("line_item_currency_code") != "EUR"]
    return [first, second, third, second, fifth]


def expected_groups(
    old: Mapping[Group, Decimal], new: Mapping[Group, Decimal], places: Sequence[int] = (0, 1, 2, 3)
) -> set[tuple[Group, str, Decimal, Decimal, Decimal]]:
    """The groups that differ, with old, new and difference, by the columns at these places."""
    sums: dict[tuple[Group, str], list[Decimal]] = {}
    for side, held in enumerate((old, new)):
        for key, cost in held.items():
            sums.setdefault((tuple(key[place] for place in places), key[4]), [Decimal(0), Decimal(0)])[side] += cost
    return {(*key, before, after, after - before) for key, (before, after) in sums.items() if before != after}


def expected_totals(old: Mapping[Group, Decimal], new: Mapping[Group, Decimal]) -> dict[str, tuple[Decimal, Decimal]]:
    return {
        currency: (
            sum((cost for key, cost in old.items() if key[4] == currency), Decimal(0)),
            sum((cost for key, cost in new.items() if key[4] == currency), Decimal(0)),
        )
        for currency in sorted({key[4] for key in (*old, *new)})
    }


def groups_of(change: StatementChange) -> set[tuple[Group, str, Decimal, Decimal, Decimal]]:
    assert len({(row.group, row.currency) for row in change.groups}) == len(change.groups)
    return {(row.group, row.currency, row.old, row.new, row.difference) for row in change.groups}


def totals_of(rows: Sequence[ChangeRow]) -> dict[str, tuple[Decimal, Decimal]]:
    assert all(row.difference == row.new - row.old and row.group == () for row in rows)
    return {row.currency: (row.old, row.new) for row in rows}
