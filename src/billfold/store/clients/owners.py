"""The owners of accounts in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.rows import class_row

from billfold.sql import read_queries
from billfold.store.database import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountOwner:
    """The owner of a 12-digit account. A name of None keeps the known name, an empty one removes it."""

    account_id: str
    owner: str
    account_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnersWritten:
    """How many accounts got an owner, changed owner or name, stayed the same, or lost their owner."""

    added_count: int
    changed_count: int
    unchanged_count: int
    removed_count: int


def list_foreign_accounts(connection: Connection, client_id: str, account_ids: Sequence[str]) -> dict[str, str]:
    """The accounts that belong to another client and not to this one too, each with that client."""
    parameters = {"client": client_id, "account_ids": list(account_ids)}
    return dict(connection.execute(_query("list_foreign_accounts"), parameters).fetchall())


def write_owners(
    connection: Connection, client_id: str, owners: Sequence[AccountOwner], *, is_whole: bool
) -> OwnersWritten:
    """Write all owners or, on an error, none; `is_whole` removes the owners of the client's other accounts."""
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
    """Remove the account's owner and return it; None if it had none."""
    row = connection.execute(_query("remove_owner"), {"client": client_id, "account_id": account_id}).fetchone()
    return row[0] if row else None


def _query(name: str) -> bytes:
    return read_queries("billfold.store.clients", "owners")[name].encode()
