"""Doctor runs that people start from the dashboard: each has its own thread and is kept until the next one.

Doctor calls AWS, which can take long. So the request that starts a run returns at once, and the page shows what the
run has found so far.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from billfold.app import Billfold
from billfold.errors import BillfoldError
from billfold.log import Event
from billfold.model import Probe, ProbeState

LIMIT_SECONDS = 60.0
# In this process, over all clients.
MAX_RUNNING = 2

log = structlog.get_logger(__name__)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class _TimeIsUpError(Exception):
    """The limit has passed: results that arrive now are dropped."""


@dataclass(slots=True, kw_only=True)
class DoctorRun:
    """The probes of one client so far. `error` says why the run stopped early, if it did."""

    client_id: str
    started_at: datetime
    limit_seconds: float
    ended_at: datetime | None = None
    probes: list[Probe] = field(default_factory=list)
    is_cut_off: bool = False
    error: str | None = None

    @property
    def duration_seconds(self) -> float:
        """How long the run took, or has taken so far."""
        return ((self.ended_at or _utc_now()) - self.started_at).total_seconds()

    @property
    def is_over_limit(self) -> bool:
        """Whether the run stopped at its limit, or is past it and still waits for AWS."""
        return self.is_cut_off or (self.ended_at is None and self.duration_seconds >= self.limit_seconds)

    @property
    def is_running(self) -> bool:
        """Whether the run may still find more."""
        return self.ended_at is None and not self.is_over_limit

    def list_probes(self, only_client: str | None) -> list[Probe]:
        """The probes that a token may see: one for a single client sees nothing about our machine and database."""
        return [probe for probe in tuple(self.probes) if only_client is None or probe.client_id == only_client]

    def count_probes(self, only_client: str | None) -> list[tuple[ProbeState, int]]:
        """How many of them have each state."""
        counts = Counter(probe.state for probe in self.list_probes(only_client))
        return [(state, counts[state]) for state in ProbeState if counts[state]]


class DoctorRuns:
    """The last doctor run of each client, in the memory of this process."""

    def __init__(
        self,
        billfold: Billfold,
        *,
        limit_seconds: float = LIMIT_SECONDS,
        doctor: Callable[..., object] | None = None,
    ) -> None:
        self._doctor = doctor or billfold.doctor
        self._limit_seconds = limit_seconds
        self._lock = threading.Lock()
        self._last: dict[str, DoctorRun] = {}

    def find(self, client_id: str) -> DoctorRun | None:
        """The client's last run, which may still be running."""
        return self._last.get(client_id)

    def start(self, client_id: str) -> bool:
        """Start a run unless this client has one already; False while too many other runs are going on."""
        with self._lock:
            running = {name for name, each in self._last.items() if each.ended_at is None}
            if client_id in running:
                return True
            if len(running) >= MAX_RUNNING:
                return False
            run = DoctorRun(client_id=client_id, started_at=_utc_now(), limit_seconds=self._limit_seconds)
            self._last[client_id] = run
        threading.Thread(target=self._probe, args=(run,), name=f"doctor {client_id}", daemon=True).start()
        return True

    def _probe(self, run: DoctorRun) -> None:
        def keep(probe: Probe) -> None:
            if run.duration_seconds >= run.limit_seconds:
                raise _TimeIsUpError
            run.probes.append(probe)

        try:
            self._doctor(run.client_id, on_probe=keep)
        except _TimeIsUpError:
            run.is_cut_off = True
        except BillfoldError as error:
            # Its advice may name other clients.
            run.error = error.message
        except Exception:
            # Nobody joins this thread, so an exception must be caught here to be seen at all.
            log.exception(Event.INTERNAL_ERROR)
            run.error = "internal error in Billfold: the log has the traceback"
        finally:
            run.ended_at = _utc_now()
