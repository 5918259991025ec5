"""Tokens in PostgreSQL: their hashes, their scopes, and when they were last used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row

from billfold.sql import read_queries
from billfold.store.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token. `client_id` is the only client that it can reach; None reaches all clients."""

    token_id: int
    name: str
    scopes: Sequence[str]
    client_id: str | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    is_expired: bool


def insert_token(
    connection: Connection,
    *,
    name: str,
    token_hash: bytes,
    scopes: Sequence[str],
    client_id: str | None,
    expires_days: int | None,
) -> Token | None:
    """Store a new token; None if a valid one has this name."""
    parameters = {
        "name": name,
        "token_hash": token_hash,
        "scopes": list(scopes),
        "client_id": client_id,
        "expires_days": expires_days,
    }
    return _one(connection, "insert_token", parameters)


def list_tokens(connection: Connection) -> list[Token]:
    """All tokens that were ever made, oldest first."""
    with connection.cursor(row_factory=class_row(Token)) as cursor:
        return cursor.execute(_query("list_tokens")).fetchall()


def find_token(connection: Connection, token_hash: bytes) -> Token | None:
    """The valid token with this hash; None if it does not exist, is revoked or has expired."""
    return _one(connection, "find_token", {"token_hash": token_hash})


def note_use(connection: Connection, token_id: int) -> None:
    """Record that the token was used now, at most once a minute."""
    connection.execute(_query("note_use"), {"token_id": token_id})


def revoke_token(connection: Connection, *, token_id: int | None, name: str | None) -> Token | None:
    """Revoke the valid token with this id or name; None if there is none."""
    return _one(connection, "revoke_token", {"token_id": token_id, "name": name})


def revoke_of_client(connection: Connection, client_id: str) -> None:
    """Revoke all tokens of this client."""
    connection.execute(_query("revoke_of_client"), {"client_id": client_id})


def was_any_made(connection: Connection) -> bool:
    """Whether there ever was a token."""
    row = connection.execute(_query("was_any_made")).fetchone()
    assert row is not None
    return bool(row[0])


def _one(connection: Connection, name: str, parameters: Mapping[str, Any]) -> Token | None:
    with connection.cursor(row_factory=class_row(Token)) as cursor:
        return cursor.execute(_query(name), parameters).fetchone()


def _query(name: str) -> bytes:
    return read_queries("billfold.store.clients", "tokens")[name].encode()
