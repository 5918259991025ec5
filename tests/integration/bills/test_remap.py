"""Charges made anew of the landed rows, without the source."""

from __future__ import annotations

import shutil
from decimal import Decimal
from typing import Any

import pytest

from billfold.bills.remap import Remapping, RemapState, remap
from billfold.bills.rollback import roll_back
from billfold.errors import ReconciliationError, UsageError
from billfold.model import CostBasis
from billfold.transform.mapping import MAPPING_VERSION
from billfold.verification import verify
from tests.bills.landing import Landing
from tests.bills.line_items import PLAN, described, line_item, write_bill
from tests.services import Landed


def run(landing: Landing, **options: Any) -> list[Remapping]:
    return remap(settings=landing.settings, database=landing.database, **options)


def pretend_older_mapping(landing: Landing) -> None:
    """As if an earlier version had made the charges, and had made them worse."""
    landing.execute("UPDATE billing_publications SET mapping_version = 1")
    landing.execute("UPDATE billing_deliveries SET mapping_version = 1")
    landing.execute("UPDATE billing_usage_fact SET list_cost = list_cost + 1")
    landing.execute("UPDATE billing_daily_cost SET list_cost = list_cost + charge_count")
    landing.execute("UPDATE billing_daily_tag_cost SET list_cost = list_cost + charge_count")


def land(landing: Landing) -> None:
    """A bill of many kinds: usage, identical rows, a Savings Plan whose negation falls short, tags, a net cost."""
    items = [
        *described("1.5", "2.25"),
        line_item(cost="3"),
        line_item(cost="3"),
        line_item("SavingsPlanCoveredUsage", "4", savings_plan_savings_plan_a_r_n=PLAN),
        line_item("SavingsPlanNegation", "-3.5", savings_plan_savings_plan_a_r_n=PLAN),
        line_item("Tax", "0.7"),
        # Tags in columns beside an empty map.
        line_item(cost="10", line_item_net_unblended_cost="9", resource_tags="", resource_tags_user_env="prod"),
    ]
    write_bill(landing.root, items)
    assert landing.ingest().exit_error is None


def test_charges_come_back_as_ingest_makes_them_without_the_source(landed: Landed) -> None:
    landing = landed((land,))
    wanted = landing.snapshot()
    pretend_older_mapping(landing)
    before = landing.published_at()[-1]
    older = landing.value("SELECT sum(list_cost) FROM billing_usage_fact")
    shutil.rmtree(landing.root)

    [remapped] = run(landing)

    assert (remapped.state, remapped.mapping_version_before) == (RemapState.REMAPPED, 1)
    assert remapped.billed_cost == {"USD": Decimal("19.95")}
    assert any("leave 0.5 USD over" in finding for finding in remapped.findings)
    assert landing.snapshot() == wanted
    assert landing.value("SELECT cost_basis FROM billing_statements") == CostBasis.NET
    assert landing.query('SELECT "Tags" FROM focus_cost_and_usage WHERE "BilledCost" = 9') == [({"env": "prod"},)]
    # The old charges can be asked for still.
    for function in ("charges_as_of", "daily_cost_as_of"):
        assert landing.value(f"SELECT sum(list_cost) FROM {function}(%s)", before) == older
    assert landing.value("SELECT sum(list_cost) FROM billing_usage_fact") != older
    assert landing.broken_rules() == []
    assert landing.query("SELECT kind, mapping_version FROM billing_publications ORDER BY number") == [
        ("delivery", 1),
        ("remap", MAPPING_VERSION),
    ]
    assert landing.value("SELECT mapping_version FROM billing_deliveries") == MAPPING_VERSION
    assert all(
        verdict.is_true for verdict in verify(settings=landing.settings, database=landing.database, with_source=False)
    )


def test_what_this_version_mapped_is_left_alone(landed: Landed) -> None:
    landing = landed((land,))

    [remapped] = run(landing)

    assert remapped.state is RemapState.CURRENT
    assert landing.count("billing_publications") == 1


def test_force_maps_anew_all_the_same(landed: Landed) -> None:
    landing = landed((land,))
    wanted = landing.snapshot()

    [remapped] = run(landing, force=True)

    assert remapped.state is RemapState.REMAPPED
    assert landing.snapshot() == wanted
    assert landing.count("billing_usage_fact_history") == landing.count("billing_usage_fact")
    assert landing.count("raw_aws_billing_rows_history") == 0


def test_a_remapped_delivery_can_be_rolled_back_and_brought_back(landed: Landed) -> None:
    landing = landed((land,))
    write_bill(landing.root, described("8"), revision=2)
    outcome = landing.with_settings(hold_below_percent=0).ingest()
    assert outcome.delivery_id is not None
    run(landing, force=True)
    remapped = landing.snapshot()

    roll_back(outcome.delivery_id, settings=landing.settings, database=landing.database)
    first = landing.billed()
    roll_back(outcome.delivery_id, settings=landing.settings, database=landing.database, undo=True)

    assert first == {"USD": Decimal("19.95")}
    assert landing.snapshot() == remapped
    assert landing.broken_rules() == []


def test_an_emptied_statement_has_nothing_to_map(landed: Landed) -> None:
    landing = landed((land,))
    delivery = landing.value("SELECT delivery_id FROM billing_deliveries")
    roll_back(delivery, settings=landing.settings, database=landing.database)

    [remapped] = run(landing, force=True)

    assert remapped.state is RemapState.EMPTY


def test_only_the_chosen_statement_is_remapped(landed: Landed) -> None:
    landing = landed((land,))
    landing.ingest(write_bill(landing.root, described("9"), export_path="exports/two"))
    pretend_older_mapping(landing)

    [remapped] = run(landing, export="two")

    assert remapped.export_name == "two"
    versions = "SELECT export_name, mapping_version FROM billing_deliveries ORDER BY 1"
    assert landing.query(versions) == [("acme", 1), ("two", MAPPING_VERSION)]


def test_an_unknown_statement_is_refused(landing: Landing) -> None:
    with pytest.raises(UsageError, match="no such statement 9"):
        run(landing, statement_id=9)


def test_rows_that_were_tampered_with_are_not_mapped(landed: Landed) -> None:
    landing = landed((land,))
    before = landing.snapshot()
    landing.execute("UPDATE raw_aws_billing_rows SET row_data = replace(row_data::text, '2.25', '2.35')::json")

    with pytest.raises(ReconciliationError):
        run(landing, force=True)

    assert landing.snapshot()["billing_usage_fact"] == before["billing_usage_fact"]
    assert landing.count("billing_publications") == 1
