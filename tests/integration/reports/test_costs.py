"""Costs as they are asked for: every grouping, every filter, the presets, and what is read to answer."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from billfold.bills.prune import prune
from billfold.errors import StoreError, UsageError
from billfold.period import BillingPeriod
from billfold.reports.costs import sum_costs
from billfold.selection import (
    SPLIT_COLUMNS,
    ChargeCategory,
    CostColumn,
    KeyColumn,
    MapColumn,
    Metric,
    Preset,
    Selection,
)
from tests.bills.landing import Landing
from tests.bills.line_items import PLAN, as_csv, line_item, write_bill, write_object
from tests.services import CopyDatabase, NewDatabase, make_shared_landing

MAY, JUNE, JULY = (BillingPeriod(date(2026, month, 1)) for month in (5, 6, 7))
S3 = {"line_item_product_code": "AmazonS3", "line_item_usage_account_id": "777788889999"}
ELSEWHERE = {"line_item_usage_account_id": "123412341234"}
TEAM = KeyColumn(column=MapColumn.TAG, key="team")
# FOCUS keeps keys as they are: case and colons tell these two apart.
SPELLED, SHOUTED = (KeyColumn(column=MapColumn.TAG, key=key) for key in ("cost:center", "cost:Center"))
UNIT = KeyColumn(column=MapColumn.COST_CATEGORY, key="Business:Unit")


def focus(cost: str, **columns: str) -> dict[str, str]:
    return {
        "BilledCost": cost,
        "EffectiveCost": cost,
        "ListCost": cost,
        "ContractedCost": cost,
        "BillingCurrency": "USD",
        "BillingAccountId": "111122223333",
        "SubAccountId": "444455556666",
        "BillingPeriodStart": "2026-06-01T00:00:00Z",
        "BillingPeriodEnd": "2026-07-01T00:00:00Z",
        "ChargePeriodStart": "2026-06-03T00:00:00Z",
        "ChargePeriodEnd": "2026-06-04T00:00:00Z",
        "ChargeCategory": "Usage",
        "ProviderName": "AWS",
        "ServiceCategory": "Compute",
        "ServiceName": "Amazon Elastic Compute Cloud",
        **columns,
    }


@pytest.fixture(scope="module")
def bills(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Landing:
    """CUR of May: 1.10 + 0.4 USD of EC2, 2 USD of S3, 0.3 tax, -0.5 credit, -0.2 refund, 5 EUR; FOCUS of June.

    All tests of this module ask it; none changes it.
    """
    landing = make_shared_landing(new_database, tmp_path_factory)
    bring_in_both(landing)
    return landing


def bring_in_both(landing: Landing) -> None:
    write_bill(
        landing.root / "cur",
        [
            line_item(cost="1.10", bill_invoice_id="17", product_region_code="eu-west-1"),
            line_item(cost="2", bill_invoice_id="18", **S3),
            line_item("Tax", cost="0.3", bill_invoice_id="17"),
            line_item("Credit", cost="-0.5"),
            line_item("Refund", cost="-0.2", line_item_line_item_description="refund"),
            line_item(cost="5", line_item_currency_code="EUR"),
            line_item(
                "SavingsPlanCoveredUsage",
                cost="0.4",
                savings_plan_savings_plan_a_r_n=PLAN,
                savings_plan_savings_plan_effective_cost="0.25",
            ),
            line_item(
                "SavingsPlanNegation",
                cost="-0.4",
                savings_plan_savings_plan_a_r_n=PLAN,
            ),
        ],
    )
    tagged = [
        focus("1", Tags='{"team": "red", "cost:center": "7", "cost:Center": "8"}', ChargeDescription="1"),
        focus("2", Tags='{"team": "blue"}', x_CostCategories='{"Business:Unit": "Shops"}', ChargeDescription="2"),
        focus("4", ChargeDescription="3"),
        focus("8", Tags='{"team": ""}', x_CostCategories='{"business:unit": "other"}', ChargeDescription="4"),
        focus("-16", ChargeClass="Correction", ChargeDescription="5"),
        focus("32", ChargeClass="Correction", ChargeDescription="6"),
        focus("-64", ChargeClass="Correction", ChargeCategory="Credit", ChargeDescription="7"),
    ]
    headers = dict.fromkeys(name for row in tagged for name in row)
    write_object(landing.root / "focus", "june.csv.gz", gzip.compress(as_csv(tagged, headers), mtime=0))
    landing.ingest_all(landing.root / "cur")
    landing.ingest_all(landing.root / "focus" / "june.csv.gz")


def costs(landing: Landing, *columns: CostColumn | KeyColumn, **wanted: Any) -> dict[Any, str]:
    """Amounts by group, without the currency where it is USD; a group of one value stands for itself."""
    report = sum_costs(landing.database, columns=columns, **wanted)
    assert not report.is_truncated
    for currency in ("USD", "EUR"):
        assert sum(row.amount for row in report.rows if row.currency == currency) == sum(
            total.amount for total in report.totals if total.currency == currency
        )
    found = {}
    for row in report.rows:
        group = row.group if row.currency == "USD" else (*row.group, row.currency)
        found[group[0] if len(group) == 1 else group] = format(row.amount.normalize(), "f")
    assert len(found) == len(report.rows)
    return found


def test_costs_are_grouped_by_what_a_charge_is(bills: Landing) -> None:
    may = {"month": MAY}

    assert costs(bills, CostColumn.CATEGORY, **may) == {
        "Usage": "2.9",
        "Tax": "0.3",
        "Credit": "-0.5",
        ("Usage", "EUR"): "5",
    }
    assert costs(bills, CostColumn.COMMITMENT, metric=Metric.EFFECTIVE, **may) == {
        "": "2.7",
        "Used": "0.25",
        ("", "EUR"): "5",
    }
    assert costs(bills, CostColumn.PRICING, metric=Metric.EFFECTIVE, **may)["Committed"] == "0.25"
    assert costs(bills, CostColumn.SERVICE_CATEGORY, **may)["Storage"] == "2"
    assert costs(bills, CostColumn.INVOICE, **may) == {
        "17": "1.4",
        "18": "2",
        "": "-0.7",
        ("", "EUR"): "5",
    }


def test_costs_are_grouped_by_tag_and_cost_category_whose_keys_are_case_sensitive(bills: Landing) -> None:
    assert costs(bills, TEAM, month=JUNE) == {"red": "1", "blue": "2", "": "-36"}
    assert costs(bills, SPELLED, SHOUTED, month=JUNE) == {("7", "8"): "1", ("", ""): "-34"}
    assert costs(bills, UNIT, month=JUNE) == {"Shops": "2", "": "-35"}
    assert costs(bills, TEAM, CostColumn.CATEGORY, month=JUNE)[("", "Credit")] == "-64"
    assert costs(bills, TEAM, TEAM, month=JUNE) == {("red", "red"): "1", ("blue", "blue"): "2", ("", ""): "-36"}


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("more", [{}, {"as_of": datetime.now(UTC) + timedelta(days=1)}])
def test_charges_and_daily_costs_answer_alike(bills: Landing, metric: Metric, more: dict[str, Any]) -> None:
    """The tag is nobody's: it makes the report read the daily costs with tags or, of the past, the charges."""
    for column in set(CostColumn) - {CostColumn.INVOICE, *SPLIT_COLUMNS}:
        daily = costs(bills, column, metric=metric, **more)
        tagged = costs(bills, column, KeyColumn(column=MapColumn.TAG, key="nobody's"), metric=metric, **more)

        assert {(group[0], *group[2:]): cost for group, cost in tagged.items()} == {
            (group if isinstance(group, tuple) else (group,)): cost for group, cost in daily.items()
        }, column


