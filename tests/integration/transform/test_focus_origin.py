"""Whose FOCUS it is: AWS's passes, whoever sells in AWS Marketplace; other providers and old versions are refused."""

from __future__ import annotations

from decimal import Decimal

import pytest

from billfold.errors import MissingColumnError, UnknownFormatError
from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, write_delivery
from tests.bills.parsed import FOCUS_ROW, Parse

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


def refusal(parse: Parse, *rows: dict[str, str]) -> str:
    with pytest.raises(UnknownFormatError) as refused:
        parse(as_csv(rows))
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("column", ["ProviderName", "InvoiceIssuerName", "PublisherName"])
def test_any_company_of_aws_may_be_named(parse: Parse, column: str) -> None:
    parse(as_csv([{**FOCUS_ROW, column: name} for name in AWS_COMPANIES]))


@pytest.mark.parametrize(
    ("column", "name"),
    list(zip(["ProviderName", "Provider", "InvoiceIssuerName", "InvoiceIssuer"] * 3, OTHERS, strict=False)),
)
def test_another_provider_or_issuer_is_refused_with_its_line(parse: Parse, column: str, name: str) -> None:
    error = refusal(parse, {**FOCUS_ROW, column: "AWS"}, {**FOCUS_ROW, column: name})

    assert f"file-0, line 3, column {column}, value {name!r}: this FOCUS file is from another provider" in error


@pytest.mark.parametrize(
    ("column", "name"),
    list(zip(["PublisherName", "Publisher", "ServiceProviderName", "HostProviderName"], OTHERS, strict=False)),
)
def test_a_publisher_or_host_alone_is_refused(parse: Parse, column: str, name: str) -> None:
    error = refusal(parse, {**FOCUS_ROW, column: ""}, {**FOCUS_ROW, column: name})

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
def test_a_seller_in_aws_marketplace_passes(parse: Parse, columns: dict[str, str]) -> None:
    parse(as_csv([{**FOCUS_ROW, **columns}]))


def test_sellers_pass_beside_one_row_that_aws_published(parse: Parse) -> None:
    parse(as_csv([{**FOCUS_ROW, "PublisherName": "Red Hat Inc."}, {**FOCUS_ROW, "PublisherName": "AWS"}]))


@pytest.mark.parametrize(
    "columns",
    [
        {},
        *(dict.fromkeys(AWS, nothing) for nothing in ("", " ", "NULL", "nan")),
        {"x_Operation": "RunInstances", "x_ServiceCode": "AmazonEC2", "x_Team": "a"},
    ],
)
def test_an_export_that_names_nobody_passes(parse: Parse, columns: dict[str, str]) -> None:
    parse(as_csv([{**FOCUS_ROW, **columns}]))


@pytest.mark.parametrize(
    "column",
    ["oci_ReferenceNumber", "x_SkuMeterId", "x_ResourceGroupName", "x_Credits", "x_GcpProject", "x_OCI_Region"],
)
def test_a_foreign_column_is_refused_where_nobody_is_named(parse: Parse, column: str) -> None:
    error = refusal(parse, {**FOCUS_ROW, column: "x"})

    assert "file-0, line 1: is a FOCUS file from another provider" in error
    assert column in error
    parse(as_csv([{**FOCUS_ROW, **AWS, column: "x"}]))


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
def test_a_foreign_account_id_is_refused_where_nobody_is_named(parse: Parse, column: str, account: str) -> None:
    unnamed = FOCUS_ROW | dict.fromkeys(AWS, "")

    message = refusal(parse, unnamed, {**unnamed, column: account})

    assert f"line 3, column {column}, value {account!r}: this FOCUS file is from another provider" in message
    parse(as_csv([FOCUS_ROW | AWS | {column: account}]))


def test_rows_of_another_provider_between_aws_rows_are_refused(parse: Parse) -> None:
    mixed = {**FOCUS_ROW, **AWS, "ProviderName": "", "InvoiceIssuerName": "Microsoft Corporation"}

    assert "line 3, column InvoiceIssuerName" in refusal(parse, {**FOCUS_ROW, **AWS}, mixed)


def test_columns_of_the_preview_are_refused_and_named(parse: Parse) -> None:
    error = refusal(parse, {**FOCUS_ROW, **PREVIEW_OF_AWS})

    assert "file-0, line 1: has columns of a FOCUS version before 1.0: ChargeSubcategory, UsageQuantity" in error
    assert "export FOCUS 1.2 or CUR 2.0" in error


@pytest.mark.parametrize("column", PREVIEW_OF_AWS)
def test_one_column_of_the_preview_alone_is_refused(parse: Parse, column: str) -> None:
    assert column in refusal(parse, {**without_contract(), column: PREVIEW_OF_AWS[column]})


def test_a_file_between_two_versions_is_refused(parse: Parse) -> None:
    later = {**FOCUS_ROW, "ConsumedQuantity": "1"}

    assert "ChargeSubcategory" in refusal(parse, {**later, "ChargeSubcategory": "On-Demand"})
    assert "Region, Provider" in refusal(parse, {**later, "Region": "us-east-1", "Provider": "AWS"})


def test_focus_0_5_is_refused_as_a_version_and_not_for_a_missing_column(parse: Parse) -> None:
    row = {name: value for name, value in FOCUS_ROW.items() if name not in ("ChargeCategory", "EffectiveCost")}

    assert "AmortizedCost, ChargeType" in refusal(parse, {**row, "ChargeType": "Usage", "AmortizedCost": "1"})
    with pytest.raises(MissingColumnError, match="ChargeCategory"):
        parse(as_csv([row]))


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({**PREVIEW_OF_AWS, **AWS}, id="all of the preview beside 1.0"),
        pytest.param({"Region": "us-east-1"}, id="a region of one's own"),
        pytest.param({"Provider": "AWS"}, id="a provider of one's own"),
    ],
)
def test_columns_of_ones_own_beside_a_later_version_pass(parse: Parse, columns: dict[str, str]) -> None:
    later = {"ChargeClass": "", "CommitmentDiscountStatus": "", "ConsumedQuantity": "1", "ConsumedUnit": "Hours"}

    parse(as_csv([{**FOCUS_ROW, **later, "RegionId": "us-east-1", "ContractedCost": "1.5", **columns}]))


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


def without_contract() -> dict[str, str]:
    """A row without any column that came with FOCUS 1.0."""
    return {name: value for name, value in FOCUS_ROW.items() if name != "ContractedCost"}
