"""Ingest a source: find its deliveries, then bring each of them in.

`sources` finds the deliveries, `attempt` tries one until it succeeds or gives up, `delivery` does its work under the
statement's claim, and `publication` publishes it.
"""

from __future__ import annotations

from billfold.aws import Progress, SilentProgress
from billfold.bills.attempt import ingest_delivery
from billfold.bills.ingestion import Ingestion, OnLeftOut
from billfold.bills.sources import find_deliveries
from billfold.model import Client, DeliveryOutcome, TriggerSource
from billfold.period import BillingPeriod
from billfold.settings import Settings
from billfold.store.database import Database


def ingest(
    source: str,
    *,
    client: Client,
    settings: Settings,
    database: Database,
    trigger: TriggerSource = TriggerSource.CLI,
    force: bool = False,
    progress: Progress | None = None,
    is_event: bool = False,
    on_left_out: OnLeftOut | None = None,
    month: BillingPeriod | None = None,
) -> list[DeliveryOutcome]:
    """Ingest every delivery of `source`, the oldest billing period first, and return how each of them ended.

    `month` is the billing period of a single file that names none, regardless of when its usage starts. Files in a
    folder that are not bills are left out and passed to `on_left_out`; so is the source itself if it `is_event`.

    A delivery that fails is an outcome with its error, and does not stop the others. A typing error leaves no trace:
    see `typed_sources`. Raises only what prevents every delivery from being tried: configuration, usage, the database.
    """
    ingestion = Ingestion(
        client=client,
        settings=settings,
        database=database,
        trigger=trigger,
        force=force,
        progress=progress or SilentProgress(),
        is_event=is_event,
        is_typed=trigger is TriggerSource.CLI and not is_event,
        on_left_out=on_left_out,
        month=month,
    )
    found, refused = find_deliveries(ingestion, source)
    return refused + [ingest_delivery(ingestion, bucket, delivery) for bucket, delivery in found]
