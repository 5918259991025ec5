"""Instruments: counts, durations, checks and freshness for operators, as of one moment.

Counts that only grow (publications, successful runs) continue from where the last reading ended, so that a reading
costs only what is new.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from threading import Lock

from billfold.errors import StoreLimitError, StoreUnavailableError
from billfold.model import RunStatus
from billfold.reports.freshness import ClientFreshness
from billfold.store.database import Connection, Database
from billfold.store.reports import reading

# In seconds. A stage of a large first month takes an hour; a bill of last year may be ingested today.
BOUNDS: Mapping[str, Sequence[float]] = {
    "stage_duration": (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600),
    "publication_delay": (30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 43_200, 86_400, 172_800, 604_800),
}
# The oldest clients, up to this many, have series of their own; the others share one.
MAX_CLIENTS = 1_000
OTHERS = "(others)"
# The limit of one query: a scraper waits ten seconds for everything by default. The first reading counts years, and is
# finished even if the scraper no longer waits.
TIMEOUT_SECONDS = 5
FIRST_TIMEOUT_SECONDS = 300

# These counts of a client are reported from its beginning: a count that appears later would hide its first step.
_FROM_THE_BEGINNING = (
    *(("runs", (status.value,)) for status in RunStatus),
    *(("deliveries", (state,)) for state in ("pending", "running", "held", "failed")),
    *((name, ()) for name in ("read_rows", "read_bytes", "added_rows", "removed_rows", "retries")),
    ("publications", ("delivery",)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Durations: how many are within each bound (seconds, ascending), how many there are in all, and their sum."""

    counts: Mapping[float, int]
    count: int
    sum_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """The values at one moment by name and labels, in base units; money is exact, beside its currency.

    The first label of values by client is the client.
    """

    samples: Mapping[str, Mapping[tuple[str, ...], Decimal]]
    distributions: Mapping[str, Mapping[tuple[str, ...], Distribution]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Levels:
    read_at: datetime
    settled_at: datetime
    size_bytes: int
    connection_count: int
    connection_limit: int
    waiting_count: int
    running_count: int
    dead_count: int
    waiting_seconds: float
    asked_count: int
    asked_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A part of a count: a final one, or one that may still grow."""

    name: str
    client_id: str | None
    labels: Sequence[str]
    holds: int | None
    is_settled: bool
    value: Decimal


@dataclass(frozen=True, slots=True)
class _Key:
    name: str
    client_id: str | None
    labels: tuple[str, ...]
    holds: int | None = None


_Counts = defaultdict[_Key, Decimal]


class Instruments:
    """The instruments of one server, which remember what is counted already."""

    def __init__(self, database: Database, default_client: str | None) -> None:
        self._database = database
        self._default_client = default_client
        self._lock = Lock()
        self._settled: _Counts = defaultdict(Decimal)
        self._settled_at: datetime | None = None

    def read(self) -> Readings:
        """One short transaction that sees a single moment.

        Raises StoreError, and StoreUnavailableError if PostgreSQL is slow, or another reading does not end.
        """
        with self._alone(), self._read_in_time() as connection:
            [levels] = reading.fetch(connection, "measure_database", _Levels, {})
            counted = self._count(connection, levels.settled_at)
            parameters = {"client": None, "default_client": self._default_client}
            known = reading.fetch(connection, "list_client_freshness", ClientFreshness, parameters)
            eldest = reading.list_eldest_clients(connection, MAX_CLIENTS)
            self._forget_all_but({row.client_id for row in known})
        clients = {row.client_id: row.client_id if row.client_id in eldest else OTHERS for row in known}
        for name, labels in _FROM_THE_BEGINNING:
            for client_id in clients:
                counted[_Key(name, client_id, labels)] += 0
        samples: dict[str, dict[tuple[str, ...], Decimal]] = defaultdict(lambda: defaultdict(Decimal))
        for key, value in counted.items():
            # A removed client is no longer reported.
            if key.client_id in clients:
                samples[key.name][clients[key.client_id], *key.labels] += value
        for name, labels, value in (*_list_client_values(known, eldest, levels.read_at), *_list_levels(levels)):
            samples[name][labels] = value
        return Readings(
            samples=samples, distributions={name: _distribute(counted, name, bounds) for name, bounds in BOUNDS.items()}
        )

    @contextmanager
    def _read_in_time(self) -> Iterator[Connection]:
        try:
            with reading.read(self._database, statement_timeout=f"{self._timeout_seconds()}s") as connection:
                yield connection
        except StoreLimitError as error:
            # One slow reading does not justify a higher limit.
            raise StoreUnavailableError("the instruments take too long to read", advice="try again") from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        # Waiting would keep a thread of the server, and the first reading may take minutes.
        if not self._lock.acquire(timeout=TIMEOUT_SECONDS):
            raise StoreUnavailableError("the instruments are being read by another request", advice="try again")
        try:
            yield
        finally:
            self._lock.release()

    def _timeout_seconds(self) -> int:
        return FIRST_TIMEOUT_SECONDS if self._settled_at is None else TIMEOUT_SECONDS

    def _count(self, connection: Connection, settled_at: datetime) -> _Counts:
        """All counts now; the final parts are remembered."""
        # Nothing is counted twice even if the database's clock is set back.
        settled_at = max(settled_at, self._settled_at or settled_at)
        parameters = {
            "since": self._settled_at,
            "settled_at": settled_at,
            **{name: sorted(-float(bound) for bound in bounds) for name, bounds in BOUNDS.items()},
        }
        parts = [
            part
            for query in ("tally_runs", "tally_publications", "tally_durations", "count_open")
            for part in reading.fetch(connection, query, _Part, parameters)
        ]
        _add(self._settled, (part for part in parts if part.is_settled))
        self._settled_at = settled_at
        counted = self._settled.copy()
        _add(counted, (part for part in parts if not part.is_settled))
        return counted

    def _forget_all_but(self, clients: Collection[str]) -> None:
        """Forget removed clients, so that a later one of the same name starts at zero."""
        for key in [key for key in self._settled if key.client_id is not None and key.client_id not in clients]:
            del self._settled[key]


def _add(counts: _Counts, parts: Iterable[_Part]) -> None:
    for part in parts:
        counts[_Key(part.name, part.client_id, tuple(part.labels), part.holds)] += part.value


def _list_client_values(
    known: Sequence[ClientFreshness], eldest: Collection[str], read_at: datetime
) -> Iterator[tuple[str, tuple[str, ...], Decimal]]:
    yield "clients", (), Decimal(len(known))
    yield "late_clients", (), Decimal(sum(row.late_since is not None for row in known))
    for row in known:
        if row.client_id not in eldest:
            continue
        labels = (row.client_id,)
        yield "client_refresh_interval", labels, Decimal(row.refresh_hours * 3600)
        yield "client_late", labels, Decimal(row.late_since is not None)
        if row.last_delivered_at is not None:
            yield "client_delivery_age", labels, Decimal((read_at - row.last_delivered_at).total_seconds())


def _list_levels(levels: _Levels) -> Iterator[tuple[str, tuple[str, ...], Decimal]]:
    yield "database_size", (), Decimal(levels.size_bytes)
    yield "database_connections", (), Decimal(levels.connection_count)
    yield "database_connections_limit", (), Decimal(levels.connection_limit)
    yield "jobs", ("waiting",), Decimal(levels.waiting_count)
    yield "jobs", ("running",), Decimal(levels.running_count)
    yield "jobs", ("dead",), Decimal(levels.dead_count)
    yield "jobs_oldest_age", (), Decimal(levels.waiting_seconds)
    yield "asked_deliveries", (), Decimal(levels.asked_count)
    yield "asked_oldest_age", (), Decimal(levels.asked_seconds)


def _distribute(
    counted: Mapping[_Key, Decimal], name: str, bounds: Sequence[float]
) -> dict[tuple[str, ...], Distribution]:
    """The durations of one name by their labels: a value is in every bucket whose bound is not below it."""
    found = {}
    for labels in {key.labels for key in counted if key.name == name}:
        by_holds = [int(counted.get(_Key(name, None, labels, holds), 0)) for holds in range(len(bounds) + 1)]
        found[labels] = Distribution(
            counts={bound: sum(by_holds[len(bounds) - number :]) for number, bound in enumerate(bounds)},
            count=sum(by_holds),
            sum_seconds=float(counted.get(_Key(name, None, labels), 0)),
        )
    return found
