"""Two exports of one bill: the first one counts until that is switched, and a reader never sees both or none."""

from __future__ import annotations

import json
import threading
from decimal import Decimal

import pytest

from billfold.bills.counting import switch
from billfold.bills.rollback import roll_back
from billfold.errors import UsageError
from billfold.model import DeliveryOutcome
from billfold.store.database import connect
from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, line_item, write_bill, write_object
from tests.services import Landed

OTHER_ACCOUNT = "777788889999"
FOCUS_ROW = {
    "BilledCost": "3",
    "EffectiveCost": "3",
    "BillingCurrency": "USD",
    "ChargeCategory": "Usage",
    "ChargePeriodStart": "2026-05-03T00:00:00Z",
    "ChargePeriodEnd": "2026-05-04T00:00:00Z",
    "BillingPeriodStart": "2026-05-01T00:00:00Z",
    "BillingPeriodEnd": "2026-06-01T00:00:00Z",
    "BillingAccountId": "111122223333",
    "SubAccountId": "444455556666",
}


def counted(landing: Landing) -> dict[str, bool]:
    return dict(landing.query("SELECT export_name, counted FROM billing_statements"))


def viewed(landing: Landing) -> Decimal:
    return Decimal(landing.value('SELECT coalesce(sum("BilledCost"), 0) FROM focus_cost_and_usage'))


def deliver(landing: Landing, export: str, *costs: str, revision: int = 1, **columns: str) -> DeliveryOutcome:
    """A delivery of one export, let through however little it leaves."""
    items = [line_item(cost=cost, **columns) for cost in costs]
    headers = line_item(**columns)
    manifest = write_bill(landing.root, items, headers=headers, export_path=f"exports/{export}", revision=revision)
    return landing.with_settings(hold_below_percent=0).ingest(manifest)


@pytest.fixture
def twice(landed: Landed) -> Landing:
    """The same bill by two exports: statement 1 says 5, statement 2, published later, says 7."""
    return landed((deliver, "legacy", "5"), (deliver, "modern", "7"))


def test_the_export_published_first_counts(landed: Landed) -> None:
    landing = landed((deliver, "legacy", "5"))

    second = deliver(landing, "modern", "7")

    assert landing.query("SELECT findings FROM billing_deliveries ORDER BY created_at")[0] == ([],)
    assert "holds the same bill" in second.findings[0]
    assert "`billfold statement count 2` switches" in second.findings[0]
    assert counted(landing) == {"legacy": True, "modern": False}
    assert viewed(landing) == 5
    assert landing.count("billing_usage_fact") == 2
    assert landing.as_of(landing.published_at()[-1])["USD"][1] == 5


def test_a_focus_export_beside_the_report_is_the_same_bill(landing: Landing) -> None:
    write_bill(landing.root, [line_item(cost="5")], export_path="exports/report")
    write_bill(landing.root, [FOCUS_ROW], export_path="exports/standard")

    landing.ingest_all()

    assert sorted(counted(landing).values()) == [False, True]
    assert viewed(landing) in (3, 5)


@pytest.mark.parametrize(
    ("columns", "period"),
    [
        ({"line_item_usage_account_id": OTHER_ACCOUNT}, "2026-05"),
        ({"bill_payer_account_id": OTHER_ACCOUNT}, "2026-05"),
        ({"bill_billing_period_start_date": "2026-06-01T00:00:00.000Z"}, "2026-06"),
    ],
    ids=["another member account", "another payer", "another month"],
)
def test_another_bill_counts_too(landed: Landed, columns: dict[str, str], period: str) -> None:
    landing = landed((deliver, "legacy", "5"))
    manifest = write_bill(landing.root, [line_item(cost="7", **columns)], export_path="exports/two", period=period)

    outcome = landing.ingest(manifest)

    assert outcome.findings == ()
    assert counted(landing) == {"legacy": True, "two": True}
    assert viewed(landing) == 12


def test_the_same_bill_of_another_client_counts_there(landed: Landed) -> None:
    landing = landed((deliver, "legacy", "5"))

    deliver(landing.with_client(client_id="globex"), "modern", "7")

    assert counted(landing) == {"legacy": True, "modern": True}


