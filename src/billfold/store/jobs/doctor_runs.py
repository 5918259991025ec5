"""Doctor runs that the dashboard requested: each is a job, and the client's last one is kept with its probes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from billfold.model import JobKind, Probe, ProbeState, TriggerSource
from billfold.sql import read_queries
from billfold.store.database import Connection
from billfold.store.jobs import jobs
from billfold.store.jobs.jobs import NewJob

LIMIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorRun:
    """The probes of one client so far; `started_at` is None while it waits for a worker.

    `error` says why the run ended early, and `is_cut_off` that it reached its limit.
    """

    started_at: datetime | None
    ended_at: datetime | None
    is_cut_off: bool
    error: str | None
    probes: tuple[Probe, ...]
    duration_seconds: float

    @property
    def is_over_limit(self) -> bool:
        """Whether the run stopped at its limit, or is past it and still waits for AWS."""
        return self.is_cut_off or (self.ended_at is None and self.duration_seconds >= LIMIT_SECONDS)

    @property
    def is_running(self) -> bool:
        """Whether the run may still find more."""
        return self.ended_at is None and not self.is_over_limit

    def list_probes(self, only_client: str | None) -> list[Probe]:
        """The probes that a token may see: one for a single client sees nothing about our machine and database."""
        return [probe for probe in self.probes if only_client is None or probe.client_id == only_client]

    def count_probes(self, only_client: str | None) -> list[tuple[ProbeState, int]]:
        """How many of them have each state."""
        counts = Counter(probe.state for probe in self.list_probes(only_client))
        return [(state, counts[state]) for state in ProbeState if counts[state]]


def request(connection: Connection, client_id: str) -> None:
    """Queue a run, unless one of this client waits or is running; it replaces what the last one found."""
    with connection.transaction():
        [is_open] = connection.execute(_query("is_open"), {"client_id": client_id}).fetchone() or (False,)
        if is_open:
            return
        _change(connection, "request", client_id)
        new = NewJob(
            kind=JobKind.DOCTOR,
            client_id=client_id,
            bucket="",
            key="",
            work=f"doctor {client_id}",
            trigger=TriggerSource.API,
        )
        jobs.add(connection, new)


def begin(connection: Connection, client_id: str) -> None:
    """The run starts; what an earlier attempt found is deleted."""
    _change(connection, "begin", client_id)


def add_probe(connection: Connection, client_id: str, probe: Probe) -> None:
    """Keep what the run has found."""
    _change(connection, "add_probe", client_id, {"probe": Jsonb([asdict(probe)])})


def end(connection: Connection, client_id: str, *, is_cut_off: bool, error: str | None) -> None:
    """The run has ended."""
    _change(connection, "end", client_id, {"is_cut_off": is_cut_off, "error": error})


def find(connection: Connection, client_id: str) -> DoctorRun | None:
    """The client's last run; None if there was none."""
    row = connection.execute(_query("find"), {"client_id": client_id}).fetchone()
    if row is None:
        return None
    started_at, ended_at, is_cut_off, error, probes, duration_seconds = row
    return DoctorRun(
        started_at=started_at,
        ended_at=ended_at,
        is_cut_off=is_cut_off,
        error=error,
        probes=tuple(Probe(**{**probe, "state": ProbeState(probe["state"])}) for probe in probes),
        duration_seconds=duration_seconds,
    )


def _change(connection: Connection, name: str, client_id: str, values: Mapping[str, Any] | None = None) -> None:
    connection.execute(_query(name), {"client_id": client_id, **(values or {})})


def _query(name: str) -> bytes:
    return read_queries("billfold.store.jobs", "doctor_runs")[name].encode()
