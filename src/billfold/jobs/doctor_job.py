"""A doctor run that the dashboard requested: its probes are kept as they are found, for the page that waits."""

from __future__ import annotations

import time

import structlog

from billfold.app import Billfold
from billfold.errors import BillfoldError
from billfold.jobs.results import Done
from billfold.log import Event
from billfold.model import Probe
from billfold.settings import Settings
from billfold.store.database import Database, connect
from billfold.store.jobs import doctor_runs

log = structlog.get_logger(__name__)


class _TimeIsUpError(Exception):
    """The limit has passed: what is found now comes too late."""


def run_doctor_job(client_id: str, settings: Settings, database: Database) -> Done:
    """Run doctor for the client, and keep what it finds; raises StoreError if it cannot be kept."""
    started = time.monotonic()

    def keep(probe: Probe) -> None:
        if time.monotonic() - started >= doctor_runs.LIMIT_SECONDS:
            raise _TimeIsUpError
        with connect(database.conninfo) as connection:
            doctor_runs.add_probe(connection, client_id, probe)

    with connect(database.conninfo) as connection:
        doctor_runs.begin(connection, client_id)
    is_cut_off, error = False, None
    try:
        Billfold(settings, database=database).doctor(client_id, on_probe=keep)
    except _TimeIsUpError:
        is_cut_off = True
    except BillfoldError as met:
        # Its advice may name other clients.
        error = met.message
    except Exception:
        log.exception(Event.INTERNAL_ERROR)
        error = "internal error in Billfold: the log has the traceback"
    with connect(database.conninfo) as connection:
        doctor_runs.end(connection, client_id, is_cut_off=is_cut_off, error=error)
    return Done()
