"""The view `line_item`: the rows of all shapes under canonical column names, with their identity.

Numbers are text as AWS wrote it, or NULL for other text; points in time are typed. Columns that a file lacks are
NULL. Attributes that CUR 2.0 keeps in a map and older exports in columns look alike here.
The mapping only reads this view.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import duckdb

from billfold.model import ExportFormat
from billfold.sql import read_script
from billfold.transform.columns import SourceColumn
from billfold.transform.session import create_macros, json_key, quote
from billfold.transform.shape import Shape

# Attributes of the product that the mapping reads: the canonical name, and the columns of older and newer exports.
_PRODUCT_ATTRIBUTES = {
    "product_name": ("product_product_name", "product_name"),
    "product_region_code": ("product_region_code", "product_region"),
}
_PRODUCT_MAP_KEYS = {"product_name": ("product_name",), "product_region_code": ("region", "region_code")}

# Attributes of the product that are not properties of its price: what it is, where it is, and its keys, which have
# their own columns. The location of a transfer's ends implies their region codes.
NO_PRICE_DETAILS = frozenset(
    "availability_zone fee_code fee_description from_location from_location_type from_region_code location"
    " location_type name operation pricing_unit product_name region region_code servicecode servicename sku to_location"
    " to_location_type to_region_code usagetype".split()
)

# A row's discounts: a map or one column for each kind, and their sum.
_DISCOUNT_MAP = "discount"
_DISCOUNT_PREFIX = "discount_"
_TOTAL_DISCOUNT = "discount_total_discount"

# The columns that the scripts of map_cur read, besides those that are collected from maps or several columns.
_CUR_TEXTS = """
    bill_bill_type bill_invoice_id bill_invoicing_entity bill_payer_account_id bill_payer_account_name
    capacity_reservation_capacity_reservation_arn capacity_reservation_capacity_reservation_status
    line_item_availability_zone line_item_currency_code line_item_iam_principal line_item_legal_entity
    line_item_line_item_description line_item_line_item_type line_item_operation line_item_product_code
    line_item_resource_id line_item_tax_type line_item_usage_account_id line_item_usage_account_name
    line_item_usage_type line_item_user_identifier pricing_currency pricing_rate_code pricing_rate_id pricing_term
    pricing_unit product_product_family product_servicecode product_sku reservation_reservation_a_r_n
    savings_plan_savings_plan_a_r_n split_line_item_parent_resource_id
""".split()
_CUR_NUMBERS = """
    line_item_net_unblended_cost line_item_net_unblended_rate line_item_normalized_usage_amount
    line_item_unblended_cost line_item_unblended_rate line_item_usage_amount pricing_public_on_demand_cost
    pricing_public_on_demand_rate reservation_effective_cost reservation_net_effective_cost
    reservation_net_unused_amortized_upfront_fee_for_billing_period reservation_net_unused_recurring_fee
    reservation_total_reserved_normalized_units reservation_total_reserved_units
    reservation_unused_amortized_upfront_fee_for_billing_period reservation_unused_normalized_unit_quantity
    reservation_unused_quantity reservation_unused_recurring_fee
    savings_plan_amortized_upfront_commitment_for_billing_period
    savings_plan_net_amortized_upfront_commitment_for_billing_period
    savings_plan_net_recurring_commitment_for_billing_period savings_plan_net_savings_plan_effective_cost
    savings_plan_recurring_commitment_for_billing_period savings_plan_savings_plan_effective_cost
    savings_plan_savings_plan_rate savings_plan_total_commitment_to_date savings_plan_used_commitment
    split_line_item_actual_usage split_line_item_net_split_cost split_line_item_net_unused_cost
    split_line_item_public_on_demand_split_cost split_line_item_public_on_demand_unused_cost
    split_line_item_reserved_usage split_line_item_split_cost split_line_item_split_usage
    split_line_item_split_usage_ratio split_line_item_unused_cost
