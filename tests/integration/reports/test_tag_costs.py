"""The daily costs by set of tags follow every publication, and are made for what was there before them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from billfold.bills.rollback import roll_back
from billfold.reports.costs import sum_costs
from billfold.selection import KeyColumn, MapColumn
from billfold.store.database import connect
from billfold.store.migrate import list_migrations
from tests.bills.landing import Landing
from tests.bills.line_items import line_item, write_bill
from tests.services import Landed

TEAM = KeyColumn(column=MapColumn.TAG, key="team")
RED, BLUE = '{"user_team": "red"}', '{"user_team": "blue"}'
NUMBER = 18


def bring_in(landing: Landing, *tags: str, revision: int = 1) -> None:
    """A bill of one, two, four … dollars, each under its tags."""
    costs = [str(2**place) for place in range(len(tags))]
    items = [line_item(cost=cost, resource_tags=of) for cost, of in zip(costs, tags, strict=True)]
    write_bill(landing.root, items, revision=revision)
    landing.ingest()


def bring_in_restated(landing: Landing, *tags: str) -> None:
    bring_in(landing, *tags, revision=2)


def costs_by_team(landing: Landing) -> Mapping[str, Decimal]:
    return {row.group[0]: row.amount for row in sum_costs(landing.database, columns=[TEAM]).rows}


FIRST = (bring_in, "", RED, BLUE)
RESTATED = (bring_in_restated, RED, RED, "")


def test_a_tag_that_is_given_later_moves_its_costs_alone_and_a_rollback_brings_them_back(landed: Landed) -> None:
    first = costs_by_team(landed(FIRST))
    landing = landed(FIRST, RESTATED)
    restated = costs_by_team(landing)
    broken = landing.broken_rules()
    current = landing.value("SELECT current_delivery_id FROM billing_statements")

    roll_back(current, settings=landing.settings, database=landing.database)

    assert first == costs_by_team(landing) == {"": 1, "red": 2, "blue": 4}
    assert (restated, broken) == ({"": 4, "red": 3}, [])
    assert landing.count("billing_restatement") == 0
    assert landing.broken_rules() == []


def test_the_migration_sums_the_charges_that_are_there(landed: Landed) -> None:
    [migration] = [migration for migration in list_migrations() if migration.number == NUMBER]
    landing = landed(FIRST, RESTATED)
    landing.execute("DROP TABLE billing_daily_tag_cost")

    with connect(landing.database.conninfo) as connection:
        connection.execute(migration.script.encode())

    assert costs_by_team(landing) == {"": 4, "red": 3}
    assert landing.broken_rules() == []
    bring_in(landing, RED, "", BLUE, revision=3)
    assert costs_by_team(landing) == {"red": 1, "": 2, "blue": 4}
    assert landing.broken_rules() == []
