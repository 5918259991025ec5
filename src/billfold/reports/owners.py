"""Owners: who owns which account, and which accounts with costs have no owner."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from billfold.store.database import Database
from billfold.store.reports import reading


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerRow:
    """An account with its owner; `account_name` is the operator's name for it, if any."""

    client_id: str
    account_id: str
    owner: str
    account_name: str | None
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UnownedRow:
    """The cost of an account without an owner in its latest month with costs: exact, billed, by currency.

    `account_name` is AWS's name for it, if the bill has one.
    """

    client_id: str
    account_id: str
    account_name: str | None
    billing_period: str
    currency: str
    cost: Decimal


def list_owners(database: Database, client: str | None = None) -> tuple[OwnerRow, ...]:
    """The accounts that have an owner, by owner; of all clients or of one."""
    with reading.read(database) as connection:
        return reading.fetch(connection, "list_owners", OwnerRow, {"client": client})


def list_accounts_without_owner(database: Database, client: str | None = None) -> tuple[UnownedRow, ...]:
    """The accounts that have costs and no owner, the latest month first, then the most expensive first."""
    with reading.read(database) as connection:
        return reading.fetch(connection, "list_accounts_without_owner", UnownedRow, {"client": client})
