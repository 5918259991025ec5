"""Dimension members: the new ones are inserted and the keys of all are returned."""

from __future__ import annotations

import pyarrow as pa

from billfold.dimensions import Dimension
from billfold.store.database import BulkConnection


def ensure_members(bulk: BulkConnection, dimension: Dimension, members: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """Insert the new members in one short transaction, and return member_hash (text) and key of all of them.

    They are inserted in the order of their hashes, so that two ingestions never wait for each other.
    """
    names = (*(("client_id",) if dimension.of_client else ()), *dimension.attributes)
    types = ", ".join(f"{name} {'json' if name in dimension.json_attributes else 'text'}" for name in names)
    casts = ", ".join(f"{name}::jsonb" if name in dimension.json_attributes else name for name in names)
    columns = ", ".join(names)
    bulk.execute(f"CREATE TEMP TABLE new_member (member_hash uuid, {types}) ON COMMIT DROP")
    bulk.load("new_member", members, temporary=True)
    bulk.execute("ANALYZE new_member (member_hash)")
    bulk.execute(
        f"INSERT INTO {dimension.table} (member_hash, {columns}) SELECT member_hash, {casts} FROM new_member"
        f" WHERE NOT EXISTS (SELECT FROM {dimension.table} AS known WHERE known.member_hash = new_member.member_hash)"
        " ORDER BY member_hash"
        " ON CONFLICT (member_hash) DO NOTHING"
    )
    with bulk.stream(
        f"SELECT member_hash::text AS member_hash, {dimension.key} FROM {dimension.table}"
        " JOIN new_member USING (member_hash)"
    ) as stream:
        keys = stream.read_all()
    bulk.commit()
    return keys.to_reader()
