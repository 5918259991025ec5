"""Exports of parts of one bill count side by side, and copies of one bill count once."""

from __future__ import annotations

import json
from decimal import Decimal
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from billfold.bills.counting import decide
from billfold.model import Relation
from billfold.reports.lists import list_statements
from billfold.selection import Filter
from billfold.store.deliveries import counting
from tests.bills.landing import Landing
from tests.bills.line_items import PLAN, described, line_item, write_bill
from tests.integration.bills.parts.parts_helpers import counted, deliver, viewed
from tests.services import Landed


def found(landing: Landing) -> dict[tuple[str, str], tuple[Any, ...]]:
    """What each two exports say: relation, measure, share of the smaller and of the larger one."""
    pairs = landing.query(
        "SELECT one.export_name, other.export_name, relation, measure, share_of_smaller, share_of_larger"
        " FROM billing_statement_pairs JOIN billing_statements AS one USING (statement_id)"
        " JOIN billing_statements AS other ON other.statement_id = other_statement_id"
    )
    return {(one, other): tuple(evidence) for one, other, *evidence in pairs}


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


def tagged(team: str) -> dict[str, str]:
    """The columns of one usage of EC2 under this tag."""
    return {
        "resource_tags": json.dumps({"user_team": team}),
        "line_item_usage_type": "BoxUsage:t3.large",
        "line_item_resource_id": "i-1",
        "line_item_line_item_description": "",
    }


TEAM_A, TEAM_B = tagged("a"), tagged("b")
# What costs nothing may stand in all parts of a bill.
FREE = described(*["0"] * 20)
# What other queries of the bill select than those that select team a; no two of them cost the same.
OTHER_ROWS: dict[str, list[dict[str, str]]] = {
    "by-service": [line_item(cost="1503", **{**TEAM_A, "line_item_product_code": "AmazonS3"}), *FREE],
    "by-tag": [line_item(cost="1504", **TEAM_B)],
    "by-type": [line_item("Tax", cost="1505")],
    "by-day": [spanning("1506", "2026-05-04", "2026-05-05", **TEAM_A)],
    "by-usage-type-with-other-columns": [line_item(cost="1507", line_item_usage_type="EBS:VolumeUsage.gp3")],
    "in-another-format": [focus_row("1508", x_ServiceCode="AmazonRDS")],
}


def test_exports_whose_queries_filter_other_rows_are_parts(landing: Landing) -> None:
    deliver(landing, "one", [line_item(cost="10", **TEAM_A), line_item(cost="23", **TEAM_A), *FREE])

    outcomes = {name: deliver(landing, name, items) for name, items in OTHER_ROWS.items()}

    names = ("one", *OTHER_ROWS)
    relations = {pair: relation for pair, (relation, *_) in found(landing).items()}
    assert relations == dict.fromkeys(combinations(names, 2), "parts")
    assert counted(landing) == {*names}
    assert viewed(landing) == 33 + sum(range(1503, 1509))
    for name, outcome in outcomes.items():
        assert (
            "statement 1 (one) holds other charges of the same accounts: both are parts of one bill and are counted"
            in outcome.findings
        ), name
    assert landing.broken_rules() == []


COVERED = [
    line_item(
        "SavingsPlanCoveredUsage",
        "7",
        savings_plan_savings_plan_a_r_n=PLAN,
        savings_plan_savings_plan_effective_cost="5",
    ),
    line_item("SavingsPlanNegation", "-7", savings_plan_savings_plan_a_r_n=PLAN),
]
ON_DAYS = [("12", "2026-05-03", "2026-05-04"), ("12", "2026-05-04", "2026-05-05"), ("9", "2026-05-05", "2026-05-06")]
HOURS = [
    {**hour, "line_item_resource_id": "i-1", "resource_tags": json.dumps({"user_team": team})}
    for hour, team in zip(hours("0.5", 66), "ab" * 33, strict=True)
]


def without(column: str) -> list[dict[str, str]]:
    return [{name: value for name, value in hour.items() if name != column} for hour in HOURS]


# The bill of HOURS in other shapes.
SHAPES: dict[str, list[dict[str, str]]] = {
    "without-resources": [*without("line_item_resource_id"), *COVERED],
    "without-tags": [*without("resource_tags"), *COVERED],
    "before-tags-were-switched-on": [*({**hour, "resource_tags": ""} for hour in HOURS), *COVERED],
    "days": [*(spanning(*day, line_item_resource_id="i-1", resource_tags="") for day in ON_DAYS), *COVERED],
    "a-month": [
        spanning("33", "2026-05-01", "2026-06-01", line_item_resource_id="i-1", resource_tags=""),
        *COVERED,
    ],
    "focus": [
        *(
            focus_row(
                cost, ChargePeriodStart=f"{start}T00:00:00Z", ChargePeriodEnd=f"{end}T00:00:00Z", x_ServiceCode=""
            )
            for cost, start, end in ON_DAYS
        ),
        focus_row("0", EffectiveCost="5", x_ServiceCode=""),
    ],
}