@pytest.mark.parametrize(
    ("selection", "cost"),
    [
        (Selection(services=["AmazonS3"]), "2"),
        (Selection(services=["Amazon Elastic Compute Cloud"], categories=[ChargeCategory.USAGE]), "31"),
        (Selection(services=["AmazonS3", "AmazonEC2"], categories=[ChargeCategory.USAGE]), "2.9"),
        (Selection(services=["amazons3"]), None),
        (Selection(accounts=["777788889999"]), "2"),
        (Selection(accounts=["777788889999", "444455556666"]), "-30.3"),
        (Selection(regions=["eu-west-1"]), "1.1"),
        (Selection(regions=["eu-west-1", ""]), "-30.3"),
        (Selection(categories=[ChargeCategory.TAX, ChargeCategory.CREDIT]), "-64.2"),
        (Selection(owners=["nobody"]), None),
        (Selection(owners=[""]), "-30.3"),
        (Selection(tags={"team": ["red"]}), "1"),
        (Selection(tags={"team": ["red", "blue"]}), "3"),
        (Selection(tags={"team": ["red", "blue"], "cost:center": ["7"]}), "1"),
        (Selection(tags={"team": ["blue"], "cost:center": ["7"]}), None),
        (Selection(tags={"TEAM": ["red"]}), None),
        (Selection(tags={"team": [""]}), "-33.3"),
        (Selection(tags={"team": ["", "red"]}), "-32.3"),
        (Selection(cost_categories={"Business:Unit": ["Shops"]}), "2"),
        (Selection(cost_categories={"Business:Unit": [""]}, accounts=["777788889999"]), "2"),
    ],
    ids=str,
)
def test_a_filter_lets_through_what_it_names(bills: Landing, selection: Selection, cost: str | None) -> None:
    found = costs(bills, CostColumn.CATEGORY, selection=selection)

    in_dollars = [Decimal(amount) for group, amount in found.items() if isinstance(group, str)]
    assert (format(sum(in_dollars).normalize(), "f") if in_dollars else None) == cost


