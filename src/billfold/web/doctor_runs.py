"""Doctor's examinations of clients, as somebody asks for them: each in a thread of its own, kept until the next one.

Doctor asks AWS, which can take long: whoever asks is answered at once, and what was found so far can be looked at.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog

from billfold.doctor import examination as doctor
from billfold.errors import BillfoldError
from billfold.log import Event
from billfold.model import Probe
from billfold.settings import Settings
from billfold.store.database import Database

LIMIT_SECONDS = 60.0
# All of this process.
MAX_RUNNING = 2

log = structlog.get_logger(__name__)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class _TimeIsUpError(Exception):
    """The limit has passed: what comes now is not waited for."""


@dataclass(slots=True, kw_only=True)
class Examination:
    """What doctor found of a client so far. `error` says why nothing more was found, where something went wrong."""

    client_id: str
    started_at: datetime
    limit_seconds: float
    ended_at: datetime | None = None
    probes: list[Probe] = field(default_factory=list)
    is_cut_off: bool = False
    error: str | None = None

    @property
    def duration_seconds(self) -> float:
        """How long it took, or has been going on."""
        return ((self.ended_at or _utc_now()) - self.started_at).total_seconds()

    @property
    def is_over_limit(self) -> bool:
        """Whether it was broken off, or still waits for an answer of AWS's that nobody waits for any more."""
        return self.is_cut_off or (self.ended_at is None and self.duration_seconds >= self.limit_seconds)

    @property
    def is_running(self) -> bool:
        """Whether more may be found."""
        return self.ended_at is None and not self.is_over_limit


class Examinations:
    """The last examination of each client, in this process's memory."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        *,
        limit_seconds: float = LIMIT_SECONDS,
        examine: Callable[..., object] = doctor.examine,
    ) -> None:
        self._examine_client = examine
        self._settings = settings
        self._database = database
        self._limit_seconds = limit_seconds
        self._lock = threading.Lock()
        self._last: dict[str, Examination] = {}

    def find(self, client_id: str) -> Examination | None:
        """The client's last examination, or the one that is going on."""
        return self._last.get(client_id)

    def start(self, client_id: str) -> bool:
        """Begin one, unless one of this client is going on; False where others must end first."""
        with self._lock:
            running = {name for name, each in self._last.items() if each.ended_at is None}
            if client_id in running:
                return True
            if len(running) >= MAX_RUNNING:
                return False
            examination = Examination(client_id=client_id, started_at=_utc_now(), limit_seconds=self._limit_seconds)
            self._last[client_id] = examination
        threading.Thread(target=self._examine, args=(examination,), name=f"doctor {client_id}", daemon=True).start()
        return True

    def _examine(self, examination: Examination) -> None:
        def keep(probe: Probe) -> None:
            if examination.duration_seconds >= examination.limit_seconds:
                raise _TimeIsUpError
            examination.probes.append(probe)

        try:
            self._examine_client(
                settings=self._settings,
                client_id=examination.client_id,
                tell=keep,
                open_store=lambda _: self._database,
            )
        except _TimeIsUpError:
            examination.is_cut_off = True
        except BillfoldError as error:
            # Its advice may name other clients.
            examination.error = error.message
        except Exception:
            # A thread that nobody waits for would take the failure with it.
            log.exception(Event.INTERNAL_ERROR)
            examination.error = "a defect of Billfold's: its traceback is in the log"
        finally:
            examination.ended_at = _utc_now()
