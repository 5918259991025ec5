"""FOCUS's tags keep the types of their values, and every column of AWS's FOCUS 1.2 table is read."""

from __future__ import annotations

import gzip
import json
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


def tags(landing: Landing) -> list[Any]:
    return [
        json.loads(text, parse_int=Decimal, parse_float=Decimal)
        for (text,) in landing.query('SELECT "Tags"::text FROM focus_cost_and_usage ORDER BY "ChargeDescription"')
    ]


def amounts(landing: Landing, key: str, selection: Selection | None = None) -> dict[str, Decimal]:
    column = KeyColumn(column=MapColumn.TAG, key=key)
    report = sum_costs(landing.database, columns=[column], selection=selection or Selection())
    return {row.group[0]: row.amount for row in report.rows}


def test_values_that_are_not_strings_stay_what_they_are(landing: Landing) -> None:
    bring_in(landing, focus("1.5", Tags=TYPED, x_CostCategories=TYPED), focus("2.5", Tags="{}"))

    assert landing.query(
        'SELECT "Tags", "x_CostCategories" FROM focus_cost_and_usage ORDER BY "ChargeDescription"'
    ) == [({"env": "prod", "foo": True, "bar": None, "port": 8080},) * 2, ({}, None)]


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


@pytest.fixture(scope="module")
def tags_of_numbers(shared_landing: Landing) -> list[Any]:
    """The tags of one bill: a row for each number, then one for each that PostgreSQL does not have."""
    texts = [f'{{"a": {number}, "b": "{number}"}}' for number in NUMBERS]
    bring_in(shared_landing, *(focus("1", Tags=text) for text in (*texts, *ODD_NUMBERS)))
    return tags(shared_landing)


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_is_kept_as_exactly_as_it_is_written(tags_of_numbers: list[Any], number: str) -> None:
    found = tags_of_numbers[NUMBERS.index(number)]

    assert found == {"a": Decimal(number), "b": number}
    if "e" not in number.lower():
        assert str(found["a"]) == number


@pytest.mark.parametrize("odd", ODD_NUMBERS)
def test_what_postgresql_has_no_number_for_is_a_string(tags_of_numbers: list[Any], odd: str) -> None:
    found = tags_of_numbers[len(NUMBERS) + ODD_NUMBERS.index(odd)]

    assert isinstance(found if isinstance(found, str) else found["a"], (str, dict))


def test_costs_by_a_typed_tag_show_the_value_and_null_is_no_value(landing: Landing) -> None:
    bring_in(landing, focus("1.5", Tags=TYPED), focus("2.5", Tags='{"port": "8080", "foo": "true"}'), focus("4"))

    assert amounts(landing, "port") == {"8080": 4, "": 4}
    assert amounts(landing, "foo") == {"true": 4, "": 4}
    assert amounts(landing, "bar") == {"": 8}
    assert amounts(landing, "env", Selection(tags={"port": ["8080"]})) == {"prod": Decimal("1.5"), "": Decimal("2.5")}
    assert amounts(landing, "env", Selection(tags={"bar": [""]})) == {"prod": Decimal("1.5"), "": Decimal("6.5")}


def test_a_tag_without_a_value_leaves_usage_untagged(landing: Landing) -> None:
    bring_in(landing, focus("1", Tags='{"team": null}'), focus("2", Tags='{"team": true}'), focus("4", Tags="{}"))

    assert landing.value("SELECT cost FROM billing_checks WHERE name = 'untagged_cost'") == {"USD": "5"}


def test_a_restatement_of_the_type_alone_is_a_restatement(landing: Landing) -> None:
    spellings = ['{"port": 8080}', '{"port": "8080"}', '{"port": 8080, "bar": null}', '{"port": null}', "{}"]

    for revision, spelling in enumerate(spellings, start=1):
        bring_in(landing, focus("1", Tags=spelling), focus("1", Tags=spelling), revision=revision)

        assert tags(landing) == [json.loads(spelling)] * 2
    assert landing.broken_rules() == []
    [verdict] = verify(settings=landing.settings, database=landing.database, with_source=True)
    assert {proof.name for proof in verdict.proofs if proof.state is not ProofState.TRUE} == set()


def test_equal_rows_but_for_the_type_of_a_tag_are_two_and_verify(landing: Landing) -> None:
    bring_in(
        landing,
        *(focus("1", Tags=spelling, ChargeDescription="same") for spelling in (TYPED, TYPED, '{"port": "8080"}')),
    )

    assert landing.query("SELECT count(DISTINCT row_hash), count(*) FROM billing_usage_fact") == [(2, 3)]
    [verdict] = verify(settings=landing.settings, database=landing.database, with_source=True)
    assert {proof.name for proof in verdict.proofs if proof.state is not ProofState.TRUE} == set()


def test_every_column_of_awss_focus_table_is_in_the_view(landing: Landing) -> None:
    bring_in(landing, COLUMNS_OF_AWS)

    [found] = landing.charges()

    assert len(COLUMNS_OF_AWS) == 60
    for name, value in COLUMNS_OF_AWS.items():
        held = found[name]
        if isinstance(held, Decimal):
            assert held == Decimal(value), name
        elif isinstance(held, dict):
            assert held == json.loads(value), name
        elif not name.endswith(("Start", "End")):
            assert held == value, name


WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)
TYPED_VALUES: st.SearchStrategy[Any] = st.one_of(
    WORDS, st.booleans(), st.none(), st.integers(-(10**9), 10**9), st.sampled_from(["8080", "null"])
)

TYPED_MAPS = st.dictionaries(WORDS, TYPED_VALUES, max_size=4).map(json.dumps)


@pytest.mark.at_length
@hypothesis_settings(
    max_examples=rounds(10, in_soak=40),
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(maps=st.lists(st.tuples(TYPED_MAPS, TYPED_MAPS), min_size=1, max_size=5))
@example(maps=[(TYPED, TYPED), ('{"port":"8080"}', '{"a":": 1"}'), ('{"b\\":":1.50}', "{ }"), ("no json", "[1]")])
def test_duckdb_hashes_typed_maps_as_the_slow_twin_does(settings: Settings, maps: list[tuple[str, str]]) -> None:
    rows = [focus(str(n), Tags=text, x_CostCategories=other) for n, (text, other) in enumerate(maps)]

    found = [row_hash for row_hash, _ in identities(settings, [as_csv(rows)])]

    assert sorted(found) == sorted(slow_row_hash(row, ExportFormat.FOCUS) for row in rows)
