"""Two exports of one account: parts of one bill both count, of duplicates one does, told by what they hold."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from billfold import reports
from billfold.bills.counting import decide, switch
from billfold.bills.remap import remap
from billfold.bills.rollback import roll_back
from billfold.clients.registry import register, remove
from billfold.errors import UsageError
from billfold.model import DeliveryOutcome, Relation
from billfold.selection import Filter
from billfold.store.database import connect
from billfold.store.deliveries import claims, counting, records
from tests.bills.landing import Landing
from tests.bills.line_items import PLAN, LineItem, described, line_item, write_bill

EC2 = described("10", "11", "12")
S3 = described("500", "501", "502", line_item_product_code="AmazonS3")


def deliver(landing: Landing, export: str, items: Sequence[LineItem], *, revision: int = 1) -> DeliveryOutcome:
    """A delivery of one export, let through however little it leaves."""
    headers = dict.fromkeys(name for item in items or [line_item()] for name in item)
    manifest = write_bill(landing.root, items, headers=headers, export_path=f"exports/{export}", revision=revision)
    return landing.with_settings(hold_below_percent=0).ingest(manifest)


def viewed(landing: Landing, moment: datetime | None = None) -> Decimal:
    """What the costs are, now or at a moment."""
    if moment is not None:
        return sum((cost for _, cost in landing.as_of(moment).values()), Decimal(0))
    # Of two publications at once the first to begin need not be the first to end.
    now = landing.as_of(max(landing.published_at()))
    shown = Decimal(landing.value('SELECT coalesce(sum("BilledCost"), 0) FROM focus_cost_and_usage'))
    assert shown == sum((cost for _, cost in now.values()), Decimal(0))
    return shown


def counted(landing: Landing) -> set[str]:
    return {name for (name,) in landing.query("SELECT export_name FROM billing_statements WHERE counted")}


def found(landing: Landing) -> tuple[str, str, Decimal, Decimal]:
    """What the only two statements say: relation, measure, share of the smaller and of the larger one."""
    [pair] = landing.query("SELECT relation, measure, share_of_smaller, share_of_larger FROM billing_statement_pairs")
    return pair[0], pair[1], pair[2], pair[3]


def hours(cost: str, count: int, **columns: str) -> list[dict[str, str]]:
    """A line item for each of so many hours from the third of May on."""
    return [
        line_item(
            cost=cost,
            line_item_usage_start_date=f"2026-05-{3 + hour // 24:02}T{hour % 24:02}:00:00.000Z",
            line_item_usage_end_date=f"2026-05-{3 + (hour + 1) // 24:02}T{(hour + 1) % 24:02}:00:00.000Z",
            **columns,
        )
        for hour in range(count)
    ]


def spanning(cost: str, start: str, end: str, **columns: str) -> dict[str, str]:
    return line_item(
        cost=cost,
        line_item_usage_start_date=f"{start}T00:00:00.000Z",
        line_item_usage_end_date=f"{end}T00:00:00.000Z",
        **columns,
    )


def focus_row(cost: str, **columns: str) -> dict[str, str]:
    return {
        "BilledCost": cost,
        "EffectiveCost": cost,
        "BillingCurrency": "USD",
        "ChargeCategory": "Usage",
        "ChargePeriodStart": "2026-05-03T04:00:00Z",
        "ChargePeriodEnd": "2026-05-03T05:00:00Z",
        "BillingPeriodStart": "2026-05-01T00:00:00Z",
        "BillingPeriodEnd": "2026-06-01T00:00:00Z",
        "BillingAccountId": "111122223333",
        "SubAccountId": "444455556666",
        "x_ServiceCode": "AmazonEC2",
        **columns,
    }


def tagged(team: str, *costs: str) -> list[dict[str, str]]:
    return [line_item(cost=cost, resource_tags=json.dumps({"user_team": team})) for cost in costs]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (EC2, S3),
        (tagged("a", "10", "23"), tagged("b", "500", "1003")),
        ([line_item(cost="33")], [line_item("Tax", cost="1503")]),
        (
            [spanning("33", "2026-05-03", "2026-05-04")],
            [spanning("1503", "2026-05-04", "2026-05-05")],
        ),
        (
            [line_item(cost="33", line_item_usage_type="BoxUsage:t3.large", line_item_resource_id="i-1")],
            [line_item(cost="1503", line_item_usage_type="EBS:VolumeUsage.gp3")],
        ),
        ([line_item(cost="33")], [focus_row("1503", x_ServiceCode="AmazonS3")]),
    ],
    ids=["by service", "by tag", "by type", "by day", "by usage type, other columns", "in two formats"],
)
def test_exports_whose_queries_filter_other_rows_are_parts(
    landing: Landing, one: Sequence[LineItem], other: Sequence[LineItem]
) -> None:
    deliver(landing, "one", one)

    outcome = deliver(landing, "other", other)

    assert viewed(landing) == 1536
    assert counted(landing) == {"one", "other"}
    assert outcome.findings[-1:] == (
        "statement 1 (one) holds other charges of the same accounts: both are parts of one bill and are counted",
    )
    assert found(landing)[0] == "parts"
    assert landing.broken_rules() == []


def test_the_row_filtered_exports_of_the_field_are_one_bill(landing: Landing, shared_samples: Path) -> None:
    landing.ingest_all(shared_samples / "field" / "row-filtered-exports")

    assert viewed(landing) == 1536


def test_parts_are_told_once(landing: Landing) -> None:
    deliver(landing, "one", EC2)
    deliver(landing, "other", S3)

    outcome = deliver(landing, "other", [*S3, line_item(cost="1", line_item_product_code="AmazonS3")], revision=2)

    assert outcome.findings == ()
    assert viewed(landing) == 1537


@pytest.mark.parametrize(
    ("one", "other", "measure"),
    [
        (EC2, EC2, "line items"),
        (
            [line_item(cost="33", line_item_resource_id="i-1")],
            [line_item(cost="33")],
            "daily costs",
        ),
        (
            [line_item(cost="33", resource_tags='{"user_team": "a"}')],
            [line_item(cost="33")],
            "daily costs",
        ),
        (
            [line_item(cost="10", resource_tags=""), line_item(cost="23", resource_tags="")],
            [*tagged("a", "10"), *tagged("b", "23")],
            "daily costs",
        ),
        (
            hours("0.5", 66),
            [
                spanning(c, s, e)
                for c, s, e in (
                    ("12", "2026-05-03", "2026-05-04"),
                    ("12", "2026-05-04", "2026-05-05"),
                    ("9", "2026-05-05", "2026-05-06"),
                )
            ],
            "daily costs",
        ),
        (hours("0.5", 66), [spanning("33", "2026-05-01", "2026-06-01")], "daily costs"),
        (
            [
                line_item(cost="33"),
                line_item(
                    "SavingsPlanCoveredUsage",
                    "7",
                    savings_plan_savings_plan_a_r_n=PLAN,
                    savings_plan_savings_plan_effective_cost="5",
                ),
                line_item("SavingsPlanNegation", "-7", savings_plan_savings_plan_a_r_n=PLAN),
            ],
            [focus_row("33", x_ServiceCode=""), focus_row("0", EffectiveCost="5", x_ServiceCode="")],
            "daily costs",
        ),
    ],
    ids=["equal", "resources", "tags", "tags switched on", "hours and days", "hours and a month", "cur and focus"],
)
def test_one_bill_in_two_shapes_is_counted_once(
    landing: Landing, one: Sequence[LineItem], other: Sequence[LineItem], measure: str
) -> None:
    deliver(landing, "one", one)

    outcome = deliver(landing, "other", other)

    assert viewed(landing) == 33
    assert counted(landing) == {"one"}
    assert found(landing) == ("duplicates", measure, 1, 1)
    assert "holds the same bill and is counted" in outcome.findings[-1]


def test_a_bill_that_was_restated_between_two_exports_is_counted_once(landing: Landing) -> None:
    deliver(landing, "one", described("10", "11", "12"))

    outcome = deliver(landing, "other", described("10.5", "11.5", "12.5"))

    assert viewed(landing) == 33
    assert found(landing) == ("duplicates", "daily costs", 1, Decimal("0.956521"))
    assert "parts" not in outcome.findings[-1]


def test_the_rollup_finds_duplicates_of_many_charges(landing: Landing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MANY_CHARGES", 3)
    bill = described("10", "11", "12")
    deliver(landing, "one", bill)
    deliver(landing, "other", [{**item, "line_item_resource_id": "i-1"} for item in bill])
    deliver(landing, "third", described("1", "2", "3", line_item_product_code="AmazonS3"))

    assert counted(landing) == {"one", "third"}
    assert viewed(landing) == 39


def test_the_november_of_three_encodings_is_one_bill(landing: Landing, shared_samples: Path) -> None:
    for tree in ("legacy-cur", "cur2-csv", "cur2-parquet"):
        landing.ingest_all(shared_samples / tree)

    assert viewed(landing) == Decimal("0.0803775084")
    assert landing.count("billing_statements") == 3
    assert landing.query("SELECT DISTINCT relation FROM billing_statement_pairs") == [("duplicates",)]


def test_a_focus_export_of_november_is_the_same_bill(landing: Landing, shared_samples: Path) -> None:
    landing.ingest_all(shared_samples / "legacy-cur")
    rows = [
        focus_row(
            f"{charge['BilledCost']:f}",
            EffectiveCost=f"{charge['EffectiveCost']:f}",
            ChargeCategory=charge["ChargeCategory"],
            ChargePeriodStart=charge["ChargePeriodStart"].isoformat(),
            ChargePeriodEnd=charge["ChargePeriodEnd"].isoformat(),
            BillingPeriodStart="2023-11-01T00:00:00Z",
            BillingPeriodEnd="2023-12-01T00:00:00Z",
            BillingAccountId=charge["BillingAccountId"],
            SubAccountId=charge["SubAccountId"],
            ServiceName=f"Amazon {charge['ServiceName']}",
            x_ServiceCode="" if number % 3 else "AnotherCode",
        )
        for number, charge in enumerate(landing.charges())
    ]
    write_bill(landing.root, rows, export_path="exports/focus", period="2023-11")

    landing.ingest_all()

    assert viewed(landing) == Decimal("0.0803775084")
    assert found(landing) == ("duplicates", "daily costs", 1, 1)


@pytest.mark.parametrize(
    ("shared", "relation", "expected"),
    [(4, "parts", 200), (5, "overlap", 100), (95, "overlap", 100), (96, "duplicates", 100)],
)
def test_five_and_ninety_five_percent_are_the_limits(
    landing: Landing, shared: int, relation: str, expected: int
) -> None:
    bill = described(*["1"] * 200)
    deliver(landing, "one", bill[:100])

    outcome = deliver(landing, "other", bill[100 - shared : 200 - shared])

    assert found(landing)[0] == relation
    assert found(landing)[2:] == (Decimal(shared) / 100, Decimal(shared) / 100)
    assert viewed(landing) == expected
    told = {
        "parts": "4 USD is in both and counted twice",
        "overlap": f"{shared} USD of this one is in there too, {100 - shared} USD is not and is missing",
        "duplicates": "holds the same bill and is counted",
    }
    assert told[relation] in outcome.findings[-1]


def test_line_items_without_any_cost_do_not_make_duplicates(landing: Landing) -> None:
    free = described(*["0"] * 20)
    deliver(landing, "one", [*EC2, *free])

    deliver(landing, "other", [*S3, *free])

    assert viewed(landing) == 1536


def test_a_bill_without_any_cost_is_counted_by_its_charges(landing: Landing) -> None:
    deliver(landing, "one", described("0", "0", "0"))

    deliver(landing, "other", described("0", "0", "0"))

    assert counted(landing) == {"one"}


@pytest.mark.parametrize("order", ["ABC", "CAB", "ACB", "BCA"])
def test_the_whole_bill_never_counts_beside_its_parts(landing: Landing, order: str) -> None:
    bills = {"A": EC2, "B": S3, "C": [*EC2, *S3]}
    sums = {"A": 33, "B": 1503, "C": 1536}
    outcomes = {name: deliver(landing, name, bills[name]) for name in order}

    whole = "missing from the costs" not in "".join(outcomes["C"].findings)
    assert counted(landing) == ({"C"} if order[0] == "C" else {"A", "B"})
    assert viewed(landing) == 1536
    assert whole == (order in ("ABC", "CAB"))
    assert viewed(landing, landing.published_at()[0]) == sums[order[0]]
    assert landing.broken_rules() == []


def test_a_part_that_becomes_a_duplicate_yields(landing: Landing) -> None:
    deliver(landing, "one", EC2)
    deliver(landing, "other", S3)
    before = landing.published_at()[-1]

    outcome = deliver(landing, "other", EC2, revision=2)

    assert "until now they were parts of one bill" in outcome.findings[-1]
    assert (viewed(landing, before), viewed(landing)) == (1536, 33)
    assert counted(landing) == {"one"}


def test_duplicates_that_come_apart_count_both_from_that_moment_on(landing: Landing) -> None:
    deliver(landing, "one", [*EC2, *S3])
    deliver(landing, "other", S3)
    before = landing.published_at()[-1]

    outcome = deliver(landing, "one", EC2, revision=2)

    assert "statement 2 is counted again: no other counted statement holds its bill" in outcome.findings
    assert (viewed(landing, before), viewed(landing)) == (1536, 1536)
    assert counted(landing) == {"one", "other"}
    assert landing.query("SELECT kind, number FROM billing_publications WHERE statement_id = 2 ORDER BY number") == [
        ("delivery", 1),
        ("switch", 2),
    ]
    assert len(set(landing.published_at()[-2:])) == 1
    assert landing.broken_rules() == []


def test_a_part_that_grows_over_another_one_takes_its_place_and_a_rollback_gives_it_back(landing: Landing) -> None:
    deliver(landing, "one", EC2)
    deliver(landing, "other", S3)

    grown = deliver(landing, "one", [*EC2, *S3], revision=2)
    between = (viewed(landing), counted(landing))
    assert grown.delivery_id is not None
    roll_back(grown.delivery_id, settings=landing.settings, database=landing.database)
    after = (viewed(landing), counted(landing))
    roll_back(grown.delivery_id, settings=landing.settings, database=landing.database, undo=True)

    assert between == (1536, {"one"})
    assert after == (1536, {"one", "other"})
    assert (viewed(landing), counted(landing)) == (1536, {"one"})
    assert landing.broken_rules() == []


def test_a_part_that_another_worker_holds_is_left_to_its_next_delivery(landing: Landing) -> None:
    deliver(landing, "one", [*EC2, *S3])
    other = deliver(landing, "other", S3)
    assert other.delivery_id is not None

    with connect(landing.database.conninfo) as connection:
        stored = records.find_delivery(connection, other.delivery_id)
        claims.claim_stored(connection, stored, wait_seconds=1)
        outcome = deliver(landing, "one", EC2, revision=2)

    assert "another worker holds it" in outcome.findings[-1]
    assert viewed(landing) == 33
    deliver(landing, "other", [*S3, line_item(cost="1", line_item_product_code="AmazonS3")], revision=2)
    assert viewed(landing) == 1537


def test_a_remap_compares_again(landing: Landing) -> None:
    deliver(landing, "one", EC2)
    deliver(landing, "other", S3)
    # As an earlier version left it, which told no parts.
    landing.execute("DELETE FROM billing_statement_pairs")
    landing.execute("UPDATE billing_statements SET counted = false, yields = true WHERE statement_id = 2")

    remap(settings=landing.settings, database=landing.database, force=True, statement_id=2)

    assert counted(landing) == {"one", "other"}
    assert viewed(landing) == 1536


def decide_pair(landing: Landing, choice: Relation | None) -> tuple[tuple[int, ...], tuple[int, ...]]:
    decision = decide(1, 2, choice=choice, settings=landing.settings, database=landing.database)
    return decision.counted, decision.uncounted


def test_an_operator_decides_for_good_and_gives_it_back(landing: Landing) -> None:
    deliver(landing, "one", EC2)
    deliver(landing, "other", EC2)
    moments, costs = [landing.published_at()[-1]], [viewed(landing)]

    def keep(expected: tuple[tuple[int, ...], tuple[int, ...]], choice: Relation | None) -> None:
        assert decide_pair(landing, choice) == expected
        moments.append(landing.published_at()[-1])
        costs.append(viewed(landing))

    keep(((2,), ()), Relation.PARTS)
    deliver(landing, "other", [*EC2, line_item(cost="1")], revision=2)
    moments.append(landing.published_at()[-1])
    costs.append(viewed(landing))
    keep(((), (2,)), Relation.DUPLICATES)
    deliver(landing, "other", S3, revision=3)
    moments.append(landing.published_at()[-1])
    costs.append(viewed(landing))
    keep(((2,), ()), None)

    assert costs == [33, 66, 67, 33, 33, 1536]
    assert [viewed(landing, moment) for moment in moments] == costs
    assert landing.broken_rules() == []


def test_a_switch_keeps_its_meaning_between_parts_and_their_whole(landing: Landing) -> None:
    for name, bill in {"A": EC2, "B": S3, "C": [*EC2, *S3]}.items():
        deliver(landing, name, bill)

    whole = switch(3, counted=True, settings=landing.settings, database=landing.database)
    parts = switch(1, counted=True, settings=landing.settings, database=landing.database)

    assert (whole.uncounted, whole.also_counted) == ((1, 2), ())
    assert (parts.uncounted, parts.also_counted) == ((3,), (2,))
    assert viewed(landing) == 1536


def test_what_an_operator_left_out_is_told(landing: Landing) -> None:
    deliver(landing, "one", EC2)
    deliver(landing, "other", S3)
    switch(2, counted=False, settings=landing.settings, database=landing.database)

    decision = decide(1, 2, choice=Relation.PARTS, settings=landing.settings, database=landing.database)

    assert decision.findings == ("statement 2 was excluded by an operator: `billfold statement count 2` counts it",)
    assert viewed(landing) == 33


@pytest.mark.parametrize(
    ("one", "other", "said"), [(1, 1, "named twice"), (1, 9, "no such"), (1, 2, "one client and month")]
)
def test_what_cannot_be_decided_is_refused(landing: Landing, one: int, other: int, said: str) -> None:
    deliver(landing, "one", EC2)
    deliver(landing.with_client(client_id="globex"), "other", S3)

    with pytest.raises(UsageError, match=said):
        decide(one, other, choice=Relation.PARTS, settings=landing.settings, database=landing.database)


@pytest.mark.parametrize(("other", "expected"), [(EC2, 33), (S3, 1536)], ids=["duplicates", "parts"])
def test_two_workers_at_once_do_not_both_decide_alone(
    landing: Landing, other: Sequence[LineItem], expected: int
) -> None:
    manifests = [
        write_bill(landing.root, EC2, export_path="exports/one"),
        write_bill(landing.root, other, export_path="exports/other"),
    ]
    workers = [threading.Thread(target=landing.ingest, args=(manifest,)) for manifest in manifests]

    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert viewed(landing) == expected
    assert landing.count("billing_publications") == 2


def test_a_client_that_is_removed_takes_its_pairs_with_it(landing: Landing) -> None:
    deliver(landing, "one", EC2)
    deliver(landing, "other", S3)
    register(
        landing.database, landing.settings, {"client_id": "acme", "bucket": "acme-bills", "account_id": "444455556666"}
    )

    remove(landing.database, "acme", purge=True)

    assert landing.count("billing_statement_pairs") == 0


def test_the_list_of_statements_shows_the_evidence(landing: Landing) -> None:
    deliver(landing, "one", described(*["1"] * 20))
    deliver(landing, "other", described(*["1"] * 10, *["2"] * 10))
    decide(1, 2, choice=Relation.PARTS, settings=landing.settings, database=landing.database)

    one, other = reports.list_statements(landing.database, Filter())

    [seen] = one.related
    assert {key: value for key, value in seen.items() if key != "compared_at"} == {
        "statement_id": 2,
        "export": "other",
        "counted": True,
        "relation": "parts",
        "decided_by": "operator",
        "measure": "daily costs",
        "share_of_smaller": "1.000000",
        "share_of_larger": "0.666666",
        "line_items_in_both": 10,
        "cost_in_both": {"USD": "20"},
        "cost_only_here": {"USD": "0"},
        "cost_only_there": {"USD": "10"},
    }
    assert other.related[0]["cost_only_here"] == {"USD": "10"}


def test_what_is_missing_or_counts_twice_in_part_is_a_warning(landing: Landing) -> None:
    bill = described(*["1"] * 60)
    deliver(landing, "one", bill[:40])
    deliver(landing, "other", bill[20:])

    checks = dict(
        landing.query(
            "SELECT checked.statement_id, jsonb_build_object('state', state, 'cost', cost, 'detail', detail)"
            " FROM billing_checks AS checked JOIN billing_statements ON current_publication_id = publication_id"
            " WHERE name = 'overlap'"
        )
    )

    assert (checks[2]["state"], checks[2]["cost"]) == ("warned", {"USD": "20"})
    assert "partly missing from the costs: it overlaps with statement 1 (one)" in checks[2]["detail"]
    assert "overlap, decided by content, 50.00 % of the smaller and 50.00 % of the larger one" in checks[2]["detail"]
    assert checks[1]["state"] == "passed"
