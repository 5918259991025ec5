"""The owners of accounts in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.rows import class_row

from billfold.sql import read_queries
from billfold.store.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountOwner:
    """The owner of an account of 12 digits. A name of None keeps the known one, an empty one removes it."""

    account_id: str
    owner: str
    account_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnersWritten:
    """How many accounts got an owner, another owner or name, neither, or lost theirs."""

    added_count: int
    changed_count: int
    unchanged_count: int
    removed_count: int


def list_foreign_accounts(connection: Connection, client_id: str, account_ids: Sequence[str]) -> dict[str, str]:
    """Those of the accounts that belong to another client and not to this one, each with that client."""
    parameters = {"client": client_id, "account_ids": list(account_ids)}
    return dict(connection.execute(_query("list_foreign_accounts"), parameters).fetchall())


def write_owners(
    connection: Connection, client_id: str, owners: Sequence[AccountOwner], *, is_whole: bool
) -> OwnersWritten:
    """Write them all or, where PostgreSQL refuses one, none; `is_whole`: the client's other accounts lose theirs."""
    parameters = {
        "client": client_id,
        "account_ids": [owner.account_id for owner in owners],
        "owners": [owner.owner for owner in owners],
        "account_names": [owner.account_name for owner in owners],
        "is_whole": is_whole,
    }
    with connection.cursor(row_factory=class_row(OwnersWritten)) as cursor:
        [written] = cursor.execute(_query("write_owners"), parameters).fetchall()
    return written


def remove_owner(connection: Connection, client_id: str, account_id: str) -> str | None:
    """Remove the owner of an account; returns the owner, None if it had none."""
    row = connection.execute(_query("remove_owner"), {"client": client_id, "account_id": account_id}).fetchone()
    return row[0] if row else None


def _query(name: str) -> bytes:
    return read_queries("billfold.store.clients", "owners")[name].encode()
