"""Map: the added line items to charges, by the rules of `sql/map_cur` and `sql/map_focus.sql`."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import duckdb
import pyarrow as pa

from billfold.model import CostBasis, ExportFormat, Residual
from billfold.period import BillingPeriod
from billfold.transform.line_items import create_discount_macros, create_line_items, discount_parts, total_discount
from billfold.transform.session import run_script
from billfold.transform.shape import Shape

# Increased with every change of a rule: a delivery records the version that made its charges.
MAPPING_VERSION = 3

# The part of a row's discounts that is added to its gross cost.
_BILLED_DISCOUNT = {
    CostBasis.GROSS: "NULL::VARCHAR",
    CostBasis.NET: "NULL::VARCHAR",
    CostBasis.GROSS_PLUS_DISCOUNTS: "CASE WHEN has_amount(terms) THEN terms END",
    CostBasis.GROSS_MINUS_DISCOUNTS: "CASE WHEN has_amount(terms) THEN negated(terms) END",
}


def choose_cost_basis(session: duckdb.DuckDBPyConnection, shapes: Sequence[Shape]) -> CostBasis:
    """Net if any line item has a net cost, else gross: once per statement, never row by row.

    AWS only fills the net columns if the account has a discount in the billing period; a choice per row would count a
    discount line item twice. If an export lacks the net columns, the discounts in its rows are billed, unless separate
    line items repeat them (AWS's blog on bundled discounts).
    """
    if any(
        _count(session, shape, "line_item_net_unblended_cost", "number_text(value) IS NOT NULL") for shape in shapes
    ):
        return CostBasis.NET
    create_discount_macros(session, shapes)
    written = [_count_discounts(session, shape) for shape in shapes if shape.export_format is not ExportFormat.FOCUS]
    if not any(count for count, _, _ in written) or any(_has_discount_items(session, shape) for shape in shapes):
        return CostBasis.GROSS
    below, above = (sum(counts[sign] for counts in written) for sign in (1, 2))
    return CostBasis.GROSS_MINUS_DISCOUNTS if above > below else CostBasis.GROSS_PLUS_DISCOUNTS


def _count(session: duckdb.DuckDBPyConnection, shape: Shape, canonical: str, condition: str) -> int:
    """How many rows have a `value` of the column for which the condition holds."""
    column = shape.find(canonical)
    if column is None:
        return 0
    where = condition.replace("value", f"source.{column.sql_name}")
    return int(session.execute(f"SELECT count(*) FROM {shape.table} AS source WHERE {where}").fetchall()[0][0])


def _count_discounts(session: duckdb.DuckDBPyConnection, shape: Shape) -> tuple[int, int, int]:
    """How many rows have a discount, and on rows with a positive cost, how many discounts are below and above 0.

    A discount lowers a positive cost, so these rows show the export's sign. Refunds and credits do not: the sign of
    their discounts is undocumented.
    """
    cost = shape.find("line_item_unblended_cost")
    terms = f"coalesce({total_discount(shape)}, {discount_parts(shape)})"
    # Most exports have the columns but no discount; some have neither.
    if cost is None or "source." not in terms:
        return 0, 0, 0
    found = session.execute(
        "SELECT count(*), coalesce(sum(below) FILTER (WHERE costs), 0), coalesce(sum(above) FILTER (WHERE costs), 0)"
        " FROM (SELECT len(list_filter(terms, lambda term: starts_with(term, '-'))) AS below,"
        " len(list_filter(terms, lambda term: NOT starts_with(term, '-'))) AS above,"
        f" has_amount(trim(source.{cost.sql_name})) AND NOT starts_with(trim(source.{cost.sql_name}), '-') AS costs"
        f" FROM (SELECT *, list_filter(string_split({terms}, ' '), lambda term: has_amount(term)) AS terms"
        f" FROM {shape.table} AS source) AS source WHERE len(terms) > 0)"
    ).fetchall()[0]
    return int(found[0]), int(found[1]), int(found[2])


def _has_discount_items(session: duckdb.DuckDBPyConnection, shape: Shape) -> bool:
    kind, cost = shape.find("line_item_line_item_type"), shape.find("line_item_unblended_cost")
    if kind is None or cost is None:
        return False
    found = session.execute(
        f"SELECT count(*) FROM {shape.table} WHERE {kind.sql_name} LIKE '%Discount' AND has_amount({cost.sql_name})"
    ).fetchall()
    return bool(found[0][0])


def prepare_mapping(
    session: duckdb.DuckDBPyConnection,
    shapes: Sequence[Shape],
    *,
    basis: CostBasis,
    currency: str,
    all_rows: bool,
    keep_classified: bool,
    with_charges: bool = True,
) -> None:
    """Create the view `ledger` (all line items' money) and, `with_charges`, the table `charge` (the added ones').

    With `all_rows`, all line items are mapped: all are new, or the statement's basis or the mapping has changed.
    With `keep_classified`, the classified line items are written to a table, so that binding the next queries is quick;
    otherwise they are a view, and a large bill is not written twice. It must be the same for all calls in a session.
    """
    net = basis is CostBasis.NET
    session.execute(f"CREATE OR REPLACE TEMP MACRO is_net_basis() AS {str(net).lower()}")
    session.execute("CREATE OR REPLACE TEMP MACRO billed_discount(terms) AS " + _BILLED_DISCOUNT[basis])
    # A row without a net value keeps its gross value; discount rows, which would then count twice, are left out.
    session.execute(
        "CREATE OR REPLACE TEMP MACRO on_basis(gross, net) AS " + ("coalesce(net, gross)" if net else "gross")
    )
    # AWS's values after all discounts belong to every basis that bills discounts.
    session.execute(
        "CREATE OR REPLACE TEMP MACRO after_discounts(gross, net) AS "
        + ("gross" if basis is CostBasis.GROSS else "coalesce(net, gross)")
    )
    session.execute(
        "CREATE OR REPLACE TEMP VIEW line_item_identity AS SELECT row_identity.*, "
        + ("true" if all_rows else "added_row.row IS NOT NULL")
        + " AS is_added FROM row_identity"
        + ("" if all_rows else " LEFT JOIN added_row USING (shape, row)")
    )
    create_line_items(session, shapes, currency=currency)
    if shapes[0].export_format is ExportFormat.FOCUS:
        run_script(session, "map_focus")
    else:
        # In the order of their dependencies; `kinds` was run when the session began.
        kept = "TABLE" if keep_classified else "VIEW"
        run_script(session, "map_cur/classified", start=f"CREATE OR REPLACE TEMP {kept} classified AS")
        for name in ("ledger", "services", "charges") if with_charges else ("ledger",):
            run_script(session, f"map_cur/{name}")


def read_ledger(session: duckdb.DuckDBPyConnection) -> pa.RecordBatchReader:
    """The money of all line items as text, grouped by equal texts: PostgreSQL sums it exactly."""
    return session.sql("FROM ledger").to_arrow_reader(100_000)


def add_residuals(session: duckdb.DuckDBPyConnection, residuals: Sequence[Residual], *, period: BillingPeriod) -> None:
    """Add one Adjustment charge per payer and currency for the difference of covered usage and its negations.

    Its occurrence is 0, its period the whole billing period, and its EffectiveCost 0: it is not part of amortised cost.
    """
    for residual in residuals:
        session.execute(
            "INSERT INTO charge BY NAME SELECT $row_hash::UUID AS row_hash, 0 AS occurrence, 0 AS part,"
            " $starts_on::TIMESTAMPTZ AS charge_period_start, $ends_on::TIMESTAMPTZ AS charge_period_end,"
            " 'Adjustment' AS charge_category, 'One-Time' AS charge_frequency, 'Other' AS pricing_category,"
            " $payer AS billing_account_id, 'Payer Account' AS billing_account_type, 'AWS' AS provider_name,"
            " 'AWS' AS publisher_name, 'AWS' AS invoice_issuer_name, 'Savings Plans' AS service_name,"
            " 'Other' AS service_category, 'Other (Other)' AS service_subcategory,"
            " 'Savings Plan covered usage and negation do not cancel out' AS charge_description,"
            " $currency AS billing_currency, $currency AS pricing_currency, $cost AS billed_cost,"
            " '0' AS effective_cost, $cost AS list_cost, $cost AS contracted_cost",
            {
                "row_hash": str(residual.row_hash),
                "payer": residual.billing_account_id,
                "currency": residual.billing_currency,
                "cost": format(residual.cost, "f"),
                "starts_on": str(period.starts_on),
                "ends_on": str(period.ends_on),
            },
        )


def withdraw_residuals(session: duckdb.DuckDBPyConnection, row_hashes: Sequence[UUID]) -> None:
    """Withdraw these Adjustment charges of the statement with the removed rows."""
    for row_hash in row_hashes:
        session.execute("INSERT INTO removed_row VALUES ($1::UUID, 0)", [str(row_hash)])
