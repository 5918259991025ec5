"""Whose FOCUS it is: AWS's passes, whoever sells in AWS Marketplace; other providers and old versions are refused."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from billfold.errors import MissingColumnError, UnknownFormatError
from billfold.settings import Settings
from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, write_delivery
from tests.bills.parsed import FOCUS_ROW, parsed

AWS = {"ProviderName": "AWS", "PublisherName": "AWS", "InvoiceIssuerName": "Amazon Web Services, Inc."}
PREVIEW_OF_AWS = {
    "Provider": "AWS",
    "Publisher": "AWS",
    "InvoiceIssuer": "Amazon Web Services, Inc.",
    "Region": "us-east-1",
    "ChargeSubcategory": "On-Demand",
    "UsageQuantity": "1",
    "UsageUnit": "Hours",
}
AWS_COMPANIES = [
    "AWS",
    "aws",
    "Amazon Web Services, Inc.",
    "Amazon Web Services EMEA SARL",
    "Amazon Web Services India Private Limited",
    "Amazon Internet Services Private Limited",
    "AISPL",
    "Amazon Web Services Japan G.K.",
    "AMAZON WEB SERVICES AUSTRALIA PTY LTD",
    "Amazon.com Services LLC",
    "AWS Marketplace",
    "AmazonWebServices",
    "Sinnet",
    "Beijing Sinnet Technology Co., Ltd.",
    "NWCD",
    "Ningxia Western Cloud Data Technology Co., Ltd.",
    "宁夏西云数据科技有限公司",
    "北京光环新网科技股份有限公司",
]
OTHERS = [
    "Oracle",
    "Microsoft",
    "Google Cloud",
    "Alibaba Cloud",
    "Databricks",
    "Snowflake",
    "Tencent Cloud",
    "Awesome Cloud",
    "Not AWS",
]


def land(settings: Settings, *rows: dict[str, str]) -> None:
    headers = dict.fromkeys(name for row in rows for name in row)
    with parsed(settings, as_csv(rows, headers)):
        pass


def refusal(settings: Settings, *rows: dict[str, str]) -> str:
    with pytest.raises(UnknownFormatError) as refused:
        land(settings, *rows)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("column", ["ProviderName", "InvoiceIssuerName", "PublisherName"])
def test_any_company_of_aws_may_be_named(settings: Settings, column: str) -> None:
    land(settings, *({**FOCUS_ROW, column: name} for name in AWS_COMPANIES))


@pytest.mark.parametrize(
    ("column", "name"),
    list(zip(["ProviderName", "Provider", "InvoiceIssuerName", "InvoiceIssuer"] * 3, OTHERS, strict=False)),
)
def test_another_provider_or_issuer_is_refused_with_its_line(settings: Settings, column: str, name: str) -> None:
    error = refusal(settings, {**FOCUS_ROW, column: "AWS"}, {**FOCUS_ROW, column: name})

    assert f"file-0, line 3, column {column}, value {name!r}: this FOCUS file is from another provider" in error


@pytest.mark.parametrize(
    ("column", "name"),
    list(zip(["PublisherName", "Publisher", "ServiceProviderName", "HostProviderName"], OTHERS, strict=False)),
)
def test_a_publisher_or_host_alone_is_refused(settings: Settings, column: str, name: str) -> None:
    error = refusal(settings, {**FOCUS_ROW, column: ""}, {**FOCUS_ROW, column: name})

    assert f"line 3, column {column}, value {name!r}" in error


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({**AWS, "PublisherName": "Red Hat Inc."}, id="all three named"),
        pytest.param({**AWS, "PublisherName": "Oracle America, Inc.", "InvoiceIssuerName": ""}, id="no issuer"),
        pytest.param({**AWS, "InvoiceIssuerName": "Reseller GmbH"}, id="a reseller writes the invoice"),
        pytest.param({"PublisherName": "Databricks", "InvoiceIssuerName": "AWS EMEA SARL"}, id="no provider"),
        pytest.param(
            {"ServiceProviderName": "Snowflake", "HostProviderName": "AWS", "InvoiceIssuerName": ""}, id="FOCUS 1.3"
        ),
        pytest.param(
            {"ServiceProviderName": "Datadog", "HostProviderName": "Google", "InvoiceIssuerName": "AWS Inc."},
            id="FOCUS 1.3, hosted elsewhere",
        ),
    ],
)
def test_a_seller_in_aws_marketplace_passes(settings: Settings, columns: dict[str, str]) -> None:
    land(settings, {**FOCUS_ROW, **columns})


def test_sellers_pass_beside_one_row_that_aws_published(settings: Settings) -> None:
    land(settings, {**FOCUS_ROW, "PublisherName": "Red Hat Inc."}, {**FOCUS_ROW, "PublisherName": "AWS"})


@pytest.mark.parametrize("nothing", ["", " ", "NULL", "nan"])
def test_an_export_that_names_nobody_passes(settings: Settings, nothing: str) -> None:
    land(settings, FOCUS_ROW)
    land(settings, {**FOCUS_ROW, **dict.fromkeys(AWS, nothing)})
    land(settings, {**FOCUS_ROW, "x_Operation": "RunInstances", "x_ServiceCode": "AmazonEC2", "x_Team": "a"})


@pytest.mark.parametrize(
    "column",
    ["oci_ReferenceNumber", "x_SkuMeterId", "x_ResourceGroupName", "x_Credits", "x_GcpProject", "x_OCI_Region"],
)
def test_a_foreign_column_is_refused_where_nobody_is_named(settings: Settings, column: str) -> None:
    error = refusal(settings, {**FOCUS_ROW, column: "x"})

    assert "file-0, line 1: is a FOCUS file from another provider" in error
    assert column in error
    land(settings, {**FOCUS_ROW, **AWS, column: "x"})


@pytest.mark.parametrize("column", ["BillingAccountId", "SubAccountId"])
@pytest.mark.parametrize(
    "account",
    [
        "/providers/Microsoft.Billing/billingAccounts/1234567",
        "/subscriptions/0f4d7a1e-5d5c-4c39-8a47-5d4b6f5e0a11",
        "012345-ABCDEF-678901",
        "billingAccounts/012345-ABCDEF-678901",
        "ocid1.tenancy.oc1..aaaaaaaa",
    ],
)
def test_a_foreign_account_id_is_refused_where_nobody_is_named(settings: Settings, column: str, account: str) -> None:
    unnamed = FOCUS_ROW | dict.fromkeys(AWS, "")

    message = refusal(settings, unnamed, {**unnamed, column: account})

    assert f"line 3, column {column}, value {account!r}: this FOCUS file is from another provider" in message
    land(settings, FOCUS_ROW | AWS | {column: account})


def test_rows_of_another_provider_between_aws_rows_are_refused(settings: Settings) -> None:
    mixed = {**FOCUS_ROW, **AWS, "ProviderName": "", "InvoiceIssuerName": "Microsoft Corporation"}

    assert "line 3, column InvoiceIssuerName" in refusal(settings, {**FOCUS_ROW, **AWS}, mixed)


def test_columns_of_the_preview_are_refused_and_named(settings: Settings) -> None:
    error = refusal(settings, {**FOCUS_ROW, **PREVIEW_OF_AWS})

    assert "file-0, line 1: has columns of a FOCUS version before 1.0: ChargeSubcategory, UsageQuantity" in error
    assert "export FOCUS 1.2 or CUR 2.0" in error


@pytest.mark.parametrize("column", PREVIEW_OF_AWS)
def test_one_column_of_the_preview_alone_is_refused(settings: Settings, column: str) -> None:
    assert column in refusal(settings, {**without_contract(), column: PREVIEW_OF_AWS[column]})


def test_a_file_between_two_versions_is_refused(settings: Settings) -> None:
    later = {**FOCUS_ROW, "ConsumedQuantity": "1"}

    assert "ChargeSubcategory" in refusal(settings, {**later, "ChargeSubcategory": "On-Demand"})
    assert "Region, Provider" in refusal(settings, {**later, "Region": "us-east-1", "Provider": "AWS"})


def test_focus_0_5_is_refused_as_a_version_and_not_for_a_missing_column(settings: Settings) -> None:
    row = {name: value for name, value in FOCUS_ROW.items() if name not in ("ChargeCategory", "EffectiveCost")}

    assert "AmortizedCost, ChargeType" in refusal(settings, {**row, "ChargeType": "Usage", "AmortizedCost": "1"})
    with pytest.raises(MissingColumnError, match="ChargeCategory"):
        land(settings, row)


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({**PREVIEW_OF_AWS, **AWS}, id="all of the preview beside 1.0"),
        pytest.param({"Region": "us-east-1"}, id="a region of one's own"),
        pytest.param({"Provider": "AWS"}, id="a provider of one's own"),
    ],
)
def test_columns_of_ones_own_beside_a_later_version_pass(settings: Settings, columns: dict[str, str]) -> None:
    later = {"ChargeClass": "", "CommitmentDiscountStatus": "", "ConsumedQuantity": "1", "ConsumedUnit": "Hours"}

    land(settings, {**FOCUS_ROW, **later, "RegionId": "us-east-1", "ContractedCost": "1.5", **columns})


def test_focus_1_3_of_aws_lands(landing: Landing) -> None:
    columns = {
        "ServiceProviderName": "AWS",
        "HostProviderName": "AWS",
        "InvoiceIssuerName": "Amazon Web Services, Inc.",
        "AllocatedMethodId": "",
        "ContractApplied": "",
    }
    write_delivery(landing.root, as_csv([{**FOCUS_ROW, **columns}]))

    outcome = landing.ingest()

    [charge] = landing.charges()
    assert (outcome.exit_error, outcome.findings) == (None, ())
    assert (charge["ProviderName"], charge["BilledCost"]) == ("AWS", Decimal("1.5"))


def test_the_sample_of_oracle_lands_nothing(landing: Landing, shared_samples: Path) -> None:
    [outcome] = landing.ingest_all(shared_samples / "field" / "focus-of-oracle")

    assert outcome.exit_error is not None
    assert outcome.exit_error.error_code == "unknown_format"
    assert "line 2, column Provider, value 'Oracle'" in str(outcome.exit_error)
    assert landing.count("billing_usage_fact") == 0


def without_contract() -> dict[str, str]:
    """A row without any column that came with FOCUS 1.0."""
    return {name: value for name, value in FOCUS_ROW.items() if name != "ContractedCost"}
