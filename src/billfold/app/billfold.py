"""Billfold, the object: what only reads comes from `Reading`, and here is what changes something.

Imports are lazy: making the object loads no driver.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from billfold.app.clients import Clients
from billfold.app.counting import Counting
from billfold.app.dashboard import Dashboard
from billfold.app.jobs import Jobs
from billfold.app.owners import Owners
from billfold.app.reading import Reading
from billfold.app.requests import Requests
from billfold.app.tokens import Tokens
from billfold.app.wanted import AnyClient, DeliveryId, Month, Which, as_delivery_id, as_period
from billfold.model import TriggerSource

if TYPE_CHECKING:
    from billfold.aws import Progress
    from billfold.bills.backfill import BackfillReport, OnDelivery
    from billfold.bills.ingestion import OnLeftOut
    from billfold.bills.prune import Pruning
    from billfold.bills.remap import Remapping
    from billfold.bills.rollback import Restoration
    from billfold.model import DeliveryOutcome
    from billfold.settings import Settings
    from billfold.store.backup import Backup
    from billfold.store.database import Database
    from billfold.store.migrate import Migration


class Billfold(Reading):
    """Everything that Billfold does: a method for each command, an attribute for each group of commands.

    An argument that is left out has the command's default. Threads may share an object: each call has its own
    connection. Make the object in each process: after a fork, and in each of several processes on one home.

    Attributes: `clients` and `owners` (list, set, import), `tokens` of the server, `counting` (which of several
    statements with the same bill costs include), `requests` (work for the workers), `jobs` (their queue), and
    `dashboard`, the reports of its pages.
    """

    def __init__(self, settings: Settings, *, database: Database | None = None) -> None:
        super().__init__(settings, database=database)
        self.clients = Clients(self)
        self.owners = Owners(self)
        self.tokens = Tokens(self)
        self.counting = Counting(self)
        self.requests = Requests(self)
        self.jobs = Jobs(self)
        self.dashboard = Dashboard(self)

    def ingest(
        self,
        source: str | Path,
        *,
        client: AnyClient = None,
        month: Month | None = None,
        force: bool = False,
        trigger: TriggerSource = TriggerSource.CLI,
        is_event: bool = False,
        progress: Progress | None = None,
        on_left_out: OnLeftOut | None = None,
    ) -> list[DeliveryOutcome]:
        """Ingest what `source` contains: `s3://bucket/key`, a key of the client's bucket, or a local file or folder.

        Each delivery is published in one transaction, the oldest month first; a failed one is an outcome with its
        `exit_error` and does not stop the others. Raises only what keeps all of them from being tried.

        >>> [outcome.state for outcome in billfold.ingest(bucket)]
        [<DeliveryState.PUBLISHED: 'published'>]
        """
        from billfold.bills.ingest import ingest

        return ingest(
            str(source),
            client=self._resolve(client),
            settings=self.settings,
            database=self.database,
            trigger=trigger,
            force=force,
            progress=progress,
            is_event=is_event,
            on_left_out=on_left_out,
            month=as_period(month),
        )

    def backfill(
        self,
        *,
        client: AnyClient = None,
        since: Month | None = None,
        trigger: TriggerSource = TriggerSource.CLI,
        progress: Progress | None = None,
        on_delivery: OnDelivery | None = None,
    ) -> BackfillReport:
        """Ingest every statement in the client's folder that is not current, the oldest month first.

        >>> billfold.backfill(client="acme", since="2026-01").counts
        {'current': 0, 'published': 1}
        """
        from billfold.bills.backfill import backfill

        return backfill(
            client=self._resolve(client),
            settings=self.settings,
            database=self.database,
            since=as_period(since),
            trigger=trigger,
            progress=progress,
            on_delivery=on_delivery,
        )

    def release(self, delivery: DeliveryId, *, progress: Progress | None = None) -> list[DeliveryOutcome]:
        """Ingest a held delivery although it leaves little of its statement's bill.

        Raises UsageError for a delivery that is not held or that a newer one has replaced at its key.

        >>> billfold.release("0b0e7f0e")
        Traceback (most recent call last):
        ...
        UsageError: there is no delivery 0b0e7f0e: `billfold deliveries` lists them
        """
        from billfold.bills.release import release
        from billfold.clients import registry

        delivery_id = as_delivery_id(self.database, delivery)
        client = registry.resolve_client_of_delivery(self.database, self.settings, delivery_id)
        return release(delivery_id, client=client, settings=self.settings, database=self.database, progress=progress)

    def rollback(self, delivery: DeliveryId) -> Restoration:
        """Restore exactly what was published before a statement's current delivery, in one transaction.

        The delivery stays rolled back until `undo`, `ingest` with `force`, or a newer delivery. Raises UsageError for
        a delivery that is not current, and RunConflictError while a worker is changing the statement.

        >>> billfold.rollback(billfold.deliveries()[0].delivery_id).rows_after
        0
        """
        from billfold.bills.rollback import roll_back

        return roll_back(as_delivery_id(self.database, delivery), settings=self.settings, database=self.database)

    def undo(self, delivery: DeliveryId) -> Restoration:
        """Undo the rollback of a delivery; raises UsageError where the statement has changed since.

        >>> current = billfold.deliveries()[0].delivery_id
        >>> rolled_back = billfold.rollback(current)
        >>> billfold.undo(current).rows_added == rolled_back.rows_removed
        True
        """
        from billfold.bills.rollback import roll_back

        return roll_back(
            as_delivery_id(self.database, delivery), settings=self.settings, database=self.database, undo=True
        )

    def remap(
        self,
        *,
        force: bool = False,
        on_remapped: Callable[[Remapping], None] = lambda _remapping: None,
        **which: Unpack[Which],
    ) -> list[Remapping]:
        """Make the charges again from the landed line items with this version's mapping, without AWS.

        Statements whose charges this version made are left as they are, unless `force`. One transaction each.

        >>> [remapping.state for remapping in billfold.remap(force=True)]
        [<RemapState.REMAPPED: 'remapped'>]
        """
        from billfold.bills.remap import remap

        return remap(
            settings=self.settings,
            database=self.database,
            client=which.get("client"),
            export=which.get("export"),
            period=as_period(which.get("month")),
            statement_id=which.get("statement"),
            force=force,
            on_remapped=on_remapped,
        )

    def prune(self, *, keep_days: int | None = None, client: str | None = None, dry_run: bool = False) -> Pruning:
        """Delete line items and charges that were withdrawn more than `keep_days` ago, or only say which.

        BILLFOLD_KEEP_HISTORY_DAYS is the default; raises UsageError where neither is set.

        >>> billfold.prune(keep_days=400, dry_run=True).statements
        ()
        """
        from billfold.bills.prune import prune

        return prune(
            settings=self.settings, database=self.database, keep_days=keep_days, client_id=client, dry_run=dry_run
        )

    def migrate(self) -> tuple[Migration, ...]:
        """Bring the schema up to this version and return what was applied: needed for a database of DATABASE_URL.

        >>> billfold.migrate()
        ()
        """
        from billfold.store.database import open_database
        from billfold.store.migrate import migrate_database

        return migrate_database(open_database(self.settings) if self._is_own else self.database)

    def back_up(self, folder: str | Path) -> Backup:
        """Copy the embedded database with its home into a new folder while others use it.

        Raises UsageError for a folder that is not empty, and ConfigurationError for a database of DATABASE_URL.

        >>> with Billfold(settings) as embedded:
        ...     applied = embedded.migrate()
        ...     embedded.back_up(folder / "backup").holds
        ('postgres',)
        """
        from billfold.store import backup

        return backup.back_up(self.settings, Path(folder))

    def restore(self, folder: str | Path) -> Backup:
        """Bring a backup into BILLFOLD_HOME, which must have no database: completely or not at all.

        >>> with Billfold(settings) as embedded:
        ...     applied = embedded.migrate()
        ...     made = embedded.back_up(folder / "backup")
        >>> Billfold(Settings(home=folder / "new-home")).restore(folder / "backup") == made
        True
        """
        from billfold.store import backup

        return backup.restore(self.settings, Path(folder))
