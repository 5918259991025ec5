"""Dimension members of the charges: their attributes and hashes out, their keys back in."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from billfold.dimensions import DIMENSIONS, Dimension
from billfold.transform.line_items import NO_PRICE_DETAILS
from billfold.transform.session import quote


def read_members(
    session: duckdb.DuckDBPyConnection, dimension: Dimension, *, client_id: str, from_cur: bool
) -> pa.RecordBatchReader:
    """The distinct members that the charges name: member_hash, client_id (if the dimension has it), attributes.

    Leaves the table `member_<name>`: the charge's own texts of the sources beside the member's hash. Tags get the keys
    that FOCUS asks for here, once per distinct set. What has no value in any attribute is not a member.
    """
    texts = " UNION ".join(
        "SELECT DISTINCT "
        + ", ".join(f"{prefix}{source} AS {source}" for source in dimension.sources)
        + " FROM charge WHERE"
        + f" coalesce({', '.join(prefix + source for source in dimension.sources)}) IS NOT NULL"
        for _, prefix in dimension.key_columns
    )
    values = {
        attribute: _as_member(attribute, is_json=attribute in dimension.json_attributes, from_cur=from_cur)
        for attribute in dimension.attributes
    }
    client = f"{quote('client_id')} || prefixed({quote(client_id)})," if dimension.of_client else ""
    spelled = ", ".join(f"{quote(attribute)} || prefixed(member_{attribute})" for attribute in values)
    named = ", ".join(f"{value} AS member_{attribute}" for attribute, value in values.items())
    # An attribute without a value is left out of the spelling: a new one leaves known hashes as they are.
    session.execute(
        f"CREATE OR REPLACE TABLE member_{dimension.name} AS"
        f" SELECT *, md5(concat({client}{spelled}))::UUID AS member_hash FROM (SELECT *, {named} FROM ({texts}))"
        f" WHERE coalesce({', '.join(f'member_{attribute}' for attribute in dimension.attributes)}) IS NOT NULL"
    )
    client_column = f"{quote(client_id)} AS client_id, " if dimension.of_client else ""
    columns = ", ".join(
        f"any_value(member_{attribute}){'::JSON' if attribute in dimension.json_attributes else ''} AS {attribute}"
        for attribute in dimension.attributes
    )
    return session.sql(
        f"SELECT member_hash, {client_column}{columns} FROM member_{dimension.name} GROUP BY member_hash"
    ).to_arrow_reader(50_000)


def _as_member(attribute: str, *, is_json: bool, from_cur: bool) -> str:
    if attribute == "tags":
        return "cur_tags_text(tags, tag_map)" if from_cur else "tags_text(tags)"
    if attribute == "cost_categories" and from_cur:
        return "cur_cost_categories_text(cost_categories, tag_map)"
    if attribute == "sku_price_details":
        if not from_cur:
            return "typed_object_text(sku_price_details)"
        left_out = ", ".join(quote(key) for key in sorted(NO_PRICE_DETAILS))
        return f"price_details_text(sku_price_details, [{left_out}])"
    return f"typed_object_text({attribute})" if is_json else attribute


def keep_keys(session: duckdb.DuckDBPyConnection, dimension: Dimension, keys: pa.RecordBatchReader) -> None:
    """Take the members' keys (member_hash as text, key) back into the session as `key_<name>`."""
    session.register("key_stream", keys)
    session.execute(
        f"CREATE OR REPLACE TABLE key_{dimension.name} AS SELECT members.*, key_stream.{dimension.key}"
        f" FROM member_{dimension.name} AS members"
        " JOIN (SELECT member_hash::UUID AS member_hash, * EXCLUDE (member_hash) FROM key_stream) AS key_stream"
        " USING (member_hash)"
    )
    session.unregister("key_stream")


def join_keys() -> tuple[str, str]:
    """The key columns and the joins that find them, for a query over `charge`."""
    columns: list[str] = []
    joins: list[str] = []
    for dimension in DIMENSIONS:
        for key_column, prefix in dimension.key_columns:
            alias = f"found_{key_column}"
            matches = " AND ".join(
                f"{alias}.{source} IS NOT DISTINCT FROM charge.{prefix}{source}" for source in dimension.sources
            )
            columns.append(f"{alias}.{dimension.key}::INTEGER AS {key_column}")
            joins.append(f"LEFT JOIN key_{dimension.name} AS {alias} ON {matches}")
    return ", ".join(columns), " ".join(joins)
