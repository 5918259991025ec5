"""The hot queries cost what changed: their plans go through the indexes that are made for them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from billfold.sql import read_queries
from billfold.store.database import Database
from tests.landing import Landing

PERIOD = "2026-05-01"
NAMES = {
    "raw": "raw_aws_billing_rows_2026_05",
    "raw_history": "raw_aws_billing_rows_history_2026_05",
    "fact": "billing_usage_fact_2026_05",
    "fact_history": "billing_usage_fact_history_2026_05",
}


@pytest.fixture
def filled(landing: Landing, database: Database) -> Landing:
    """One statement of 20,000 rows from publication 1, of which publications 2 to 11 added and withdrew 100 each."""
    landing.execute("SELECT billfold_create_partitions(%s)", PERIOD)
    row = (
        "1, '2026-05-01'::date, gen_random_uuid(), 'b', 'k', 'e', md5(n::text)::uuid, 1,"
        ' \'{"line_item_unblended_cost": "1"}\''
    )
    charge = (
        "1, '2026-05-01'::date, md5(n::text)::uuid, 1, 0, {added}, '2026-05-01', '2026-05-02', 1, 1, 1, 1,"
        " 1, 1, 1, 1, 1, 'USD', 1, 1, 1, 1"
    )
    for first, last, added in ((1, 20_000, "1"), (20_001, 21_000, "2 + n % 10")):
        numbers = f"FROM generate_series({first}, {last}) AS n"
        landing.execute(f"INSERT INTO {NAMES['raw']} SELECT {row}, {added} {numbers}")
        landing.execute(f"INSERT INTO {NAMES['fact']} SELECT {charge.format(added=added)} {numbers}")
    landing.execute(
        f"INSERT INTO {NAMES['raw_history']} SELECT {row}, 1, now(), 2 + n % 10 FROM generate_series(30001, 31000) AS n"
    )
    empty = ", NULL" * 13
    landing.execute(
        f"INSERT INTO {NAMES['fact_history']} SELECT {charge.format(added='1')}{empty}, 2 + n % 10"
        " FROM generate_series(30001, 31000) AS n"
    )
    for table in NAMES.values():
        landing.execute(f"ANALYZE {table}")
    return landing


def scans(plan: dict[str, Any]) -> set[tuple[str, str]]:
    """How each table of a plan is read."""
    found = {(plan["Relation Name"], plan["Node Type"])} if "Relation Name" in plan else set()
    for child in plan.get("Plans", ()):
        found |= scans(child)
    return found


def explain(landing: Landing, query: str, *parameters: Any) -> set[tuple[str, str]]:
    numbered = query
    for number, parameter in reversed(list(enumerate(parameters, start=1))):
        numbered = numbered.replace(f"${number}", json.dumps(parameter).replace('"', "'"))
    [(document,)] = landing.query(f"EXPLAIN (FORMAT JSON) {numbered}")
    return scans(document[0]["Plan"])


@pytest.mark.parametrize(
    ("name", "tables", "more"),
    [
        ("sum_moved", ("fact", "fact_history"), {}),
        ("sum_charges", ("fact",), {"mark": "added_by"}),
        ("sum_raw_known", ("raw_history",), {"table": NAMES["raw_history"], "mark": "removed_by"}),
        ("withdraw_rows_since", ("raw",), {}),
        ("withdraw_charges_since", ("fact",), {}),
    ],
)
def test_what_a_publication_moved_is_found_by_index(
    filled: Landing, name: str, tables: tuple[str, ...], more: dict[str, str]
) -> None:
    query = read_queries("billfold.store", "charges")[name].format(**{**NAMES, **more})
    with_temporary = query.replace("INSERT INTO moved_day", "INSERT INTO billing_daily_cost")
    parameters = [1, 9, "USD" if "$3::text" in query else 9]

    read = explain(filled, with_temporary, *parameters)

    for table in tables:
        assert {node for relation, node in read if relation == NAMES[table]} <= {
            "Index Scan",
            "Bitmap Heap Scan",
            "ModifyTable",
        }
        assert any(relation == NAMES[table] for relation, _ in read)


def test_the_past_of_one_month_reads_that_month_alone(filled: Landing) -> None:
    filled.execute("SELECT billfold_create_partitions('2026-06-01')")

    read = explain(
        filled, f"SELECT sum(billed_cost) FROM charges_as_of('2026-06-03 12:00+00') WHERE billing_period = '{PERIOD}'"
    )

    facts = {relation for relation, _ in read if relation.startswith("billing_usage_fact")}
    assert facts == {NAMES["fact"], NAMES["fact_history"]}
