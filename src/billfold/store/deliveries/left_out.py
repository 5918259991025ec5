"""Files that were left out because they are not bills, by the version that was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from billfold.model import Client, SourceObject
from billfold.sql import read_queries
from billfold.store.database import Connection


def find_kinds(connection: Connection, client: Client, sources: Sequence[SourceObject]) -> dict[str, str]:
    """The kinds of those versions that are known not to be bills, by key."""
    rows = connection.execute(_query("find_kinds"), _parameters(client, sources)).fetchall()
    etags = {source.key: source.etag for source in sources}
    return {key: kind for key, etag, kind in rows if etags[key] == etag}


def find_bills(connection: Connection, client: Client, sources: Sequence[SourceObject]) -> set[str]:
    """The keys of which some version came in as a bill: another version at such a key replaces it."""
    rows = connection.execute(_query("find_bills"), _parameters(client, sources)).fetchall()
    return {key for (key,) in rows}


def keep_kinds(connection: Connection, client: Client, kinds: Mapping[SourceObject, str]) -> None:
    """Keep the kinds of these versions, in place of those of earlier versions."""
    parameters = [
        {
            "client_id": client.client_id,
            "bucket": source.bucket,
            "key": source.key,
            "etag": source.etag,
            "kind": kind,
        }
        for source, kind in sorted(kinds.items(), key=lambda item: item[0].key)
    ]
    if parameters:
        with connection.transaction(), connection.cursor() as cursor:
            cursor.executemany(_query("keep_kind"), parameters)


def _parameters(client: Client, sources: Sequence[SourceObject]) -> dict[str, str | list[str]]:
    return {
        "client_id": client.client_id,
        "bucket": sources[0].bucket if sources else "",
        "keys": [source.key for source in sources],
    }


def _query(name: str) -> bytes:
    return read_queries("billfold.store.deliveries", "left_out")[name].encode()
