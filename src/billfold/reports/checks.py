"""Checks: the data quality of each statement's bill, in rows and money."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from billfold.selection import Filter
from billfold.store.database import Database
from billfold.store.reports import reading


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRow:
    """One check of one publication's bill; `cost` is exact text by currency.

    `is_current` says whether that bill is still current. `row_count` counts charges, or what `detail` says.
    """

    statement_id: int
    client_id: str
    export_name: str
    billing_period: str
    publication_number: int
    is_current: bool
    publication_id: int
    delivery_id: UUID
    name: str
    state: str
    row_count: int
    cost: Mapping[str, str]
    detail: str
    checked_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """Checks, the newest month first and warned ones before passed ones, and the statements that have none.

    A statement is unchecked if its current bill is older than the checks, or if they failed.
    """

    rows: tuple[CheckRow, ...]
    unchecked: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unchecked:
    statement_id: int


def list_checks(database: Database, wanted: Filter, *, every: bool = False) -> CheckReport:
    """The checks of current bills, or of all publications with `every`; `wanted.state` is a check's."""
    parameters = {**wanted.parameters(), "every": every, "statements": None}
    with reading.read(database) as connection:
        rows = reading.fetch(connection, "list_checks", CheckRow, parameters)
        unchecked = reading.fetch(connection, "list_unchecked", _Unchecked, parameters)
    return CheckReport(rows=rows, unchecked=tuple(row.statement_id for row in unchecked))
