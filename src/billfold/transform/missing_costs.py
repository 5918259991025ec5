"""Costs that are nan or infinite: they are treated as missing, and a finding reports them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

import duckdb

from billfold.model import CostBasis
from billfold.transform.columns import SourceColumn
from billfold.transform.shape import Shape

# The unused share in a commitment's fee row; on other rows these columns are not read.
_UNUSED_COLUMNS = frozenset(
    """
    reservation_net_unused_amortized_upfront_fee_for_billing_period reservation_net_unused_recurring_fee
    reservation_unused_amortized_upfront_fee_for_billing_period reservation_unused_recurring_fee
    savings_plan_amortized_upfront_commitment_for_billing_period
    savings_plan_net_amortized_upfront_commitment_for_billing_period
    savings_plan_net_recurring_commitment_for_billing_period savings_plan_recurring_commitment_for_billing_period
    savings_plan_total_commitment_to_date savings_plan_used_commitment
    """.split()
)
_FEES = "('SavingsPlanRecurringFee', 'RIFee')"
# EffectiveCost and the shares of commitments have their own findings, made by the mapping.
_FOCUS_COSTS = frozenset({"ListCost", "ContractedCost"})


def find_missing_costs(
    session: duckdb.DuckDBPyConnection, shapes: Sequence[Shape], *, basis: CostBasis
) -> Iterator[str]:
    """One sentence for each column of money with values that are nan or infinite: how many, and one of them."""
    found: defaultdict[str, int] = defaultdict(int)
    examples: dict[str, str] = {}
    for shape in shapes:
        conditions = {column: _not_a_number(shape, column, basis) for column in shape.columns}
        columns = {column: condition for column, condition in conditions.items() if condition}
        if not columns:
            continue
        counts = ", ".join(
            f"count(*) FILTER (WHERE {condition}), min({column.sql_name}) FILTER (WHERE {condition})"
            for column, condition in columns.items()
        )
        [row] = session.execute(f"SELECT {counts} FROM {shape.table}").fetchall()
        for column, count, example in zip(columns, row[::2], row[1::2], strict=True):
            if count:
                found[column.header] += count
                examples.setdefault(column.header, example)
    for header, count in found.items():
        yield f"{count} line items have no number in {header}, but {examples[header][:40]!r}: it counts as missing"


def _not_a_number(shape: Shape, column: SourceColumn, basis: CostBasis) -> str | None:
    """The condition under which a value of this column is nan or infinite; None for a column without money to lose."""
    name = column.canonical
    condition = f"is_nan_or_infinite({column.sql_name})"
    # On gross basis the net costs are not read.
    if name == "line_item_net_unblended_cost":
        return condition if basis is CostBasis.NET else None
    if name.startswith("discount_") or name in _FOCUS_COSTS:
        return condition
    if name in ("discount", "x_Discounts"):
        return f"has_nan_number({column.sql_name})"
    line_item_type = shape.find("line_item_line_item_type")
    if name in _UNUSED_COLUMNS and line_item_type:
        return f"{condition} AND {line_item_type.sql_name} IN {_FEES}"
    return None
