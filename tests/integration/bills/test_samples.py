"""The sample exports, each to its exact totals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from billfold.model import DeliveryOutcome, DeliveryState, RunStatus
from tests.bills.landing import Landing
from tests.bills.verified import untrue
from tests.services import CopyDatabase, NewDatabase, make_shared_landing


class Expected(NamedTuple):
    rows: int
    cost: str
    categories: dict[str, int]
    version: int
    files: int = 1


# Each kind of export on both versions of PostgreSQL.
SAMPLES = {
    "legacy-cur": Expected(118, "0.0803775084", {"Usage": 106, "Tax": 12}, 16, files=2),
    "cur2-csv": Expected(118, "0.0803775084", {"Usage": 106, "Tax": 12}, 18),
    "cur2-parquet": Expected(118, "0.0803775084", {"Usage": 106, "Tax": 12}, 16),
    "focus12": Expected(42, "32.7663", {"Usage": 42}, 16),
    "focus10": Expected(123, "0.04275871070", {"Usage": 122, "Credit": 1}, 18),
    "noid-duplicates": Expected(1920, "149.5193333303999988", {"Usage": 1752, "Adjustment": 1}, 18),
}
NOVEMBER = ("legacy-cur", "cur2-csv", "cur2-parquet")
MONEY = ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost", "ListUnitPrice", "PricingQuantity")


class Sample(NamedTuple):
    landing: Landing
    outcome: DeliveryOutcome


@pytest.fixture(scope="module")
def sample(
    new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory, shared_samples: Path
) -> Callable[[str], Sample]:
    """Lands a sample once, in a database of its own that the tests only read."""

    @cache
    def land(tree: str) -> Sample:
        landing = make_shared_landing(new_database, tmp_path_factory, SAMPLES[tree].version)
        return Sample(landing, landing.ingest(shared_samples / tree))

    return land


@pytest.mark.parametrize("tree", SAMPLES)
def test_a_sample_lands_with_its_exact_totals(sample: Callable[[str], Sample], tree: str) -> None:
    expected = SAMPLES[tree]

    landing, outcome = sample(tree)

    assert outcome.exit_error is None
    assert outcome.state is DeliveryState.PUBLISHED
    assert (outcome.rows_read, outcome.rows_added) == (expected.rows, expected.rows)
    assert outcome.source_cost == outcome.billed_cost == {"USD": Decimal(expected.cost)}
    assert landing.billed() == {"USD": Decimal(expected.cost)}
    assert landing.count("raw_aws_billing_rows") == expected.rows
    assert dict(landing.query('SELECT "ChargeCategory", count(*) FROM focus_cost_and_usage GROUP BY 1')) == (
        expected.categories
    )
    assert [run.status for run in outcome.runs] == [RunStatus.SUCCESS] * expected.files
    assert sum(run.rows_inserted for run in outcome.runs) == expected.rows
    assert landing.broken_rules() == []


@pytest.mark.parametrize("tree", ["cur2-parquet", "focus12", "noid-duplicates"])
def test_a_sample_is_true(sample: Callable[[str], Sample], tree: str) -> None:
    assert untrue(sample(tree).landing) == {}


@pytest.mark.parametrize("tree", SAMPLES)
def test_a_sample_ingested_again_adds_nothing(
    sample: Callable[[str], Sample], copy_database: CopyDatabase, shared_samples: Path, tree: str
) -> None:
    original, first = sample(tree)
    landing = replace(original, database=copy_database(original.database))

    again = landing.ingest(shared_samples / tree)

    assert again.state is DeliveryState.PUBLISHED
    assert (again.rows_added, again.rows_removed, again.rows_unchanged) == (0, 0, first.rows_read)
    assert {run.status for run in again.runs} == {RunStatus.SKIPPED}
    assert again.billed_cost == first.billed_cost
    assert landing.count("billing_publications") == 1
    assert landing.count("raw_aws_billing_rows") == first.rows_read


def test_three_encodings_of_one_bill_give_the_same_charges(sample: Callable[[str], Sample]) -> None:
    charges = [_charges_of(sample(tree).landing) for tree in NOVEMBER]

    assert charges[0] == charges[1] == charges[2]
    assert len(charges[0]) == 118


def test_the_cost_of_each_chunk_of_the_legacy_report_can_be_told(sample: Callable[[str], Sample]) -> None:
    landing, _ = sample("legacy-cur")

    costs = landing.query(
        "SELECT right(source_s3_key, 8), count(*), sum((row_data ->> 'lineItem/UnblendedCost')::numeric),"
        " sum((row_data ->> 'lineItem/BlendedCost')::numeric) FROM raw_aws_billing_rows GROUP BY 1 ORDER BY 1"
    )

    assert costs == [
        ("1.csv.gz", 59, Decimal("0.08034"), Decimal("0.08034")),
        ("2.csv.gz", 59, Decimal("0.0000375084"), Decimal("0.0000375084")),
    ]


def test_public_prices_of_november_are_kept(sample: Callable[[str], Sample]) -> None:
    landing, _ = sample("cur2-csv")

    public = landing.value(
        "SELECT sum((row_data ->> 'pricing_public_on_demand_cost')::numeric) FROM raw_aws_billing_rows"
    )

    assert public == Decimal("1.7341165605")


@pytest.mark.parametrize(
    ("tree", "column", "total"),
    [
        ("focus12", "EffectiveCost", "32.7663"),
        ("focus12", "ListCost", "32.7663"),
        ("focus12", "ContractedCost", "32.7663"),
        ("focus12", "PricingCurrencyEffectiveCost", "32.7663"),
        ("focus10", "ListCost", "0.18543773290"),
        ("focus10", "EffectiveCost", "-2.00000000000"),
        ("focus10", "ContractedCost", "-2.00000000000"),
    ],
)
def test_a_focus_export_keeps_its_own_amounts(
    sample: Callable[[str], Sample], tree: str, column: str, total: str
) -> None:
    landing, _ = sample(tree)

    assert landing.value(f'SELECT sum("{column}") FROM focus_cost_and_usage') == Decimal(total)


def test_equal_rows_are_all_charged(sample: Callable[[str], Sample]) -> None:
    landing, _ = sample("noid-duplicates")

    assert landing.value("SELECT count(*) FROM raw_aws_billing_rows WHERE occurrence > 1") == 133
    assert landing.value("SELECT sum(billed_cost) FROM billing_usage_fact WHERE occurrence > 1") > 0


def test_what_savings_plans_leave_over_is_one_adjustment(sample: Callable[[str], Sample]) -> None:
    landing, outcome = sample("noid-duplicates")

    [adjustment] = landing.records("SELECT * FROM focus_cost_and_usage WHERE \"ChargeCategory\" = 'Adjustment'")

    assert adjustment["BilledCost"] == Decimal("-0.168")
    assert adjustment["EffectiveCost"] == 0
    assert adjustment["SubAccountId"] is None
    assert adjustment["ChargePeriodStart"] == adjustment["BillingPeriodStart"]
    assert adjustment["ChargePeriodEnd"] == adjustment["BillingPeriodEnd"]
    assert any("-0.168" in finding for finding in outcome.findings)


def _charges_of(landing: Landing) -> list[tuple[Any, ...]]:
    """The money, categories and times of all charges; what an encoding cannot carry is left out."""
    columns = (
        *MONEY,
        *"ContractedUnitPrice PricingCurrencyEffectiveCost PricingCurrencyListUnitPrice".split(),
        *"ChargeCategory ChargeClass ChargeFrequency PricingCategory ChargePeriodStart ChargePeriodEnd".split(),
        *"BillingAccountId SubAccountId BillingCurrency ConsumedQuantity ServiceName ServiceCategory".split(),
        *"ServiceSubcategory RegionId RegionName ResourceId ResourceType SkuId SkuPriceId SkuPriceDetails".split(),
        *"SkuMeter ChargeDescription PricingUnit ConsumedUnit CommitmentDiscountStatus x_Operation".split(),
        *"x_ServiceCode InvoiceId PublisherName InvoiceIssuerName".split(),
    )
    shown = ", ".join(f'trim_scale("{c}")' if c in MONEY else f'"{c}"' for c in columns)
    return sorted(landing.query(f"SELECT {shown} FROM focus_cost_and_usage"), key=repr)