def test_one_bill_in_many_shapes_is_counted_once(landing: Landing) -> None:
    deliver(landing, "one", [*HOURS, *COVERED])

    outcomes = {name: deliver(landing, name, items) for name, items in SHAPES.items()}

    # An empty column is none: these two hold the same line items.
    equal = ("without-tags", "before-tags-were-switched-on")
    assert found(landing) == {
        pair: ("duplicates", "line items" if pair == equal else "daily costs", 1, 1)
        for pair in combinations(("one", *SHAPES), 2)
    }
    assert viewed(landing) == 33
    assert counted(landing) == {"one"}
    for name, outcome in outcomes.items():
        assert "holds the same bill and is counted" in outcome.findings[-1], name


BILL = described(*["1"] * 300)


def test_a_bill_that_was_restated_between_two_exports_is_counted_once(landed: Landed) -> None:
    landing = landed((deliver, "one", BILL[:100]))

    outcome = deliver(landing, "other", described(*["1.05"] * 100))

    assert viewed(landing) == 100
    assert found(landing) == {("one", "other"): ("duplicates", "daily costs", 1, Decimal("0.952380"))}
    assert "parts" not in outcome.findings[-1]


def test_the_rollup_finds_duplicates_of_many_charges(landed: Landed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MANY_CHARGES", 100)
    landing = landed((deliver, "one", BILL[:100]))
    deliver(landing, "other", [{**item, "line_item_resource_id": "i-1"} for item in BILL[:100]])
    deliver(landing, "third", described(*["2"] * 100, line_item_product_code="AmazonS3"))

    assert counted(landing) == {"one", "third"}
    assert viewed(landing) == 300


def test_the_november_of_two_formats_is_one_bill(landing: Landing, shared_samples: Path) -> None:
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

    landing.ingest(write_bill(landing.root, rows, export_path="exports/focus", period="2023-11"))

    assert viewed(landing) == Decimal("0.0803775084")
    assert list(found(landing).values()) == [("duplicates", "daily costs", 1, 1)]


def test_what_is_in_both_of_two_parts_is_told(landed: Landed) -> None:
    landing = landed((deliver, "one", BILL[:100]))

    outcome = deliver(landing, "other", BILL[96:196])

    assert [evidence[0] for evidence in found(landing).values()] == ["parts"]
    assert viewed(landing) == 200
    assert "4 USD is in both and counted twice" in outcome.findings[-1]


def test_what_an_overlap_leaves_out_is_told_until_an_operator_decides(landed: Landed) -> None:
    landing = landed((deliver, "one", BILL[:100]))

    outcome = deliver(landing, "other", BILL[95:295])

    assert viewed(landing) == 100
    assert "5 USD of this one is in there too, 195 USD is not and is missing" in outcome.findings[-1]
    checks = {
        statement_id: rest
        for statement_id, *rest in landing.query(
            "SELECT checked.statement_id, state, cost, detail"
            " FROM billing_checks AS checked JOIN billing_statements ON current_publication_id = publication_id"
            " WHERE name = 'overlap'"
        )
    }
    assert checks[1][0] == "passed"
    [state, cost, detail] = checks[2]
    assert (state, cost) == ("warned", {"USD": "195"})
    assert "partly missing from the costs: it overlaps with statement 1 (one)" in detail
    assert "overlap, decided by content, 5.00 % of the smaller and 2.50 % of the larger one" in detail

    decide(1, 2, choice=Relation.PARTS, settings=landing.settings, database=landing.database)

    one, other = list_statements(landing.database, Filter())
    [seen] = one.related
    assert {key: value for key, value in seen.items() if key != "compared_at"} == {
        "statement_id": 2,
        "export": "other",
        "counted": True,
        "relation": "parts",
        "decided_by": "operator",
        "measure": "daily costs",
        "share_of_smaller": "0.050000",
        "share_of_larger": "0.025000",
        "line_items_in_both": 5,
        "cost_in_both": {"USD": "5"},
        "cost_only_here": {"USD": "95"},
        "cost_only_there": {"USD": "195"},
    }
    assert other.related[0]["cost_only_here"] == {"USD": "195"}


def test_a_bill_without_any_cost_is_counted_by_its_charges(landing: Landing) -> None:
    deliver(landing, "one", FREE)

    deliver(landing, "other", FREE)

    assert counted(landing) == {"one"}