@pytest.mark.parametrize(
    ("without", "may", "june"),
    [
        ([], "2.7", "-33"),
        ([Preset.TAX], "2.4", "-33"),
        ([Preset.CREDIT], "3.2", "31"),
        # A correction's two sides go together, and a credit stays a credit.
        ([Preset.REFUND], "2.9", "-49"),
        (list(Preset), "3.1", "15"),
    ],
    ids=str,
)
def test_presets_leave_out_taxes_credits_and_refunds(
    bills: Landing, without: Sequence[Preset], may: str, june: str
) -> None:
    found = costs(bills, CostColumn.MONTH, selection=Selection(without=without))

    assert found == {"2026-05": may, "2026-06": june, ("2026-05", "EUR"): "5"}


def test_months_are_bounded_at_both_ends(bills: Landing) -> None:
    def months(**wanted: BillingPeriod) -> set[str]:
        return {total.group[0] for total in sum_costs(bills.database, **wanted).totals}

    assert months(until=MAY) == months(month=MAY) == months(since=MAY, until=MAY) == {"2026-05"}
    assert months(since=JUNE) == months(since=JUNE, until=JULY) == {"2026-06"}
    assert months(since=MAY, until=JUNE) == {"2026-05", "2026-06"}
    with pytest.raises(UsageError, match="no month is from 2026-06 to 2026-05"):
        months(since=JUNE, until=MAY)


@pytest.fixture(scope="module")
def owned(shared_landing: Landing) -> Landing:
    """Costs of three accounts, two of which have an owner, and a refund of a tax; it stays so."""
    refund = line_item("Refund", cost="-0.5", line_item_tax_type="VAT", **ELSEWHERE)
    write_bill(
        shared_landing.root, [line_item(cost="1"), line_item(cost="2", **S3), line_item(cost="4", **ELSEWHERE), refund]
    )
    shared_landing.ingest()
    shared_landing.execute("INSERT INTO billing_clients (client_id) VALUES ('other')")
    shared_landing.execute(
        "INSERT INTO billing_account_owners (client_id, account_id, owner) VALUES ('acme', '777788889999', 'shops'),"
        " ('acme', '444455556666', 'shops'), ('other', '123412341234', 'them')"
    )
    return shared_landing


def test_a_refund_of_a_tax_is_left_out_with_refunds_and_with_taxes(owned: Landing) -> None:
    assert costs(owned, CostColumn.MONTH) == {"2026-05": "6.5"}
    for preset in (Preset.TAX, Preset.REFUND):
        assert costs(owned, CostColumn.MONTH, selection=Selection(without=[preset])) == {"2026-05": "7"}


def test_owners_group_the_costs_of_all_their_accounts_and_of_their_client_alone(owned: Landing) -> None:
    assert costs(owned, CostColumn.OWNER) == {"shops": "3", "": "3.5"}
    assert costs(owned, CostColumn.OWNER, TEAM) == {("shops", ""): "3", ("", ""): "3.5"}
    assert costs(owned, CostColumn.OWNER, selection=Selection(owners=["shops"], services=["AmazonS3"])) == {
        "shops": "2"
    }


def test_what_is_not_counted_costs_nothing_in_the_charges_either(bills: Landing, copy_database: CopyDatabase) -> None:
    landing = replace(bills, database=copy_database(bills.database))
    assert costs(landing, CostColumn.INVOICE, month=MAY)["17"] == "1.4"

    landing.execute("UPDATE billing_statements SET counted = false")

    assert costs(landing, CostColumn.INVOICE) == costs(landing, CostColumn.MONTH) == {}


@pytest.fixture(scope="module")
def retagged(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Landing:
    """One charge, of 1 and red, and then of 2 and blue; it stays so."""
    landing = make_shared_landing(new_database, tmp_path_factory)
    for revision, team in enumerate(("red", "blue"), start=1):
        row = focus(str(revision), Tags=f'{{"team": "{team}"}}')
        landing.ingest(write_object(landing.root, "june.csv", as_csv([row]), revision=revision))
    return landing


def test_tags_of_an_earlier_moment_are_those_that_stood_then(retagged: Landing) -> None:
    first, second = retagged.published_at()

    assert costs(retagged, TEAM, as_of=first) == {"red": "1"}
    assert costs(retagged, TEAM, as_of=second) == costs(retagged, TEAM) == {"blue": "2"}
    assert costs(retagged, TEAM, as_of=first - timedelta(days=1)) == {}


def test_tags_of_a_pruned_moment_are_refused_but_not_its_daily_costs(
    retagged: Landing, copy_database: CopyDatabase
) -> None:
    landing = replace(retagged, database=copy_database(retagged.database))
    first, _ = landing.published_at()
    prune(
        settings=landing.settings,
        database=landing.database,
        keep_days=1,
        dry_run=False,
        now=datetime.now(UTC) + timedelta(days=9),
    )

    assert costs(landing, CostColumn.MONTH, as_of=first) == {"2026-06": "1"}
    with pytest.raises(StoreError, match="is pruned"):
        costs(landing, TEAM, as_of=first)