""".split()
_CUR_TIMES = ["bill_billing_period_start_date", "line_item_usage_end_date", "line_item_usage_start_date"]
_NUMBERS = frozenset(
    """
    BilledCost CommitmentDiscountQuantity ConsumedQuantity ContractedCost ContractedUnitPrice EffectiveCost ListCost
    ListUnitPrice PricingCurrencyContractedUnitPrice PricingCurrencyEffectiveCost PricingCurrencyListUnitPrice
    PricingQuantity
    """.split()
    + _CUR_NUMBERS
    + [_TOTAL_DISCOUNT]
)
_TIMES = frozenset(["ChargePeriodEnd", "ChargePeriodStart", *_CUR_TIMES])
_FOCUS_WORD = re.compile(r'"([A-Za-z_]+)"')


def canonical_columns(export_format: ExportFormat) -> tuple[str, ...]:
    """The canonical columns that the format's mapping reads."""
    if export_format is ExportFormat.FOCUS:
        return tuple(sorted(set(_FOCUS_WORD.findall(read_script("billfold.transform", "map_focus")))))
    return (*_CUR_TEXTS, *_CUR_NUMBERS, *_CUR_TIMES)


def create_discount_macros(session: duckdb.DuckDBPyConnection, shapes: Sequence[Shape]) -> None:
    """Create the macros that `total_discount` and `discount_parts` need where a shape has the map of discounts."""
    if any(shape.find(_DISCOUNT_MAP) for shape in shapes):
        create_macros(session, "discounts")


def create_line_items(session: duckdb.DuckDBPyConnection, shapes: Sequence[Shape], *, currency: str) -> None:
    """Create the view. `currency` is used if the export has no currency column (which is a finding)."""
    create_discount_macros(session, shapes)
    selects = " UNION ALL BY NAME ".join(_select_shape(shape, currency=currency) for shape in shapes)
    session.execute(f"CREATE OR REPLACE TEMP VIEW line_item AS {selects}")


def lacks_currency(shapes: Sequence[Shape]) -> bool:
    """Whether the export has no currency column."""
    return any(
        shape.find("line_item_currency_code") is None and shape.find("BillingCurrency") is None for shape in shapes
    )


def total_discount(shape: Shape) -> str:
    """AWS's total of the row's discounts, a number as text: a column, else a key of the map."""
    column, found_map = _column(shape, _TOTAL_DISCOUNT), shape.find(_DISCOUNT_MAP)
    return f"coalesce({column}, total_of(source.{found_map.sql_name}))" if found_map else column


def discount_parts(shape: Shape) -> str:
    """The row's single discounts: numbers as text with spaces between them, NULL without any.

    They are the values of the map `discount` and of the columns for a kind of discount that the map lacks:
    `discount/…` of legacy CUR, `discount_bundled_discount` of CUR 2.0.
    """
    found_map = shape.find(_DISCOUNT_MAP)
    # Most rows have an empty map.
    terms = [f"terms_of(nullif(source.{found_map.sql_name}, '{{}}'))"] if found_map else []
    for column in _discount_columns(shape):
        term = f"number_text(source.{column.sql_name})"
        if found_map:
            kind = quote(column.canonical.removeprefix(_DISCOUNT_PREFIX).replace("_", ""))
            letters = f"regexp_replace(lower(coalesce(source.{found_map.sql_name}, '')), '[^a-z]', '', 'g')"
            term = f"CASE WHEN NOT contains({letters}, {kind}) THEN {term} END"
        terms.append(term)
    return f"nullif(concat_ws(' ', {', '.join(terms)}), '')" if terms else "NULL::VARCHAR"


def _unreadable_discount(shape: Shape) -> str:
    """Whether a counted discount is not a number; never if the row has the total."""
    found_map = shape.find(_DISCOUNT_MAP)
    tests = [f"is_unreadable(nullif(source.{found_map.sql_name}, '{{}}'))"] if found_map else []
    tests += [
        f"number_text(source.{column.sql_name}) IS NULL"
        f" AND lower(trim(source.{column.sql_name})) NOT IN ('none', 'null', 'n/a', 'nan')"
        for column in _discount_columns(shape)
    ]
    if not tests:
        return "false"
    return f"{total_discount(shape)} IS NULL AND ({' OR '.join(f'coalesce({test}, false)' for test in tests)})"


