"""`GET /metrics` for Prometheus: everything is found when it asks, because the work is done by other processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from billfold import __version__
from billfold.aws.queue_levels import QueueWatch
from billfold.aws.spool import measure_spool
from billfold.reports.instruments import Distribution, Instruments
from billfold.settings import Settings
from billfold.store.database import Database
from billfold.web.access import ReadAccess

_KINDS = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}

Samples = Mapping[tuple[str, ...], Decimal | float]


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: what it is called without the prefix, `unit` as it ends the name, and what its labels are."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""

    @property
    def full_name(self) -> str:
        """The name without a counter's `_total`."""
        return "_".join(filter(None, ("billfold", self.name, self.unit)))


FAMILIES = (
    Family("build_info", "gauge", "Always 1; the label is the version.", ("version",)),
    Family("clients", "gauge", "Clients that are known, enabled or not."),
    Family("late_clients", "gauge", "Clients of which no delivery came for one and a half of their refresh intervals."),
    Family(
        "client_delivery_age",
        "gauge",
        "Since AWS's time of the newest delivery that did not fail.",
        ("client",),
        "seconds",
    ),
    Family("client_refresh_interval", "gauge", "How often AWS is expected to deliver.", ("client",), "seconds"),
    Family("client_late", "gauge", "1 while the client is late, else 0.", ("client",)),
    Family("runs", "gauge", "File versions by how far they came.", ("client", "status")),
    Family("refused_files", "gauge", "File versions and sources whose last attempt failed.", ("client", "error_code")),
    Family("deliveries", "gauge", "Deliveries that are not settled.", ("client", "state")),
    Family("asked_deliveries", "gauge", "Deliveries that were asked for over HTTP and wait for a server's worker."),
    Family("asked_oldest_age", "gauge", "How long the oldest of them has waited; 0 without any.", (), "seconds"),
    Family("retries", "counter", "Attempts at deliveries beyond the first.", ("client",)),
    Family("read_rows", "counter", "Line items of the file versions that came in.", ("client",)),
    Family("read_bytes", "counter", "Size as delivered of the file versions that came in.", ("client",)),
    Family("added_rows", "counter", "Line items that publications added.", ("client",)),
    Family("removed_rows", "counter", "Line items that publications withdrew.", ("client",)),
    Family("publications", "counter", "Publications: changes of a statement's bill.", ("client", "kind")),
    Family(
        "stage_duration",
        "histogram",
        "Of deliveries that were published, how long a stage took.",
        ("stage",),
        "seconds",
    ),
    Family("publication_delay", "histogram", "From AWS's delivery to its publication.", (), "seconds"),
    Family(
        "check_warned_rows",
        "gauge",
        "What checks warn of in the bills that stand, as each check counts.",
        ("client", "check"),
    ),
    Family("check_warned_cost", "gauge", "The money of it.", ("client", "check", "currency")),
    Family(
        "reconciliation_difference",
        "gauge",
        "What the bills that stand are off what their source says, whatever its sign: 0 unless something is wrong.",
        ("client", "currency"),
    ),
    Family("queue_up", "gauge", "1 where the last question was answered, else 0.", ("part",)),
    Family("queue_messages", "gauge", "Messages that wait, and that are worked on or put off (hidden).", ("state",)),
    Family(
        "queue_oldest_message_age", "gauge", "How long the oldest message has waited, by CloudWatch.", (), "seconds"
    ),
    Family("dead_letters", "gauge", "Messages that wait in the dead-letter queue."),
    Family("database_size", "gauge", "Size of the database on its disk.", (), "bytes"),
    Family("database_connections", "gauge", "Connections to the database, of all who use it."),
    Family("database_connections_limit", "gauge", "How many the server allows (max_connections)."),
    Family("spool_used", "gauge", "Size of the files in the spool of the server's machine.", (), "bytes"),
    Family("spool_free", "gauge", "Free space on the disk of that spool.", (), "bytes"),
)


def make_router(settings: Settings, database: Database) -> APIRouter:
    """The route; a token for one client is refused, because what is told is of all of them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(settings, database))
    router = APIRouter()

    @router.get("/metrics", include_in_schema=False)
    def show_metrics(access: ReadAccess, request: Request) -> Response:
        access.refuse_one_client()
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), media_type=content_type)

    return router


class _Collector(Collector):
    def __init__(self, settings: Settings, database: Database) -> None:
        self._instruments = Instruments(database, settings.described_client_id)
        self._queue = QueueWatch(settings.queue_url, settings) if settings.queue_url else None
        self._spool = settings.spool

    def collect(self) -> Iterator[Metric]:
        """Every family, with samples or without; raises what keeps PostgreSQL from being asked."""
        readings = self._instruments.read()
        samples = {**readings.samples, **self._measure_machine(), **self._measure_queue()}
        for family in FAMILIES:
            metric = _KINDS[family.kind](family.full_name, family.help, labels=family.labels)
            for labels, distribution in readings.distributions.get(family.name, {}).items():
                metric.add_metric(labels, _spell_buckets(distribution), distribution.sum_seconds)
            for labels, value in samples.get(family.name, {}).items():
                metric.add_metric(labels, float(value))
            yield metric

    def _measure_machine(self) -> dict[str, Samples]:
        used_bytes, free_bytes = measure_spool(self._spool)
        return {
            "build_info": {(__version__,): 1},
            "spool_used": {(): used_bytes},
            "spool_free": {(): free_bytes},
        }

    def _measure_queue(self) -> dict[str, Samples]:
        if self._queue is None:
            return {}
        levels = self._queue.read()
        return {
            "queue_up": {(part,): is_up for part, is_up in levels.is_up.items()},
            "queue_messages": _known({("waiting",): levels.waiting_count, ("hidden",): levels.hidden_count}),
            "queue_oldest_message_age": _known({(): levels.oldest_seconds}),
            "dead_letters": _known({(): levels.dead_count}),
        }


def _known(samples: Mapping[tuple[str, ...], float | None]) -> Samples:
    return {labels: value for labels, value in samples.items() if value is not None}


def _spell_buckets(distribution: Distribution) -> list[tuple[str, int]]:
    bounds = [(str(float(bound)), count) for bound, count in distribution.counts.items()]
    return [*bounds, ("+Inf", distribution.count)]
