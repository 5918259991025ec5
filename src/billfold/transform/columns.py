"""Source headers and their canonical names: one vocabulary for legacy CUR, CUR 2.0 and FOCUS.

The canonical names are those of CUR 2.0 (FOCUS keeps its own). Legacy headers follow the rule that AWS applies for
Athena: an underscore before each capital letter, everything in lower case, other characters become underscores.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from billfold.errors import MalformedFileError, MissingColumnError, UnknownFormatError
from billfold.model import ExportFormat
from billfold.transform.focus_versions import refuse_old_version

_LEGACY_CATEGORIES = frozenset(
    "identity bill lineItem product pricing reservation savingsPlan resourceTags costCategory discount"
    " splitLineItem".split()
)
_LEGACY_TAGS = "resourceTags/"
_LEGACY_COST_CATEGORIES = "costCategory/"
_ATHENA_TAGS = "resource_tags_"
_ATHENA_COST_CATEGORIES = "cost_category_"

# Headers that AWS spells in two ways (the user guide has both spellings of the Savings Plan ARN).
_ALIASES = {
    "savings_plan_savings_plan_arn": "savings_plan_savings_plan_a_r_n",
    "line_item_i_a_m_principal": "line_item_iam_principal",
}

# Not part of a line item's identity: AWS assigns it again in each delivery and repeats it within one.
UNSTABLE_COLUMNS = frozenset({"identity_line_item_id"})

# Columns whose values are JSON objects (MAP columns in Parquet): their keys have no order.
MAP_COLUMNS = frozenset(
    "resource_tags product cost_category discount tags Tags SkuPriceDetails x_Discounts x_CostCategories".split()
)

# Those whose values keep their types (FOCUS's Key-Value Format): a number, true, false or null is not a string.
TYPED_MAP_COLUMNS = frozenset({"Tags", "x_CostCategories"})

# Without one of these, the money or the identity of a row is unknown; a missing value refuses the file.
NEEDED_CUR_COLUMNS = (
    "line_item_line_item_type",
    "line_item_unblended_cost",
    "line_item_usage_start_date",
    "line_item_usage_account_id",
)
NEEDED_FOCUS_COLUMNS = (
    "BilledCost",
    "BillingCurrency",
    "ChargeCategory",
    "ChargePeriodStart",
    "ChargePeriodEnd",
    "BillingPeriodStart",
    "BillingPeriodEnd",
    "BillingAccountId",
)
# Account ids: payer and usage account, billing account and sub account.
ACCOUNT_ID_COLUMNS = ("bill_payer_account_id", "line_item_usage_account_id", "BillingAccountId", "SubAccountId")
COST_COLUMNS = ("line_item_unblended_cost", "BilledCost")
CURRENCY_COLUMNS = ("line_item_currency_code", "BillingCurrency")
_FOCUS_MARKS = frozenset((*NEEDED_FOCUS_COLUMNS, "EffectiveCost", "ServiceCategory", "ProviderName", "ListCost"))


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceColumn:
    """One column of a source file: its place, its header as AWS wrote it, and what it means.

    `tag_key` and `cost_category` are set for the columns of legacy exports that hold one tag or one cost category.
    """

    position: int
    header: str
    canonical: str
    tag_key: str | None = None
    cost_category: str | None = None

    @property
    def sql_name(self) -> str:
        return f"c{self.position}"


def snake_case(name: str) -> str:
    """AWS's rule for Athena: `UnblendedCost` is `unblended_cost`, `ReservationARN` is `reservation_a_r_n`."""
    spaced = re.sub(r"(?<!^)(?=[A-Z])", "_", name)
    return re.sub(r"_+", "_", re.sub(r"[^0-9a-z]+", "_", spaced.lower())).strip("_")


