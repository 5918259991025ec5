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


def test_the_export_published_first_counts(twice: Landing) -> None:
    first, second = twice.query("SELECT findings FROM billing_deliveries ORDER BY created_at")

    assert first == ([],)
    assert "holds the same bill" in second[0][0]
    assert "`billfold statement count 2` switches" in second[0][0]
    assert counted(twice) == {"legacy": True, "modern": False}
    assert viewed(twice) == 5
    assert twice.count("billing_usage_fact") == 2
    assert twice.as_of(twice.published_at()[-1])["USD"][1] == 5


def test_another_bill_counts_too_until_it_holds_the_accounts_of_this_one(landed: Landed) -> None:
    landing = landed((deliver, "legacy", "5"))
    june = [line_item(cost="4", bill_billing_period_start_date="2026-06-01T00:00:00.000Z")]

    outcomes = [
        deliver(landing, "member", "1", line_item_usage_account_id=OTHER_ACCOUNT),
        deliver(landing, "payer", "2", bill_payer_account_id=OTHER_ACCOUNT),
        landing.ingest(write_bill(landing.root, june, export_path="exports/june", period="2026-06")),
        deliver(landing.with_client(client_id="globex"), "globex", "8"),
    ]
    counted_then, viewed_then = counted(landing), viewed(landing)
    deliver(landing, "member", "1", revision=2)

    assert [outcome.findings for outcome in outcomes] == [()] * 4
    assert counted_then == dict.fromkeys(["legacy", "member", "payer", "june", "globex"], True)
    assert viewed_then == 5 + 1 + 2 + 4 + 8
    assert counted(landing) == {**counted_then, "member": False}
    assert viewed(landing) == 5 + 2 + 4 + 8


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


def test_deliveries_rollbacks_and_undos_keep_the_choice_of_any_switch(twice: Landing) -> None:
    def choose(statement_id: int) -> None:
        switch(statement_id, counted=True, settings=twice.settings, database=twice.database)

    choose(2)
    restated = twice.ingest(write_bill(twice.root, [line_item(cost="6")], export_path="exports/legacy", revision=2))
    assert restated.delivery_id is not None
    seen = [viewed(twice)]
    choose(1)
    seen.append(viewed(twice))
    roll_back(restated.delivery_id, settings=twice.settings, database=twice.database)
    seen.append(viewed(twice))
    choose(2)
    roll_back(restated.delivery_id, settings=twice.settings, database=twice.database, undo=True)
    seen.append(viewed(twice))
    choose(1)

    assert "statement 2 (modern) holds the same bill" in restated.findings[0]
    assert "`billfold statement count 1` switches" in restated.findings[0]
    assert [*seen, viewed(twice)] == [7, 6, 5, 7, 6]
    assert twice.broken_rules() == []


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

    outcome = deliver(twice, "legacy", "8", revision=2)

    assert "is counted: this one is kept but not counted" in outcome.findings[-1]
    assert counted(twice) == {"legacy": False, "modern": True}
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


def test_all_files_of_a_folder_are_parts_of_one_bill_and_counted_together(landing: Landing) -> None:
    items = [line_item(cost="5"), line_item(cost="6", line_item_usage_account_id=OTHER_ACCOUNT)]
    for number, item in enumerate(items, start=1):
        write_object(landing.root, f"loose/part-{number}.csv", as_csv([item]))
    landing.ingest_all()
    parts = viewed(landing)
    landing.ingest(write_bill(landing.root, items, export_path="exports/legacy"))
    before = counted(landing)

    to_export = switch(3, counted=True, settings=landing.settings, database=landing.database)
    landing.ingest(write_object(landing.root, "loose/part-3.csv", as_csv([line_item(cost="7")])))
    beside = viewed(landing)
    to_parts = switch(2, counted=True, settings=landing.settings, database=landing.database)

    assert parts == 11
    assert before == {"loose/part-1.csv": True, "loose/part-2.csv": True, "legacy": False}
    assert to_export.uncounted == (1, 2)
    # A file that comes later is part of what is not counted.
    assert beside == 11
    assert (to_parts.uncounted, to_parts.also_counted) == ((3,), (1, 4))
    assert viewed(landing) == 18


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
    for statement_id in (2, 1) * 3:
        switch(statement_id, counted=True, settings=twice.settings, database=twice.database)
    is_done.set()
    reader.join()

    assert seen <= {Decimal(5), Decimal(7)}
    assert len(seen) == 2
