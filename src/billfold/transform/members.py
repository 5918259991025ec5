"""Members of dimensions: the charges' attributes and their hashes go out, the members' keys come back."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pyarrow as pa

from billfold.dimensions import DIMENSIONS, Dimension
from billfold.transform.line_items import NO_PRICE_DETAILS
from billfold.transform.session import create_macros, quote

Filled = frozenset[str]


def find_filled(session: duckdb.DuckDBPyConnection) -> Filled:
    """The charge's columns, among those of dimensions, that have a value in any charge.

    The queries leave the others out: a small bill fills few of them, and binding the rules for its missing tags would
    take longer than anything else.
    """
    columns = sorted(
        {
            prefix + source
            for dimension in DIMENSIONS
            for _, prefix in dimension.key_columns
            for source in dimension.sources
        }
    )
    counts = ", ".join(f"count({column})" for column in columns)
    [found] = session.execute(f"SELECT {counts} FROM charge").fetchall()
    return frozenset(column for column, count in zip(columns, found, strict=True) if count)


def is_named(dimension: Dimension, filled: Filled) -> bool:
    """Whether any charge names a member of the dimension."""
    return any(_filled_roles(dimension, filled))


def read_members(
    session: duckdb.DuckDBPyConnection, dimension: Dimension, filled: Filled, *, client_id: str, from_cur: bool
) -> pa.RecordBatchReader:
    """The distinct members that the charges name: member_hash, client_id (if the dimension has it), attributes.

    Leaves the table `member_<name>`: the charge's own texts of the sources beside the member's hash. Tags get the keys
    that FOCUS wants here, once per distinct set. A row without a value in any attribute is not a member.
    """
    sources = _filled_sources(dimension, filled)
    texts = " UNION ".join(
        "SELECT DISTINCT "
        + ", ".join(
            f"{prefix}{source} AS {source}" if prefix + source in filled else f"NULL::VARCHAR AS {source}"
            for source in sources
        )
        + f" FROM charge WHERE coalesce({', '.join(prefix + each for each in sources if prefix + each in filled)})"
        " IS NOT NULL"
        for _, prefix in _filled_roles(dimension, filled)
    )
    values = {
        attribute: _as_member(session, dimension, attribute, sources, from_cur=from_cur)
        for attribute in dimension.attributes
    }
    given = {attribute: value for attribute, value in values.items() if value}
    client = f"{quote('client_id')} || prefixed({quote(client_id)})," if dimension.of_client else ""
    spelled = ", ".join(f"{quote(attribute)} || prefixed(member_{attribute})" for attribute in given)
    named = ", ".join(f"{value} AS member_{attribute}" for attribute, value in given.items())
    # An attribute without a value is left out of the spelling: a new one leaves known hashes as they are.
    session.execute(
        f"CREATE OR REPLACE TABLE member_{dimension.name} AS"
        f" SELECT *, md5(concat({client}{spelled}))::UUID AS member_hash FROM (SELECT *, {named} FROM ({texts}))"
        f" WHERE coalesce({', '.join(f'member_{attribute}' for attribute in given)}) IS NOT NULL"
    )
    client_column = f"{quote(client_id)} AS client_id, " if dimension.of_client else ""
    columns = ", ".join(
        (f"any_value(member_{attribute})" if value else "NULL::VARCHAR")
        + ("::JSON" if attribute in dimension.json_attributes else "")
        + f" AS {attribute}"
        for attribute, value in values.items()
    )
    return session.sql(
        f"SELECT member_hash, {client_column}{columns} FROM member_{dimension.name} GROUP BY member_hash"
    ).to_arrow_reader(50_000)


def _as_member(
    session: duckdb.DuckDBPyConnection,
    dimension: Dimension,
    attribute: str,
    sources: tuple[str, ...],
    *,
    from_cur: bool,
) -> str | None:
    """The member's value of an attribute; None where no charge has one. Creates the macros that it needs."""
    texts = {source: source if source in sources else "NULL::VARCHAR" for source in dimension.sources}
    if attribute in ("tags", "cost_categories") and from_cur:
        if attribute not in sources and "tag_map" not in sources:
            return None
        create_macros(session, "cur_tags")
        return f"cur_{attribute}_text({texts[attribute]}, {texts['tag_map']})"
    if attribute not in sources:
        return None
    if attribute not in dimension.json_attributes:
        return attribute
    if attribute == "sku_price_details" and from_cur:
        create_macros(session, "price_details")
        left_out = ", ".join(quote(key) for key in sorted(NO_PRICE_DETAILS))
        return f"price_details_text(sku_price_details, [{left_out}])"
    create_macros(session, "typed_maps")
    return "tags_text(tags)" if attribute == "tags" else f"typed_object_text({attribute})"


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


def join_keys(filled: Filled) -> tuple[str, str]:
    """The key columns and the joins that find them, for a query over `charge`."""
    columns: list[str] = []
    joins: list[str] = []
    for dimension in DIMENSIONS:
        named = dict(_filled_roles(dimension, filled))
        for key_column, prefix in dimension.key_columns:
            if key_column not in named:
                columns.append(f"NULL::INTEGER AS {key_column}")
                continue
            alias = f"found_{key_column}"
            matches = " AND ".join(
                f"{alias}.{source} IS NOT DISTINCT FROM charge.{prefix}{source}"
                for source in _filled_sources(dimension, filled)
            )
            columns.append(f"{alias}.{dimension.key}::INTEGER AS {key_column}")
            joins.append(f"LEFT JOIN key_{dimension.name} AS {alias} ON {matches}")
    return ", ".join(columns), " ".join(joins)


def _filled_roles(dimension: Dimension, filled: Filled) -> Iterator[tuple[str, str]]:
    """The (key column, prefix) pairs in which a charge has a value."""
    for key_column, prefix in dimension.key_columns:
        if any(prefix + source in filled for source in dimension.sources):
            yield key_column, prefix


def _filled_sources(dimension: Dimension, filled: Filled) -> tuple[str, ...]:
    """The sources, without their prefix, that a charge has a value of in any role."""
    prefixes = [prefix for _, prefix in dimension.key_columns]
    return tuple(source for source in dimension.sources if any(prefix + source in filled for prefix in prefixes))
