"""`billfold verify`: bills of every format, and with every history, are found true."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, timedelta

from billfold.bills.prune import prune
from billfold.bills.rollback import roll_back
from billfold.transform.mapping import MAPPING_VERSION
from billfold.verification import ProofState
from billfold.verification.origin import prove_origin
from tests.bills.landing import Landing
from tests.bills.line_items import PAYER, LineItem, described, line_item, write_bill
from tests.bills.verified import (
    FACT,
    FACT_HISTORY,
    NET,
    RAW_HISTORY,
    differing,
    of_days,
    of_history,
    plan_rows,
    untrue,
    verify_all,
)

LEGACY = {
    "bill/PayerAccountId": PAYER,
    "bill/BillingPeriodStartDate": "2026-05-01T00:00:00Z",
    "lineItem/LineItemType": "Usage",
    "lineItem/UsageStartDate": "2026-05-03T04:00:00Z",
    "lineItem/UsageEndDate": "2026-05-03T05:00:00Z",
    "lineItem/UsageAccountId": PAYER,
    "lineItem/CurrencyCode": "USD",
}


def deliver(landing: Landing, items: Sequence[LineItem], *, revision: int) -> None:
    """A delivery that takes the place of the one before, however little it holds."""
    write_bill(landing.root, items, headers=None if items else line_item(), revision=revision)
    assert landing.ingest(force=True).exit_error is None


def test_what_was_rolled_back_and_brought_back_is_true(restated: Landing) -> None:
    roll_back_current(restated, undo=True)
    after_undo = differing(restated, prove_origin, of_history, of_days)
    for _ in range(3):
        roll_back_current(restated)

    assert after_undo == {}
    assert untrue(restated) == {"source_rows": "no delivery is current"}
    assert restated.count(FACT) == 0


def roll_back_current(landing: Landing, *, undo: bool = False) -> None:
    [[current]] = landing.query("SELECT current_delivery_id FROM billing_statements")
    roll_back(current, settings=landing.settings, database=landing.database)
    if undo:
        roll_back(current, settings=landing.settings, database=landing.database, undo=True)


def test_rows_of_an_older_format_may_stand_beside_newer_ones(landing: Landing) -> None:
    plain = {**LEGACY, "lineItem/UnblendedCost": "1"}
    newer = {
        "bill_payer_account_id": PAYER,
        "bill_billing_period_start_date": "2026-05-01T00:00:00Z",
        "line_item_line_item_type": "Usage",
        "line_item_usage_start_date": "2026-05-03T04:00:00Z",
        "line_item_usage_end_date": "2026-05-03T05:00:00Z",
        "line_item_usage_account_id": PAYER,
        "line_item_currency_code": "USD",
        "line_item_unblended_cost": "1",
    }
    odd = {
        "line_item_line_item_description": 'a "quoted" \\ text, with\nlines and é',
        "resource_tags": '{"user_b": "1"}',
    }
    write_bill(landing.root, [plain])
    landing.ingest()
    odd_values = [
        line_item(cost="1E-7", **odd),
        line_item(cost="0.10", line_item_currency_code="EUR", resource_tags='{"b": "2", "a": "x/y~z"}'),
        line_item(cost="-3.00", discount='{"volume": -0.25}', resource_tags="no JSON"),
    ]
    write_bill(landing.root, [newer, {**newer, "line_item_unblended_cost": "2"}], odd_values, revision=2)
    outcome = landing.ingest(force=True)

    assert (outcome.rows_unchanged, outcome.rows_added) == (1, 4)
    assert untrue(landing) == {}


def test_history_of_every_format_and_basis_and_a_delivery_without_rows_are_true(landing: Landing) -> None:
    legacy = {**LEGACY, "lineItem/UnblendedCost": "1", "resourceTags/user:env": "one"}
    focus = {
        "BilledCost": "4",
        "EffectiveCost": "4",
        "BillingCurrency": "USD",
        "ChargeCategory": "Usage",
        "ChargePeriodStart": "2026-05-03T00:00:00Z",
        "ChargePeriodEnd": "2026-05-04T00:00:00Z",
        "BillingPeriodStart": "2026-05-01T00:00:00Z",
        "BillingPeriodEnd": "2026-06-01T00:00:00Z",
        "BillingAccountId": PAYER,
        "Tags": '{"env": "four"}',
    }
    bills = [
        [
            legacy,
            {**legacy, "resourceTags/user:env": ""},
            # Headers with one meaning are read as they were landed.
            {**LEGACY, "lineItem/UnblendedCost": "11", "product/transferType": "a", "resourceTags/user:Env": "x"},
            {**LEGACY, "lineItem/UnblendedCost": "12", "product/TransferType": "b", "resourceTags/user:env": "y"},
            {**LEGACY, "lineItem/UnblendedCost": "13", "product/TransferType": "b", "product/transferType": "c"},
            {**LEGACY, "lineItem/UnblendedCost": "14", "resourceTags/user:env": "y", "resourceTags/user:Env": "Y"},
        ],
        [
            line_item(cost="2", resource_tags_user_env="two", cost_category_team="a"),
            line_item(cost="3", resource_tags='{"user_env": "three"}', cost_category='{"team": "b"}'),
            line_item(cost="3.5", tags='{"accountTag/env": "four"}', line_item_iam_principal="arn:aws:iam::1:user/a"),
            *plan_rows(),
            *plan_rows("10.5"),
        ],
        [focus, {**focus, "Tags": ""}],
        [],
    ]
    # One net cost, and all charges are made again from the rows that were there; then it goes.
    net = [*bills[1], line_item(cost="9", **{NET: "8"})]
    bills[2:2] = [net, bills[1]]
    withdrawn = []
    for revision, items in enumerate(bills, start=1):
        deliver(landing, items, revision=revision)
        withdrawn.append((landing.count(RAW_HISTORY), landing.count(FACT_HISTORY)))

    assert landing.count(FACT) == 0
    # Rows and charges: all of the format before; charges of rows that stay; these again, and the row with a net cost.
    assert withdrawn[:4] == [(0, 0), (6, 6), (6, 12), (7, 19)]
    assert landing.count("billing_publications") == len(bills)
    # A withdrawn charge whose row is not mapped again would differ.
    assert untrue(landing) == {}


def test_what_another_version_mapped_or_hashed_is_left_out(restated: Landing) -> None:
    restated.execute("UPDATE billing_statements SET mapping_version = 0, hash_version = 0")
    restated.execute("UPDATE billing_publications SET mapping_version = 0, hash_version = 0 WHERE number = 1")
    restated.execute(f"UPDATE {FACT_HISTORY} SET consumed_quantity = 77 WHERE added_by = 1")

    [verdict] = verify_all(restated)

    told = {proof.name: proof.detail for proof in verdict.proofs}
    assert verdict.is_true
    assert "except 6 that another version of the mapping made" in told["history_mapped"]
    assert {proof.name: proof.detail for proof in verdict.proofs if proof.state is not ProofState.TRUE} == {
        **dict.fromkeys(
            ("dimension_members", "charges_mapped"), f"mapped by version 0, this is version {MAPPING_VERSION}"
        ),
        "raw_hashes": "hashed by version 0, this is version 1",
        "history_hashes": "hashed by version 0 too, this is version 1",
        "source_rows": "the raw rows' identity is unknown",
    }


def test_a_redelivery_that_took_the_place_of_another_is_true(landing: Landing) -> None:
    write_bill(landing.root, described("1", "2"))
    landing.ingest()
    write_bill(landing.root, described("1", "2", "3"), revision=2)
    landing.ingest()
    for revision in (3, 4):
        write_bill(landing.root, list(reversed(described("1", "2", "3"))), revision=revision)
        landing.ingest()
    parts = (prove_origin, of_history)
    [current] = landing.query("SELECT current_delivery_id FROM billing_statements")
    after_redeliveries = differing(landing, *parts)
    stand = "UPDATE billing_statements SET current_delivery_id = (SELECT delivery_id FROM billing_publications"
    # Its place is not that of the delivery that was published.
    landing.execute(f"{stand} WHERE number = 2)")
    of_published = differing(landing, *parts)
    landing.execute("UPDATE billing_statements SET current_delivery_id = %s", current[0])
    roll_back(current[0], settings=landing.settings, database=landing.database)
    after_rollback = differing(landing, *parts)
    roll_back(current[0], settings=landing.settings, database=landing.database, undo=True)
    after_undo = differing(landing, *parts)
    # An earlier redelivery of the same rows stood before the latest one, and the rollback says another total.
    landing.execute(f"{stand} WHERE number = 1)")
    landing.execute("UPDATE billing_publications SET net_cost_after = '{\"USD\": \"1\"}' WHERE kind = 'rollback'")
    damaged = differing(landing, *parts)

    assert landing.count("billing_publications") == 4
    assert after_redeliveries == after_rollback == after_undo == {}
    for found in (of_published, damaged):
        assert f"column current_delivery_id: expected {current[0]}, found " in found["delivery"]
    assert "publication 3: column net_cost_after: expected 0 USD, found 1 USD" in damaged["publications"]


def test_what_is_pruned_is_left_out(restated: Landing) -> None:
    [second] = restated.query("SELECT published_at FROM billing_publications WHERE number = 2")
    prune(
        settings=restated.settings,
        database=restated.database,
        keep_days=0,
        now=second[0].astimezone(UTC) + timedelta(microseconds=1),
    )

    [verdict] = verify_all(restated)

    assert restated.count(RAW_HISTORY) > 0
    assert verdict.is_true
    assert {proof.detail for proof in verdict.proofs if proof.name.startswith("history_")} >= {
        "3 publications, 2 of them pruned"
    }