def _discount_columns(shape: Shape) -> list[SourceColumn]:
    return [
        column
        for column in shape.columns
        # The second of two headers with one meaning (`#`) repeats the first.
        if column.canonical.startswith(_DISCOUNT_PREFIX)
        and column.canonical != _TOTAL_DISCOUNT
        and "#" not in column.canonical
    ]


def _select_shape(shape: Shape, *, currency: str) -> str:
    expressions = {name: _column(shape, name) for name in canonical_columns(shape.export_format)}
    if shape.export_format is not ExportFormat.FOCUS:
        expressions |= {
            "line_item_currency_code": f"coalesce({_column(shape, 'line_item_currency_code')}, {quote(currency)})",
            "product_name": _product_attribute(shape, "product_name"),
            "product_region_code": _product_attribute(shape, "product_region_code"),
            "price_details": _price_details(shape),
            "resource_tags": _gathered(shape, "resource_tags", {c.sql_name: c.tag_key for c in shape.columns}),
            "cost_category": _gathered(shape, "cost_category", {c.sql_name: c.cost_category for c in shape.columns}),
            "discount": _column(shape, "discount"),
            "discount_total": total_discount(shape),
            "discount_parts": discount_parts(shape),
            "has_unreadable_discount": _unreadable_discount(shape),
            "tags": _column(shape, "tags"),
        }
    columns = ", ".join(f'{expression} AS "{name}"' for name, expression in sorted(expressions.items()))
    return (
        f"SELECT {columns}, identity.row_hash, identity.occurrence, identity.file_number, identity.is_added"
        f" FROM {shape.table} AS source JOIN line_item_identity AS identity"
        f" ON identity.row = source.rowid AND identity.shape = {shape.number}"
    )


def _column(shape: Shape, canonical: str) -> str:
    column = shape.find(canonical)
    if canonical in _TIMES:
        return f"instant(source.{column.sql_name})" if column else "NULL::TIMESTAMPTZ"
    if column is None:
        return "NULL::VARCHAR"
    if canonical in _NUMBERS:
        return f"number_text(source.{column.sql_name})"
    # Tools also write nan for a missing text.
    return f"unless_nan(source.{column.sql_name})"


def _product_attribute(shape: Shape, name: str) -> str:
    product = shape.find("product")
    found = [_column(shape, canonical) for canonical in _PRODUCT_ATTRIBUTES[name] if shape.find(canonical)]
    if product:
        # A text that is not JSON has no attributes; it must not refuse its line item.
        as_json = f"TRY_CAST(source.{product.sql_name} AS JSON)"
        found += [f"json_extract_string({as_json}, '$.{key}')" for key in _PRODUCT_MAP_KEYS[name]]
    return f"coalesce({', '.join(found)})" if len(found) > 1 else found[0] if found else "NULL::VARCHAR"


def _price_details(shape: Shape) -> str:
    """A JSON object of the product's attributes that describe its price, with AWS's map under the empty key.

    The map is read later, once per distinct text.
    """
    members = [("", column.sql_name) for column in shape.columns if column.canonical == "product"]
    members += sorted(
        (key, column.sql_name)
        for column in shape.columns
        if (key := column.canonical.removeprefix("product_")) != column.canonical and key not in NO_PRICE_DETAILS
    )
    return _json_object(members)


def _gathered(shape: Shape, map_column: str, keys: dict[str, str | None]) -> str:
    """The map column itself; if it is empty, a JSON object of the columns that each hold one of its keys.

    Row by row: landed rows do not show which of both the file had.
    """
    map_itself = f"nullif({_column(shape, map_column)}, '{{}}')"
    members = sorted((key, name) for name, key in keys.items() if key is not None)
    if not members:
        return map_itself
    return f"coalesce({map_itself}, {_json_object(members)})"


def _json_object(members: Sequence[tuple[str, str]]) -> str:
    """A JSON object of (key, column) pairs, without the keys of empty columns; NULL if all are empty."""
    if not members:
        return "NULL::VARCHAR"
    entries = ", ".join(f"',' || {quote(json_key(key))} || ':' || to_json(source.{name})" for key, name in members)
    return f"nullif('{{' || substr(concat({entries}), 2) || '}}', '{{}}')"
