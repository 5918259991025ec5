"""`billfold.requests`: work for the server's workers, which waits in PostgreSQL."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from billfold.app.wanted import AnyClient, DeliveryId, Month, as_delivery_id, as_period
from billfold.errors import ConfigurationError, UsageError
from billfold.model import Client, TriggerSource

if TYPE_CHECKING:
    from billfold.app.billfold import Billfold
    from billfold.bills.backfill import FolderContents
    from billfold.store.jobs.doctor_runs import DoctorRun
    from billfold.store.jobs.requests import RequestedDelivery


class Requests:
    """Requests of work: each returns at once, and a worker of `billfold serve` does the work."""

    def __init__(self, billfold: Billfold) -> None:
        self._billfold = billfold

    def ingest(
        self,
        key: str,
        *,
        client: AnyClient = None,
        month: Month | None = None,
        trigger: TriggerSource = TriggerSource.API,
        is_event: bool = False,
    ) -> tuple[RequestedDelivery, ...]:
        """Let the deliveries at a key of the client's bucket wait for a worker; what is current needs no work.

        Raises ForbiddenError for a key outside of the client's folder, UsageError for a client without a bucket and
        for a folder with more than 100 deliveries, and the failure where the key has none.

        >>> billfold.requests.ingest("elsewhere/Manifest.json", client="acme")
        Traceback (most recent call last):
        ...
        ForbiddenError: elsewhere/Manifest.json is outside the folder of acme
        """
        from billfold.bills.requests import request

        return request(
            client if isinstance(client, Client) else self._billfold.clients.resolve(client),
            key,
            requested_by=trigger,
            settings=self._billfold.settings,
            database=self._billfold.database,
            is_event=is_event,
            month=as_period(month),
        )

    def visit(self, client: Client) -> FolderContents:
        """Let each delivery in the client's folder that is not current wait for a worker, as the schedule does.

        Raises ConfigurationError for a client without a bucket, and the error that prevents the visit.

        >>> billfold.requests.visit(billfold.clients.resolve())
        Traceback (most recent call last):
        ...
        ConfigurationError: AWS_BILLING_BUCKET is not set: backfill needs it, ...
        """
        from billfold.bills.requests import visit_folder

        return visit_folder(client, settings=self._billfold.settings, database=self._billfold.database)

    def retry(self, delivery: DeliveryId) -> RequestedDelivery:
        """Let a failed delivery wait for another attempt; raises UsageError where that cannot succeed.

        >>> published = billfold.deliveries(limit=1)[0]
        >>> billfold.requests.retry(published.delivery_id)
        Traceback (most recent call last):
        ...
        UsageError: delivery ... is published, not failed: there is nothing to do
        """
        from billfold.bills.requests import request_again

        database = self._billfold.database
        return request_again(as_delivery_id(database, delivery), settings=self._billfold.settings, database=database)

    def release(self, delivery: DeliveryId, *, token_id: int | None = None) -> RequestedDelivery:
        """Release a held delivery and let it wait for a worker; raises UsageError for one that is not held.

        `token_id` names the token of the request in the log.

        >>> published = billfold.deliveries(limit=1)[0]
        >>> billfold.requests.release(published.delivery_id)
        Traceback (most recent call last):
        ...
        UsageError: delivery ...
        """
        from billfold.bills.requests import request_release

        database = self._billfold.database
        return request_release(
            as_delivery_id(database, delivery),
            token_id=token_id,
            settings=self._billfold.settings,
            database=database,
        )

    def find_hindrance(self, delivery: DeliveryId) -> str | None:
        """Why a worker cannot retry a failed delivery or ingest a held one; None where it can.

        >>> published = billfold.deliveries(limit=1)[0]
        >>> billfold.requests.find_hindrance(published.delivery_id)
        'delivery ... is published, not failed: there is nothing to do'
        """
        from billfold.bills.requests import find_hindrance

        database = self._billfold.database
        return find_hindrance(as_delivery_id(database, delivery), settings=self._billfold.settings, database=database)

    def doctor(self, client: str) -> None:
        """Let a doctor run of the client wait for a worker, unless one waits or is running.

        >>> billfold.requests.doctor("acme")
        """
        from billfold.store.database import connect
        from billfold.store.jobs import doctor_runs

        with suppress(UsageError, ConfigurationError):
            # Settings alone do not make its row. What is wrong with the client is what doctor reports.
            self._billfold.clients.keep(client)
        with connect(self._billfold.database.conninfo) as connection:
            doctor_runs.request(connection, client)

    def find_doctor_run(self, client: str) -> DoctorRun | None:
        """The last doctor run of the client that was requested, with what it has found so far.

        >>> billfold.requests.find_doctor_run("nobody")
        """
        from billfold.store.database import connect
        from billfold.store.jobs import doctor_runs

        with connect(self._billfold.database.conninfo) as connection:
            return doctor_runs.find(connection, client)
