"""Each rule of FOCUS judges one charge rightly, and the judgement of statements counts charges and money exactly."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from billfold.cli.commands.validate import conformance_document
from billfold.cli.exits import ExitCode, exit_code
from billfold.errors import UsageError
from billfold.period import parse_period
from billfold.reports.conformance import ConformanceReport, judge_conformance
from billfold.selection import Filter
from billfold.store.database import Database, connect
from billfold.store.reports.conformance import BrokenRule, judge_added
from billfold.store.reports.focus_rules import Rule, charge_rules
from tests.bills.landing import Landing
from tests.bills.line_items import PLAN, line_item, write_bill
from tests.services import Landed

# Usage that a Savings Plan covers, in a capacity reservation: every column but ChargeClass has a value.
CHARGE: dict[str, Any] = {
    "AvailabilityZone": "us-east-1a",
    "BilledCost": "0",
    "BillingAccountId": "111122223333",
    "BillingAccountName": "Payer",
    "BillingAccountType": "Payer Account",
    "BillingCurrency": "USD",
    "BillingPeriodEnd": "2026-06-01T00:00:00Z",
    "BillingPeriodStart": "2026-05-01T00:00:00Z",
    "CapacityReservationId": "arn:aws:ec2:us-east-1:111122223333:capacity-reservation/cr-1",
    "CapacityReservationStatus": "Used",
    "ChargeCategory": "Usage",
    "ChargeClass": None,
    "ChargeDescription": "an instance hour",
    "ChargeFrequency": "Usage-Based",
    "ChargePeriodEnd": "2026-05-03T05:00:00Z",
    "ChargePeriodStart": "2026-05-03T04:00:00Z",
    "CommitmentDiscountCategory": "Spend",
    "CommitmentDiscountId": PLAN,
    "CommitmentDiscountName": "our plan",
    "CommitmentDiscountQuantity": "0.7",
    "CommitmentDiscountStatus": "Used",
    "CommitmentDiscountType": "Savings Plan",
    "CommitmentDiscountUnit": "USD",
    "ConsumedQuantity": "10",
    "ConsumedUnit": "Hours",
    "ContractedCost": "0.9",
    "ContractedUnitPrice": "0.09",
    "EffectiveCost": "0.7",
    "InvoiceId": "4711",
    "InvoiceIssuerName": "Amazon Web Services, Inc.",
    "ListCost": "1",
    "ListUnitPrice": "0.1",
    "PricingCategory": "Committed",
    "PricingCurrency": "USD",
    "PricingCurrencyContractedUnitPrice": "0.09",
    "PricingCurrencyEffectiveCost": "0.7",
    "PricingCurrencyListUnitPrice": "0.1",
    "PricingQuantity": "10",
    "PricingUnit": "Hours",
    "ProviderName": "AWS",
    "PublisherName": "AWS",
    "RegionId": "us-east-1",
    "RegionName": "US East (N. Virginia)",
    "ResourceId": "i-1",
    "ResourceName": "web",
    "ResourceType": "instance",
    "ServiceCategory": "Compute",
    "ServiceName": "Amazon Elastic Compute Cloud",
    "ServiceSubcategory": "Virtual Machines",
    "SkuId": "K7M4VTHWAQ2BD3PN",
    "SkuMeter": "BoxUsage:m5.large",
    "SkuPriceDetails": {"x_InstanceType": "m5.large"},
    "SkuPriceId": "K7M4VTHWAQ2BD3PN.JRTCKXETXF.6YS6EN2CT7",
    "SubAccountId": "444455556666",
    "SubAccountName": "Shop",
    "SubAccountType": "Member Account",
    "Tags": {"env": "prod"},
}

# How that charge is made to break a rule, where the rule's name does not say it.
BREAKING: dict[str, dict[str, Any]] = {
    "no-empty-strings": {"SubAccountName": ""},
    "InvoiceId-no-placeholder": {"InvoiceId": "NULL"},
    "ConsumedQuantity-null-unless-used": {"CommitmentDiscountStatus": "Unused"},
    "ConsumedQuantity-not-null-for-usage": {"ConsumedQuantity": None},
    "CommitmentDiscountStatus-not-null-for-usage": {"CommitmentDiscountStatus": None},
    "CommitmentDiscountId-not-null-when-related": {"CommitmentDiscountId": None},
    "CommitmentDiscountQuantity-not-null-for-commitments": {"CommitmentDiscountQuantity": None},
    "CommitmentDiscountQuantity-null-in-other-cases": {"ChargeCategory": "Credit"},
    "PricingCategory-committed": {"PricingCategory": "Standard"},
    "ResourceId-is-the-purchased-commitment": {"CommitmentDiscountStatus": "Unused"},
    "EffectiveCost-zero-for-commitment-purchases": {"ChargeCategory": "Purchase"},
    "BilledCost-zero-where-covered": {"BilledCost": "0.01"},
    "CapacityReservationId-not-null-when-unused": {
        "CapacityReservationId": None,
        "CapacityReservationStatus": "Unused",
    },
    "CapacityReservationStatus-not-null-for-usage": {"CapacityReservationStatus": None},
    "ListCost-is-price-times-quantity": {"ListCost": "1.00001"},
    "ContractedCost-is-price-times-quantity": {"ContractedUnitPrice": "0.0900002"},
    "ListCost-of-a-credit": {"ChargeCategory": "Credit", "BilledCost": "-1", "ListCost": "0"},
    "ContractedCost-of-a-credit": {"ChargeCategory": "Credit", "BilledCost": "-1", "ContractedCost": "0"},
    "EffectiveCost-of-a-credit": {"ChargeCategory": "Credit", "BilledCost": "-1", "EffectiveCost": "0"},
    "ChargePeriodEnd-after-start": {"ChargePeriodEnd": "2026-05-03T03:59:59Z"},
    "ChargePeriodEnd-exclusive": {"ChargePeriodEnd": "2026-05-03T04:00:00Z"},
    "BillingPeriodEnd-after-start": {"BillingPeriodEnd": "2026-05-01T00:00:00Z"},
    "ChargePeriodStart-before-billing-period-ends": {"ChargePeriodStart": "2026-06-01T00:00:00Z"},
    "ChargeClass-of-an-earlier-period": {"ChargeClass": "Correction"},
    "ChargeFrequency-of-a-purchase": {"ChargeCategory": "Purchase"},
    "BillingCurrency-three-letters": {"BillingCurrency": "usd"},
    "PricingCurrency-three-letters": {"PricingCurrency": "credits"},
    "Tags-object": {"Tags": ["env"]},
    "SkuPriceDetails-object": {"SkuPriceDetails": [1]},
    "Tags-plain-values": {"Tags": {"env": {"name": "prod"}}},
    "SkuPriceDetails-plain-values": {"SkuPriceDetails": {"x_Sizes": [1]}},
}

# What looks as if it broke a rule and does not.
ALLOWED: dict[str, dict[str, Any]] = {
    "ListCost-is-price-times-quantity": {"ListUnitPrice": "100000.1", "ListCost": "1000001.5"},
    "ContractedCost-is-price-times-quantity": {"ChargeClass": "Correction", "ContractedCost": "5"},
    "ListUnitPrice-not-null-for-usage-and-purchase": {"ChargeClass": "Correction", "ListUnitPrice": None},
    "SkuId-not-null-for-usage-and-purchase": {"ChargeCategory": "Credit", "SkuId": None},
    "PricingQuantity-null-for-tax": {"ChargeCategory": "Tax", "PricingQuantity": None},
    "ConsumedQuantity-not-null-for-usage": {"CommitmentDiscountStatus": "Unused", "ConsumedQuantity": None},
    "CommitmentDiscountQuantity-not-null-for-commitments": {
        "CommitmentDiscountId": None,
        "CommitmentDiscountQuantity": None,
    },
    "ResourceId-is-the-purchased-commitment": {"ChargeCategory": "Purchase", "ResourceId": PLAN},
    "EffectiveCost-zero-for-commitment-purchases": {"ChargeCategory": "Purchase", "EffectiveCost": "0"},
    "EffectiveCost-of-a-credit": {"ChargeCategory": "Credit", "BilledCost": "-1", "EffectiveCost": "-1"},
    "ChargeClass-of-an-earlier-period": {
        "ChargeClass": "Correction",
        "ChargePeriodStart": "2026-04-30T00:00:00Z",
    },
    "PricingCurrencyEffectiveCost-equal-in-one-currency": {
        "PricingCurrency": "EUR",
        "PricingCurrencyEffectiveCost": "0.6",
    },
    "Tags-plain-values": {"Tags": {"env": "prod", "cost": 1, "is_old": True, "gone": None}},
}


def breaking(rule: Rule) -> dict[str, Any]:
    """What the base charge says otherwise so that it breaks the rule."""
    if rule.rule in BREAKING:
        return BREAKING[rule.rule]
    if found := re.fullmatch(r"\w+-null-without-(\w+)", rule.rule):
        return {found[1]: None}
    if rule.rule.endswith("-null-for-tax"):
        return {"ChargeCategory": "Tax"}
    if re.fullmatch(r"\w+-not-null(-with-\w+|-for-usage-and-purchase)?", rule.rule):
        return {rule.column: None}
    if rule.rule.endswith("-allowed"):
        return {rule.column: "nothing that is allowed"}
    if found := re.match(r"ServiceSubcategory-of-(.+)", rule.rule):
        child = "Virtual Machines" if found[1] != "Compute" else "Caching"
        return {"ServiceCategory": found[1].replace("-", " "), "ServiceSubcategory": child}
    if rule.rule.endswith("-not-negative"):
        return {rule.column: "-0.1"}
    assert rule.rule.endswith("-equal-in-one-currency"), f"no example of {rule.rule}"
    return {rule.column: "0.5"}


def broken_by(connection: psycopg.Connection[Any], charge: dict[str, Any]) -> set[str]:
    """The rules that a charge breaks, given as a row of the view."""
    conditions = ", ".join(rule.condition for rule in charge_rules()).replace("%", "%%")
    query = f"SELECT {conditions} FROM jsonb_populate_record(NULL::focus_cost_and_usage, %s::jsonb) AS charge"
    row = connection.execute(query.encode(), [json.dumps(charge)]).fetchone()
    assert row is not None
    return {rule.rule for rule, is_broken in zip(charge_rules(), row, strict=True) if is_broken}


def test_every_rule_has_an_example_and_a_counter_example(database: Database) -> None:
    with connect(database.conninfo) as connection:
        assert broken_by(connection, CHARGE) == set()
        for rule in charge_rules():
            assert rule.rule in broken_by(connection, {**CHARGE, **breaking(rule)}), rule.rule
        for name, changes in ALLOWED.items():
            assert name not in broken_by(connection, {**CHARGE, **changes}), name


def test_examples_are_of_rules_that_there_are() -> None:
    assert {*BREAKING, *ALLOWED} <= {rule.rule for rule in charge_rules()}


def test_the_view_has_the_columns_of_focus(database: Database) -> None:
    report = judge_conformance(database, Filter())

    assert report.foreign_columns == ()
    assert {broken.rule.rule for broken in report.broken_columns} == set()


def test_a_column_that_is_missing_strange_or_of_another_type_is_told(landing: Landing) -> None:
    landing.execute('ALTER VIEW focus_cost_and_usage RENAME COLUMN "ServiceName" TO "Service"')
    landing.execute('ALTER VIEW focus_cost_and_usage RENAME COLUMN "BilledCost" TO "Tax"')
    landing.execute('ALTER VIEW focus_cost_and_usage RENAME COLUMN "SkuId" TO "BilledCost"')

    report = judge_conformance(landing.database, Filter())

    broken = {one.rule.rule for one in report.broken_columns}
    assert (
        {"ServiceName-type", "SkuId-type", "BilledCost-type"}
        <= broken
        <= {
            *("ServiceName-type", "SkuId-type", "BilledCost-type"),
            "SkuPriceDetails-type",
        }
    )
    assert report.foreign_columns == ("Tax", "Service")
    assert "BilledCost-type" in str(report.list_failures()[0])


def land_broken(landing: Landing) -> None:
    """Two USD charges and a EUR charge that end before they begin, and one credit that does not."""
    write_bill(
        landing.root,
        [
            line_item(cost="1.10", line_item_line_item_description="one"),
            line_item(cost="2.000000000000000001", line_item_line_item_description="two"),
            line_item(cost="5", line_item_currency_code="EUR", line_item_line_item_description="three"),
            line_item("Credit", cost="-3", line_item_line_item_description="four"),
        ],
    )
    landing.ingest()
    end_too_early(landing)


@pytest.fixture
def broken(landed: Landed) -> Landing:
    return landed((land_broken,))


def end_too_early(landing: Landing) -> None:
    landing.execute(
        "UPDATE billing_usage_fact SET charge_period_end = charge_period_start - interval '1 hour'"
        " WHERE billed_cost > 0"
    )


def find(report: ConformanceReport, rule: str) -> BrokenRule:
    [statement] = report.statements
    [found] = [one for one in statement.judgement.broken if one.rule.rule == rule]
    return found


def test_charges_and_money_that_break_a_rule_are_counted_by_currency(broken: Landing) -> None:
    report = judge_conformance(broken.database, Filter())

    found = find(report, "ChargePeriodEnd-after-start")
    assert found.row_count == 3
    assert found.cost == {"EUR": Decimal(5), "USD": Decimal("3.100000000000000001")}
    assert found.example["ChargePeriodEnd"] < found.example["ChargePeriodStart"]
    assert found.example["ChargeDescription"] in ("one", "two", "three")
    assert report.statements[0].judgement.charge_count == 4
    assert not report.statements[0].is_conformant
    assert exit_code(report.list_failures()) is ExitCode.RECONCILIATION


def test_what_only_should_be_fails_nothing(broken: Landing) -> None:
    broken.execute("UPDATE billing_usage_fact SET charge_period_end = charge_period_start")

    report = judge_conformance(broken.database, Filter())

    assert find(report, "ChargePeriodEnd-exclusive").row_count == 4
    assert "ChargePeriodEnd-exclusive" not in {one.rule.rule for one in report.statements[0].judgement.broken_musts}


def test_a_statement_that_does_not_count_is_judged_too(broken: Landing) -> None:
    before = conformance_document(judge_conformance(broken.database, Filter()))
    broken.execute("UPDATE billing_statements SET counted = false")

    after = conformance_document(judge_conformance(broken.database, Filter()))

    assert after["statements"][0].pop("counted") is False
    assert before["statements"][0].pop("counted") is True
    for document in (before, after):
        for rule in document["statements"][0]["broken_rules"]:
            rule.pop("example")
    assert after == before


def test_only_the_charges_that_a_publication_added_are_judged(broken: Landing) -> None:
    write_bill(
        broken.root,
        [
            line_item(cost="1.10", line_item_line_item_description="one"),
            line_item(cost="7", line_item_line_item_description="five"),
            line_item(cost="9", line_item_line_item_description="six"),
        ],
        revision=2,
    )
    broken.ingest(force=True)
    end_too_early(broken)
    period = parse_period("2026-05")
    assert period is not None

    with connect(broken.database.conninfo) as connection, connection.transaction():
        judgement = judge_added(connection, period, statement_id=1, publication_id=2, row_count=2)

    assert (judgement.charge_count, judgement.failing_count) == (2, 2)
    assert judgement.failing_cost == {"USD": Decimal(16)}


def test_statements_are_chosen_and_an_unknown_one_is_refused(broken: Landing) -> None:
    assert len(judge_conformance(broken.database, Filter(statement=1)).statements) == 1
    assert judge_conformance(broken.database, Filter(client="other")).statements == ()
    with pytest.raises(UsageError, match="no such statement 99"):
        judge_conformance(broken.database, Filter(statement=99))
