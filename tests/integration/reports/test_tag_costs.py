"""The daily costs by set of tags follow every publication, and are made for what was there before them."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from uuid import UUID

import pytest

from billfold.bills.rollback import roll_back
from billfold.reports.costs import sum_costs
from billfold.selection import KeyColumn, MapColumn
from billfold.store.database import connect
from billfold.store.migrate import list_migrations
from tests.bills.landing import Landing
from tests.bills.line_items import line_item, write_bill

TEAM = KeyColumn(column=MapColumn.TAG, key="team")
RED, BLUE = '{"user_team": "red"}', '{"user_team": "blue"}'
NUMBER = 18


def bring_in(landing: Landing, *tags: str, revision: int = 1) -> UUID:
    """A bill of one, two, four … dollars, each under its tags."""
    costs = [str(2**place) for place in range(len(tags))]
    items = [line_item(cost=cost, resource_tags=of) for cost, of in zip(costs, tags, strict=True)]
    write_bill(landing.root, items, revision=revision)
    return landing.ingest().delivery_id


def costs_by_team(landing: Landing) -> Mapping[str, Decimal]:
    return {row.group[0]: row.amount for row in sum_costs(landing.database, columns=[TEAM]).rows}


def test_a_tag_that_is_given_later_moves_its_costs_alone(landing: Landing) -> None:
    bring_in(landing, "", RED, BLUE)
    assert costs_by_team(landing) == {"": 1, "red": 2, "blue": 4}

    bring_in(landing, RED, RED, "", revision=2)

    assert costs_by_team(landing) == {"": 4, "red": 3}
    assert landing.count("billing_restatement") == 0
    assert landing.broken_rules() == []


def test_a_rollback_brings_the_costs_of_tags_back(landing: Landing) -> None:
    bring_in(landing, "", RED)
    restated = bring_in(landing, RED, BLUE, revision=2)

    roll_back(restated, settings=landing.settings, database=landing.database)

    assert costs_by_team(landing) == {"": 1, "red": 2}
    assert landing.broken_rules() == []


@pytest.fixture
def before(landing: Landing) -> Landing:
    """A database whose bill was published, and restated, before the daily costs by set of tags were kept."""
    bring_in(landing, "", RED, BLUE)
    bring_in(landing, RED, RED, BLUE, revision=2)
    landing.execute("DROP TABLE billing_daily_tag_cost")
    return landing


def test_the_migration_sums_the_charges_that_are_there(before: Landing) -> None:
    [migration] = [migration for migration in list_migrations() if migration.number == NUMBER]

    with connect(before.database.conninfo) as connection:
        connection.execute(migration.script.encode())

    assert costs_by_team(before) == {"red": 3, "blue": 4}
    assert before.broken_rules() == []
    bring_in(before, RED, "", BLUE, revision=3)
    assert costs_by_team(before) == {"red": 1, "": 2, "blue": 4}
    assert before.broken_rules() == []
