"""Which provider wrote a FOCUS file: all providers write FOCUS, but Billfold only maps AWS's exports.

Letters show the source of a rule: S the FOCUS specification, A AWS documentation, I our inference.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import duckdb

from billfold.errors import UnknownFormatError
from billfold.model import ExportFormat
from billfold.transform.columns import SourceColumn
from billfold.transform.focus_versions import refuse_old_version
from billfold.transform.parse import raise_at_first
from billfold.transform.session import quote
from billfold.transform.shape import Shape

_ADVICE = "Billfold only reads AWS's billing exports: remove this file from the export's folder"

# Who offers the product. It decides alone: in AWS's exports it is AWS also for sellers in AWS Marketplace (S). The
# second name is Oracle's.
_PROVIDER_COLUMNS = ("ProviderName", "Provider")
# Who writes the invoice; AWS's exports leave it empty for some charges (A). It decides if no provider is named.
_ISSUER_COLUMNS = ("InvoiceIssuerName", "InvoiceIssuer")
# Who made, offers or hosts the product: in AWS Marketplace the seller (S), so one AWS name among them is enough.
_SELLER_COLUMNS = ("PublisherName", "Publisher", "ServiceProviderName", "HostProviderName")

# AWS's companies, and the partners that sell AWS in India and China under their own names.
_AWS_NAMES = r"(?i)^\W*(aws\b|amazon|aispl\b|(beijing )?sinnet|nwcd\b|ningxia western cloud)|光环新网|西云数据"

# Columns that other providers add (x_ and oci_ in their documents). They count only if no provider is named.
_FOREIGN_COLUMN = re.compile(
    r"oci_.*"
    r"|x_(azure|gcp|google|oci|oracle|alibaba|aliyun|tencent|huawei|ibm|databricks|snowflake)[A-Z_].*"
    # Microsoft Cost Management
    r"|x_(AccountId|AccountName|AccountOwnerId|BilledCostInUsd|EffectiveCostInUsd|BillingProfile(Id|Name)"
    r"|InvoiceSection(Id|Name)|ResourceGroupName|SkuMeter(Id|Name|Category|SubCategory|Subcategory)|SkuOfferId"
    r"|SkuPartNumber|SkuOrderId|CostAllocationRuleName|PublisherCategory|CustomerId|PartnerCreditApplied)"
    # Google Cloud Billing
    r"|x_(Credits|CostType|CurrencyConversionRate|ExportTime|ProjectNumber|ProjectAncestors|PriceEffective.*)",
    re.IGNORECASE,
)

# How other providers write the ids of accounts: paths of Azure and Google Cloud, Oracle's OCIDs, Google's billing
# accounts (I, after their documents). They, too, count only if no provider is named.
_ACCOUNT_COLUMNS = ("BillingAccountId", "SubAccountId")
_FOREIGN_ACCOUNT = (
    r"(?i)^(/(subscriptions|providers)/.+|ocid1\..+|billingAccounts/.+|//[a-z]+\.googleapis\.com/.+"
    r"|[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6})$"
)


def refuse_foreign(session: duckdb.DuckDBPyConnection, shape: Shape) -> None:
    """Refuse FOCUS rows from another provider, and FOCUS before version 1.0.

    Raises UnknownFormatError with the file, and the line and value, or the columns, that show it.
    """
    if shape.export_format is ExportFormat.FOCUS:
        _refuse_other_provider(session, shape)
        refuse_old_version([column.header for column in shape.columns], file=shape.files[0].key)


def _refuse_other_provider(session: duckdb.DuckDBPyConnection, shape: Shape) -> None:
    providers, issuers, sellers = (
        [column for name in names if (column := shape.find(name))]
        for names in (_PROVIDER_COLUMNS, _ISSUER_COLUMNS, _SELLER_COLUMNS)
    )
    for column in providers:
        _refuse_first(session, shape, column, _is_other(column))
    unnamed = " AND ".join(["true", *(f"{_named(column)} IS NULL" for column in providers)])
    for column in issuers:
        _refuse_first(session, shape, column, f"{unnamed} AND {_is_other(column)}")
    if _is_any(session, shape, [_is_aws(column) for column in (*providers, *issuers, *sellers)]):
        return
    for column in sellers:
        _refuse_first(session, shape, column, _is_other(column))
    for column in filter(None, map(shape.find, _ACCOUNT_COLUMNS)):
        is_foreign = f"coalesce(regexp_matches({_named(column)}, {quote(_FOREIGN_ACCOUNT)}), false)"
        _refuse_first(session, shape, column, is_foreign)
    foreign = [column.header for column in shape.columns if _FOREIGN_COLUMN.fullmatch(column.header)]
    if foreign:
        raise UnknownFormatError(
            f"is a FOCUS file from another provider: it names none, and AWS has no column {foreign[0]}",
            file=shape.files[0].key,
            line=1,
            advice=_ADVICE,
        )


def _named(column: SourceColumn) -> str:
    """The name in the column, NULL for none."""
    return f"nullif(trim(unless_nan({column.sql_name})), '')"


def _is_aws(column: SourceColumn) -> str:
    return f"coalesce(regexp_matches({_named(column)}, {quote(_AWS_NAMES)}), false)"


def _is_other(column: SourceColumn) -> str:
    return f"coalesce(NOT regexp_matches({_named(column)}, {quote(_AWS_NAMES)}), false)"


def _is_any(session: duckdb.DuckDBPyConnection, shape: Shape, conditions: Sequence[str]) -> bool:
    condition = " OR ".join(["false", *conditions])
    return bool(session.execute(f"SELECT count(*) FROM {shape.table} WHERE {condition}").fetchall()[0][0])


def _refuse_first(session: duckdb.DuckDBPyConnection, shape: Shape, column: SourceColumn, condition: str) -> None:
    if _is_any(session, shape, [condition]):
        message = "this FOCUS file is from another provider"
        raise_at_first(session, shape, column, condition, message, _ADVICE, error_type=UnknownFormatError)