def test_single_files_of_one_folder_are_parts_of_one_bill(landing: Landing) -> None:
    write_object(landing.root, "loose/part-1.csv", as_csv([line_item(cost="5")]))
    write_object(landing.root, "loose/part-2.csv", as_csv([line_item(cost="7")]))

    landing.ingest_all()

    assert viewed(landing) == 12


def test_a_single_file_beside_an_export_is_the_same_bill(landed: Landed) -> None:
    landing = landed((deliver, "legacy", "5"))
    write_object(landing.root, "downloads/may.csv", as_csv([line_item(cost="7")]))

    landing.ingest_all()

    assert viewed(landing) == 5


def test_a_switch_leaves_only_the_chosen_one(twice: Landing) -> None:
    before = twice.published_at()[-1]

    switched = switch(2, counted=True, settings=twice.settings, database=twice.database)

    assert (switched.has_changed, switched.uncounted) == (True, (1,))
    assert counted(twice) == {"legacy": False, "modern": True}
    assert viewed(twice) == 7
    assert twice.as_of(before)["USD"][1] == 5
    assert twice.as_of(twice.published_at()[-1])["USD"][1] == 7
    assert twice.query("SELECT kind, number FROM billing_publications ORDER BY publication_id")[-2:] == [
        ("switch", 2),
        ("switch", 2),
    ]
    assert twice.broken_rules() == []


def test_a_switch_to_what_counts_already_changes_nothing(twice: Landing) -> None:

    switched = switch(1, counted=True, settings=twice.settings, database=twice.database)

    assert not switched.has_changed
    assert twice.count("billing_publications") == 2


def test_a_statement_can_be_left_out(twice: Landing) -> None:

    switched = switch(1, counted=False, settings=twice.settings, database=twice.database)

    assert (switched.has_changed, switched.uncounted, switched.overlapping) == (True, (), (2,))
    assert viewed(twice) == 0


def test_the_next_delivery_keeps_the_choice_and_is_warned(twice: Landing) -> None:
    switch(2, counted=True, settings=twice.settings, database=twice.database)
    manifest = write_bill(twice.root, [line_item(cost="6")], export_path="exports/legacy", revision=2)

    outcome = twice.ingest(manifest)

    assert "statement 2 (modern) holds the same bill" in outcome.findings[0]
    assert "`billfold statement count 1` switches" in outcome.findings[0]
    assert viewed(twice) == 7


def test_a_rollback_keeps_the_choice_and_can_be_undone_after_a_switch(twice: Landing) -> None:
    restated = twice.ingest(write_bill(twice.root, [line_item(cost="6")], export_path="exports/legacy", revision=2))
    assert restated.delivery_id is not None
    roll_back(restated.delivery_id, settings=twice.settings, database=twice.database)
    switch(2, counted=True, settings=twice.settings, database=twice.database)

    roll_back(restated.delivery_id, settings=twice.settings, database=twice.database, undo=True)

    assert viewed(twice) == 7
    switch(1, counted=True, settings=twice.settings, database=twice.database)
    assert viewed(twice) == 6
    assert twice.broken_rules() == []


def test_a_statement_that_was_empty_yields_when_its_bill_comes(landing: Landing) -> None:
    deliver(landing, "legacy")
    deliver(landing, "modern", "7")

    outcome = deliver(landing, "legacy", "5", revision=2)

    assert "is counted: this one is kept but not counted" in outcome.findings[-1]
    assert counted(landing) == {"legacy": False, "modern": True}
    assert viewed(landing) == 7


def test_a_statement_that_comes_to_hold_the_accounts_of_another_yields(landing: Landing) -> None:
    deliver(landing, "legacy", "5", line_item_usage_account_id=OTHER_ACCOUNT)
    deliver(landing, "modern", "7")
    before = viewed(landing)

    deliver(landing, "legacy", "5", revision=2)

    assert before == 12
    assert viewed(landing) == 7


def test_what_an_undo_brings_back_yields_to_what_counts_meanwhile(landed: Landed) -> None:
    landing = landed((deliver, "legacy", "5"))
    legacy = landing.value("SELECT delivery_id FROM billing_deliveries")
    roll_back(legacy, settings=landing.settings, database=landing.database)
    deliver(landing, "modern", "7")

    restored = roll_back(legacy, settings=landing.settings, database=landing.database, undo=True)

    assert "is counted: this one is kept but not counted" in restored.findings[0]
    assert viewed(landing) == 7
    assert landing.as_of(landing.published_at()[-1])["USD"][1] == 7


