"""Prune: delete history that was withdrawn longer ago than it is to be kept; only on request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from billfold.errors import UsageError
from billfold.settings import Settings
from billfold.store.database import Database, connect
from billfold.store.deliveries import history
from billfold.store.deliveries.history import Forgotten


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruning:
    """What a prune deleted, or would delete: withdrawn line items and charges of each statement."""

    before: datetime
    is_dry_run: bool
    statements: tuple[Forgotten, ...]


def prune(
    *,
    settings: Settings,
    database: Database,
    keep_days: int | None = None,
    client_id: str | None = None,
    dry_run: bool = False,
    now: datetime | None = None,
) -> Pruning:
    """Delete the history that was withdrawn more than `keep_days` ago (BILLFOLD_KEEP_HISTORY_DAYS by default).

    Bills of any later time can still be queried and restored; earlier ones are refused from then on. Restatements stay,
    so the daily costs of any time can still be queried. One short transaction for each statement. Raises UsageError if
    neither the setting nor `keep_days` says how long history is kept.
    """
    days = keep_days if keep_days is not None else settings.keep_history_days
    if days is None:
        raise UsageError("no retention period is set", advice="set BILLFOLD_KEEP_HISTORY_DAYS or give --keep-days")
    before = (now or datetime.now(UTC)) - timedelta(days=days)
    with connect(database.conninfo) as connection:
        forgettable = history.list_forgettable(connection, before, client_id=client_id)

        def forget_each() -> Iterator[Forgotten]:
            for statement in forgettable:
                yield (
                    history.count(connection, statement)
                    if dry_run
                    else history.forget(connection, statement, lock_timeout_seconds=settings.lock_timeout_seconds)
                )

        return Pruning(before=before, is_dry_run=dry_run, statements=tuple(forget_each()))