def detect_format(headers: Sequence[str], *, file: str) -> ExportFormat:
    """Which format of billing export these headers belong to.

    Raises UnknownFormatError if they belong to none; the error names the first headers.
    """
    if sum(header.partition("/")[0] in _LEGACY_CATEGORIES and "/" in header for header in headers) >= 2:
        return ExportFormat.LEGACY_CUR
    if sum(header.startswith(("line_item_", "bill_")) for header in headers) >= 2:
        return ExportFormat.CUR2
    if len(_FOCUS_MARKS.intersection(headers)) >= 3:
        return ExportFormat.FOCUS
    shown = ", ".join(header[:40] for header in headers[:4])
    raise UnknownFormatError(
        f"is not an AWS billing export: its columns are {shown}{', …' if len(headers) > 4 else ''}",
        file=file,
        advice="expected the columns of legacy CUR (lineItem/UnblendedCost), CUR 2.0 (line_item_unblended_cost) "
        "or FOCUS (BilledCost)",
    )


def describe_columns(headers: Sequence[str], export_format: ExportFormat, *, file: str) -> tuple[SourceColumn, ...]:
    """The meaning of each header, in the file's order.

    Raises MalformedFileError for an empty or repeated header and MissingColumnError for a missing needed column.
    """
    seen: dict[str, int] = {}
    for position, header in enumerate(headers):
        if not header.strip():
            raise MalformedFileError(
                f"header cell {position + 1} is empty", file=file, line=1, advice="ask AWS for a new delivery"
            )
        if header in seen:
            raise MalformedFileError("is twice in the header", file=file, line=1, column=header)
        seen[header] = position
    columns = [_describe(position, header, export_format) for position, header in enumerate(headers)]
    _refuse_missing(columns, export_format, file=file)
    return tuple(_distinguish(columns))


def needed_columns(export_format: ExportFormat) -> tuple[str, ...]:
    """The canonical columns without which a file of this format is refused."""
    return NEEDED_FOCUS_COLUMNS if export_format is ExportFormat.FOCUS else NEEDED_CUR_COLUMNS


def _describe(position: int, header: str, export_format: ExportFormat) -> SourceColumn:
    if export_format is ExportFormat.FOCUS:
        return SourceColumn(position=position, header=header, canonical=header)
    if header.startswith(_LEGACY_TAGS):
        key = header.removeprefix(_LEGACY_TAGS)
        return SourceColumn(position=position, header=header, canonical=f"resource_tags/{key}", tag_key=key)
    if header.startswith(_LEGACY_COST_CATEGORIES):
        name = header.removeprefix(_LEGACY_COST_CATEGORIES)
        return SourceColumn(position=position, header=header, canonical=f"cost_category/{name}", cost_category=name)
    if header.startswith(_ATHENA_TAGS):
        key = header.removeprefix(_ATHENA_TAGS)
        return SourceColumn(position=position, header=header, canonical=header, tag_key=key)
    if header.startswith(_ATHENA_COST_CATEGORIES):
        name = header.removeprefix(_ATHENA_COST_CATEGORIES)
        return SourceColumn(position=position, header=header, canonical=header, cost_category=name)
    category, slash, name = header.partition("/")
    canonical = f"{snake_case(category)}_{snake_case(name)}" if slash else header.strip().lower()
    return SourceColumn(position=position, header=header, canonical=_ALIASES.get(canonical, canonical))


def _refuse_missing(columns: Sequence[SourceColumn], export_format: ExportFormat, *, file: str) -> None:
    present = {column.canonical for column in columns}
    missing = [name for name in needed_columns(export_format) if name not in present]
    if missing:
        if export_format is ExportFormat.FOCUS:
            # The missing columns may have other names in a version that is not supported.
            refuse_old_version(sorted(present), file=file)
        raise MissingColumnError(
            f"needed column{'s' if len(missing) > 1 else ''} missing: {', '.join(missing)}",
            file=file,
            line=1,
            advice="choose these columns in the export, or ask AWS for a new delivery if the header is damaged",
        )


def _distinguish(columns: Sequence[SourceColumn]) -> list[SourceColumn]:
    """Give the second of two headers with one canonical name its own name, so that neither is lost."""
    taken: set[str] = set()
    distinct = []
    for column in columns:
        if column.canonical in taken:
            column = SourceColumn(
                position=column.position,
                header=column.header,
                canonical=f"{column.canonical}#{column.header}",
                tag_key=column.tag_key,
                cost_category=column.cost_category,
            )
        taken.add(column.canonical)
        distinct.append(column)
    return distinct
