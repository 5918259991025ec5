"""FOCUS's tags keep the types of their values, and every column of AWS's FOCUS 1.2 table is read."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, example, given
from hypothesis import settings as hypothesis_settings

from billfold.model import ExportFormat
from billfold.reports.costs import sum_costs
from billfold.selection import KeyColumn, MapColumn, Selection
from billfold.settings import Settings
from billfold.verification import ProofState, verify
from tests.at_length import rounds
from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, write_delivery
from tests.integration.reports.test_costs import focus
from tests.integration.transform.test_identity import identities
from tests.unit.transform.slow_identity import slow_row_hash

TYPED = '{"env":"prod","foo":true,"bar":null,"port":8080}'

# Every column of AWS's table FOCUS_1_2_AWS with a value of its own, as the user guide lists them.
COLUMNS_OF_AWS = {
    "AvailabilityZone": "use1-az1",
    "BilledCost": "3",
    "BillingAccountId": "111122223333",
    "BillingAccountName": "payer",
    "BillingAccountType": "Management account",
    "BillingCurrency": "USD",
    "BillingPeriodEnd": "2026-07-01T00:00:00.000Z",
    "BillingPeriodStart": "2026-06-01T00:00:00.000Z",
    "CapacityReservationId": "arn:aws:ec2:us-east-1:1:capacity-reservation/cr-1",
    "CapacityReservationStatus": "Used",
    "ChargeCategory": "Usage",
    "ChargeClass": "Correction",
    "ChargeDescription": "m5.large in us-east-1",
    "ChargeFrequency": "Usage-Based",
    "ChargePeriodEnd": "2026-06-04T00:00:00.000Z",
    "ChargePeriodStart": "2026-06-03T00:00:00.000Z",
    "CommitmentDiscountCategory": "Spend",
    "CommitmentDiscountId": "arn:aws:savingsplans::1:savingsplan/1",
    "CommitmentDiscountName": "a plan",
    "CommitmentDiscountQuantity": "1.5",
    "CommitmentDiscountStatus": "Used",
    "CommitmentDiscountType": "Savings Plan",
    "CommitmentDiscountUnit": "USD",
    "ConsumedQuantity": "4",
    "ConsumedUnit": "Hours",
    "ContractedCost": "5",
    "ContractedUnitPrice": "1.25",
    "EffectiveCost": "2",
    "InvoiceId": "INV-7",
    "InvoiceIssuerName": "Amazon Web Services, Inc.",
    "ListCost": "6",
    "ListUnitPrice": "1.75",
    "PricingCategory": "Committed",
    "PricingCurrency": "EUR",
    "PricingCurrencyContractedUnitPrice": "1.1",
    "PricingCurrencyEffectiveCost": "1.8",
    "PricingCurrencyListUnitPrice": "1.6",
    "PricingQuantity": "4.5",
    "PricingUnit": "Hours",
    "ProviderName": "AWS",
    "PublisherName": "Amazon Web Services",
    "RegionId": "us-east-1",
    "RegionName": "US East",
    "ResourceId": "i-1",
    "ResourceName": "web",
    "ResourceType": "instance",
    "ServiceCategory": "Compute",
    "ServiceName": "Amazon Elastic Compute Cloud",
    "ServiceSubcategory": "Virtual Machines",
    "SkuId": "SKU1",
    "SkuMeter": "BoxUsage:m5.large",
    "SkuPriceDetails": '{"InstanceType": "m5.large", "CoreCount": 2}',
    "SkuPriceId": "SKU1.TERM",
    "SubAccountId": "444455556666",
    "SubAccountName": "member",
    "SubAccountType": "Member account",
    "Tags": '{"env": "prod"}',
    "x_Discounts": '{"EdpDiscount": -0.5}',
    "x_Operation": "RunInstances",
    "x_ServiceCode": "AmazonEC2",
}


def bring_in(landing: Landing, *rows: dict[str, str], revision: int = 1) -> None:
    described = [{"ChargeDescription": f"row {n:03}", **row} for n, row in enumerate(rows)]
    headers = dict.fromkeys(name for row in described for name in row)
    content = gzip.compress(as_csv(described, headers), mtime=0)
    manifest = write_delivery(landing.root, content, period="2026-06", export_path="exports/focus", revision=revision)
    assert landing.ingest(manifest).exit_error is None


def tags(landing: Landing, part: str) -> list[Any]:
    return [
        json.loads(text, parse_int=Decimal, parse_float=Decimal)
        for (text,) in landing.query(
            'SELECT "Tags"::text FROM focus_cost_and_usage WHERE "x_Operation" = %s ORDER BY "ChargeDescription"', part
        )
    ]


NUMBERS = [
    "0",
    "-1",
    "1.10",
    "0.1000000000000000055511151231257827",
    "123456789012345678901234567890.5",
    "1e5",
    "2.50E-3",
]
ODD_NUMBERS = ['{"a": NaN}', '{"a": -Infinity, "b": 1}', '{"a": 1e99999}', '{"a": {"b": NaN}}']
ACCOUNT_OF_COSTS = "777788889999"
# The parts of one bill, whose rows name theirs.
PARTS = {
    "numbers": [focus("1", Tags=f'{{"a": {number}, "b": "{number}"}}') for number in NUMBERS],
    "odd numbers": [focus("1", Tags=text) for text in ODD_NUMBERS],
    "values": [focus("1.5", Tags=TYPED, x_CostCategories=TYPED), focus("2.5", Tags="{}")],
    "costs": [
        focus("1.5", Tags=TYPED, SubAccountId=ACCOUNT_OF_COSTS),
        focus("2.5", Tags='{"port": "8080", "foo": "true"}', SubAccountId=ACCOUNT_OF_COSTS),
        focus("4", SubAccountId=ACCOUNT_OF_COSTS),
    ],
    "euros": [
        focus(cost, Tags=text, BillingCurrency="EUR")
        for cost, text in {"1": '{"team": null}', "2": '{"team": true}', "4": "{}"}.items()
    ],
    "RunInstances": [COLUMNS_OF_AWS],
}


@pytest.fixture(scope="module")
def bill(shared_landing: Landing) -> Landing:
    bring_in(shared_landing, *({"x_Operation": part, **row} for part, rows in PARTS.items() for row in rows))
    return shared_landing


def amounts(landing: Landing, key: str, **selected: list[str]) -> dict[str, Decimal]:
    """The costs of the part that is asked for them."""
    column = KeyColumn(column=MapColumn.TAG, key=key)
    selection = Selection(accounts=[ACCOUNT_OF_COSTS], tags=selected)
    return {row.group[0]: row.amount for row in sum_costs(landing.database, columns=[column], selection=selection).rows}


def test_values_that_are_not_strings_stay_what_they_are(bill: Landing) -> None:
    assert bill.query(
        'SELECT "Tags", "x_CostCategories" FROM focus_cost_and_usage WHERE "x_Operation" = %s'
        ' ORDER BY "ChargeDescription"',
        "values",
    ) == [({"env": "prod", "foo": True, "bar": None, "port": 8080},) * 2, ({}, None)]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_is_kept_as_exactly_as_it_is_written(bill: Landing, number: str) -> None:
    found = tags(bill, "numbers")[NUMBERS.index(number)]

    assert found == {"a": Decimal(number), "b": number}
    if "e" not in number.lower():
        assert str(found["a"]) == number


@pytest.mark.parametrize("odd", ODD_NUMBERS)
def test_what_postgresql_has_no_number_for_is_a_string(bill: Landing, odd: str) -> None:
    found = tags(bill, "odd numbers")[ODD_NUMBERS.index(odd)]

    assert isinstance(found if isinstance(found, str) else found["a"], (str, dict))


def test_costs_by_a_typed_tag_show_the_value_and_null_is_no_value(bill: Landing) -> None:
    assert amounts(bill, "port") == {"8080": 4, "": 4}
    assert amounts(bill, "foo") == {"true": 4, "": 4}
    assert amounts(bill, "bar") == {"": 8}
    assert amounts(bill, "env", port=["8080"]) == {"prod": Decimal("1.5"), "": Decimal("2.5")}
    assert amounts(bill, "env", bar=[""]) == {"prod": Decimal("1.5"), "": Decimal("6.5")}


def test_a_tag_without_a_value_leaves_usage_untagged(bill: Landing) -> None:
    assert bill.value("SELECT cost ->> 'EUR' FROM billing_checks WHERE name = 'untagged_cost'") == "5"


def test_every_column_of_awss_focus_table_is_in_the_view(bill: Landing) -> None:
    [found] = [charge for charge in bill.charges() if charge["x_Operation"] == "RunInstances"]

    assert len(COLUMNS_OF_AWS) == 60
    for name, value in COLUMNS_OF_AWS.items():
        held = found[name]
        if isinstance(held, Decimal):
            assert held == Decimal(value), name
        elif isinstance(held, dict):
            assert held == json.loads(value), name
        elif not name.endswith(("Start", "End")):
            assert held == value, name


def test_a_restatement_of_the_type_alone_is_a_restatement(landing: Landing) -> None:
    deliveries = [
        ['{"port": 8080}', '{"port": 8080}', '{"port": "8080"}'],
        ['{"port": "8080"}', '{"port": 8080, "bar": null}', '{"port": null}'],
        ["{}", '{"port": 8080}', '{"port": "8080"}'],
    ]

    for revision, spellings in enumerate(deliveries, start=1):
        rows = [focus("1", Tags=text, ChargeDescription="same", x_Operation="same") for text in spellings]
        bring_in(landing, *rows, revision=revision)

        found, wanted = (
            Counter(frozenset(each.items()) for each in maps)
            for maps in (tags(landing, "same"), map(json.loads, spellings))
        )
        assert found == wanted
        # Rows that differ in the type of a tag are not the same row.
        assert landing.value("SELECT count(DISTINCT row_hash) FROM billing_usage_fact") == len(set(spellings))
    assert landing.broken_rules() == []
    [verdict] = verify(settings=landing.settings, database=landing.database, with_source=True)
    assert {proof.name for proof in verdict.proofs if proof.state is not ProofState.TRUE} == set()


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
TYPED_VALUES: st.SearchStrategy[Any] = st.one_of(
    WORDS, st.booleans(), st.none(), st.integers(-(10**9), 10**9), st.sampled_from(["8080", "null"])
)

TYPED_MAPS = st.dictionaries(WORDS, TYPED_VALUES, max_size=4).map(json.dumps)


@pytest.mark.at_length
@hypothesis_settings(
    max_examples=rounds(3, in_soak=40),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(maps=st.lists(st.tuples(TYPED_MAPS, TYPED_MAPS), min_size=5, max_size=20))
@example(maps=[(TYPED, TYPED), ('{"port":"8080"}', '{"a":": 1"}'), ('{"b\\":":1.50}', "{ }"), ("no json", "[1]")])
def test_duckdb_hashes_typed_maps_as_the_slow_twin_does(settings: Settings, maps: list[tuple[str, str]]) -> None:
    rows = [focus(str(n), Tags=text, x_CostCategories=other) for n, (text, other) in enumerate(maps)]

    found = [row_hash for row_hash, _ in identities(settings, [as_csv(rows)])]

    assert sorted(found) == sorted(slow_row_hash(row, ExportFormat.FOCUS) for row in rows)
