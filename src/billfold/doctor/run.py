"""A doctor run: the probes of the machine, of the database and of each client, in this order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from billfold.aws import probe_identity, probe_queue
from billfold.aws.credentials import Clock, utc_now
from billfold.doctor.client import choose_clients, probe_client
from billfold.doctor.database import probe_database
from billfold.doctor.machine import probe_machine
from billfold.model import Client, Probe
from billfold.settings import Settings
from billfold.store.database import Database, open_database

OnProbe = Callable[[Probe], None]


def run_doctor(
    *,
    settings: Settings,
    client_id: str | None = None,
    on_probe: OnProbe = lambda _: None,
    open_store: Callable[[Settings], Database] = open_database,
    clock: Clock = utc_now,
) -> tuple[Probe, ...]:
    """Probe everything that an ingest needs, for one client or for all enabled ones; `on_probe` gets each at once.

    Nothing is written or ingested. Raises UsageError for an unknown client. What cannot be reached is a failed probe.
    """
    probes: list[Probe] = []

    def keep(found: Iterable[Probe], client: Client | None = None) -> None:
        for probe in found:
            named = replace(probe, client_id=client.client_id if client else None)
            probes.append(named)
            on_probe(named)

    keep(probe_machine(settings))
    database, found = probe_database(settings, open_store)
    keep(found)
    chosen = choose_clients(database, settings, client_id)
    identity, our_arn = probe_identity(settings, clock)
    keep(identity)
    keep((probe_queue(settings),))
    for client in chosen:
        keep(probe_client(client, settings, database, our_arn, clock), client)
    return tuple(probes)
