"""Exports of parts of one bill count side by side, and copies of one bill count once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pytest

from billfold.store.deliveries import counting
from tests.bills.landing import Landing
from tests.bills.line_items import PLAN, LineItem, described, line_item, write_bill
from tests.integration.bills.parts.parts_helpers import EC2, S3, counted, deliver, viewed
from tests.services import Landed


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
    landed: Landed, one: Sequence[LineItem], other: Sequence[LineItem]
) -> None:
    landing = landed((deliver, "one", one))

    outcome = deliver(landing, "other", other)

    assert viewed(landing) == 1536
    assert counted(landing) == {"one", "other"}
    assert outcome.findings[-1:] == (
        "statement 1 (one) holds other charges of the same accounts: both are parts of one bill and are counted",
    )
    assert found(landing)[0] == "parts"
    assert landing.broken_rules() == []


def test_parts_are_told_once(landed: Landed) -> None:
    landing = landed((deliver, "one", EC2), (deliver, "other", S3))

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
    landed: Landed, one: Sequence[LineItem], other: Sequence[LineItem], measure: str
) -> None:
    landing = landed((deliver, "one", one))

    outcome = deliver(landing, "other", other)

    assert viewed(landing) == 33
    assert counted(landing) == {"one"}
    assert found(landing) == ("duplicates", measure, 1, 1)
    assert "holds the same bill and is counted" in outcome.findings[-1]


def test_a_bill_that_was_restated_between_two_exports_is_counted_once(landed: Landed) -> None:
    landing = landed((deliver, "one", EC2))

    outcome = deliver(landing, "other", described("10.5", "11.5", "12.5"))

    assert viewed(landing) == 33
    assert found(landing) == ("duplicates", "daily costs", 1, Decimal("0.956521"))
    assert "parts" not in outcome.findings[-1]


def test_the_rollup_finds_duplicates_of_many_charges(landed: Landed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MANY_CHARGES", 3)
    landing = landed((deliver, "one", EC2))
    deliver(landing, "other", [{**item, "line_item_resource_id": "i-1"} for item in EC2])
    deliver(landing, "third", described("1", "2", "3", line_item_product_code="AmazonS3"))

    assert counted(landing) == {"one", "third"}
    assert viewed(landing) == 39


def test_the_november_of_three_encodings_is_one_bill(landed: Landed, shared_samples: Path) -> None:
    landing = landed((Landing.ingest_all, shared_samples / "legacy-cur"))
    for tree in ("cur2-csv", "cur2-parquet"):
        landing.ingest_all(shared_samples / tree)

    assert viewed(landing) == Decimal("0.0803775084")
    assert landing.count("billing_statements") == 3
    assert landing.query("SELECT DISTINCT relation FROM billing_statement_pairs") == [("duplicates",)]


def test_a_focus_export_of_november_is_the_same_bill(landed: Landed, shared_samples: Path) -> None:
    landing = landed((Landing.ingest_all, shared_samples / "legacy-cur"))
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
def test_five_and_ninety_five_percent_are_the_limits(landed: Landed, shared: int, relation: str, expected: int) -> None:
    bill = described(*["1"] * 200)
    landing = landed((deliver, "one", bill[:100]))

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
def test_the_whole_bill_never_counts_beside_its_parts(landed: Landed, order: str) -> None:
    bills = {"A": EC2, "B": S3, "C": [*EC2, *S3]}
    sums = {"A": 33, "B": 1503, "C": 1536}
    landing = landed((deliver, order[0], bills[order[0]]))
    outcomes = {name: deliver(landing, name, bills[name]) for name in order[1:]}

    # The first of all finds nothing beside it.
    whole = order[0] == "C" or "missing from the costs" not in "".join(outcomes["C"].findings)
    assert counted(landing) == ({"C"} if order[0] == "C" else {"A", "B"})
    assert viewed(landing) == 1536
    assert whole == (order in ("ABC", "CAB"))
    assert viewed(landing, landing.published_at()[0]) == sums[order[0]]
    assert landing.broken_rules() == []