def test_a_bill_whose_counted_statement_is_rolled_back_is_told_and_counts_with_its_next_delivery(
    twice: Landing,
) -> None:
    legacy = twice.value("SELECT current_delivery_id FROM billing_statements WHERE statement_id = 1")

    restored = roll_back(legacy, settings=twice.settings, database=twice.database)
    between = viewed(twice)
    outcome = deliver(twice, "modern", "7", "1", revision=2)

    assert restored.findings == (
        "statement 2 (modern) holds the same bill and is not counted yet: `billfold statement count 2`",
    )
    assert twice.value("SELECT state FROM billing_checks WHERE name = 'overlap' AND statement_id = 2 LIMIT 1") == (
        "warned"
    )
    assert between == 0
    assert "no other statement of the same bill is counted any more" in outcome.findings[0]
    assert viewed(twice) == 8


def test_what_an_operator_left_out_stays_out(landed: Landed) -> None:
    landing = landed((deliver, "legacy", "5"))
    switch(1, counted=False, settings=landing.settings, database=landing.database)

    outcome = deliver(landing, "legacy", "6", revision=2)

    assert outcome.findings == ()
    assert viewed(landing) == 0


def test_an_emptied_statement_that_counted_yields_after_a_switch(twice: Landing) -> None:
    legacy = twice.value("SELECT current_delivery_id FROM billing_statements WHERE statement_id = 1")
    roll_back(legacy, settings=twice.settings, database=twice.database)
    switch(2, counted=True, settings=twice.settings, database=twice.database)

    deliver(twice, "legacy", "8", revision=2)

    assert viewed(twice) == 7


def test_a_manifest_that_takes_over_what_counted_counts(landing: Landing) -> None:
    loose = write_object(landing.root, "loose/part.csv", as_csv([line_item(cost="7")]))
    landing.ingest(loose)
    deliver(landing, "modern", "5")
    before = viewed(landing)
    manifest = landing.root / "exports/modern/metadata/BILLING_PERIOD=2026-05/modern-Manifest.json"
    document = json.loads(manifest.read_text())
    document |= {"dataFiles": [*document["dataFiles"], "s3://acme-bills/loose/part.csv"], "executionId": "later"}
    write_object(landing.root, str(manifest.relative_to(landing.root)), json.dumps(document).encode(), revision=2)

    outcome = landing.ingest(manifest)

    assert before == 7
    assert outcome.rows_read == 2
    assert viewed(landing) == 12
    assert landing.broken_rules() == []


def test_all_parts_of_a_bill_are_counted_together(landing: Landing) -> None:
    items = [line_item(cost="5"), line_item(cost="6", line_item_usage_account_id=OTHER_ACCOUNT)]
    landing.ingest(write_bill(landing.root, items, export_path="exports/legacy"))
    for number, item in enumerate(items, start=1):
        write_object(landing.root, f"loose/part-{number}.csv", as_csv([item]))
    landing.ingest_all()
    before = counted(landing)

    switched = switch(2, counted=True, settings=landing.settings, database=landing.database)

    assert before == {"legacy": True, "loose/part-1.csv": False, "loose/part-2.csv": False}
    assert (switched.uncounted, switched.also_counted) == ((1,), (3,))
    assert viewed(landing) == 11


@pytest.mark.parametrize("statement_id", [99, 2_147_483_648])
def test_an_unknown_statement_is_refused(landing: Landing, statement_id: int) -> None:
    with pytest.raises(UsageError, match=f"no such statement {statement_id}"):
        switch(statement_id, counted=True, settings=landing.settings, database=landing.database)


def test_a_polling_reader_sees_the_one_or_the_other(twice: Landing) -> None:
    seen: set[Decimal] = set()
    is_done = threading.Event()

    def poll() -> None:
        with connect(twice.database.conninfo) as connection:
            while not is_done.is_set():
                row = connection.execute('SELECT sum("BilledCost") FROM focus_cost_and_usage').fetchone()
                seen.add(row[0] if row else Decimal(-1))

    reader = threading.Thread(target=poll)
    reader.start()
    for statement_id in (2, 1) * 5:
        switch(statement_id, counted=True, settings=twice.settings, database=twice.database)
    is_done.set()
    reader.join()

    assert seen <= {Decimal(5), Decimal(7)}
    assert len(seen) == 2
