"""`GET /metrics` for Prometheus: every value is read when it asks, because other processes do the work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from billfold import __version__
from billfold.app import Billfold
from billfold.web.access import ReadAccess
from billfold.web.dependencies import OurMetrics

if TYPE_CHECKING:
    from billfold.reports.instruments import Distribution

_KINDS = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}

Samples = Mapping[tuple[str, ...], Decimal | float]


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: `name` without the prefix, `unit` as the end of the name, and its labels."""

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
    Family("clients", "gauge", "Clients, enabled or disabled."),
    Family("late_clients", "gauge", "Clients without a delivery for one and a half refresh intervals."),
    Family(
        "client_delivery_age",
        "gauge",
        "Time since the newest delivery that did not fail, by its time in AWS.",
        ("client",),
        "seconds",
    ),
    Family("client_refresh_interval", "gauge", "How often a client expects a delivery.", ("client",), "seconds"),
    Family("client_late", "gauge", "1 while the client is late, else 0.", ("client",)),
    Family("runs", "gauge", "File versions by status.", ("client", "status")),
    Family("refused_files", "gauge", "File versions and sources whose last attempt failed.", ("client", "error_code")),
    Family("deliveries", "gauge", "Deliveries that are pending, running, held or failed.", ("client", "state")),
    Family("jobs", "gauge", "Jobs of the queue that wait, that run, and that are dead.", ("state",)),
    Family("jobs_oldest_age", "gauge", "Time since the oldest waiting job was written; 0 without any.", (), "seconds"),
    Family("asked_deliveries", "gauge", "Deliveries requested over HTTP that are not ingested yet."),
    Family("asked_oldest_age", "gauge", "Wait of the oldest requested delivery; 0 without any.", (), "seconds"),
    Family("retries", "counter", "Attempts at deliveries after the first.", ("client",)),
    Family("read_rows", "counter", "Line items of ingested file versions.", ("client",)),
    Family("read_bytes", "counter", "Size of ingested file versions, as delivered.", ("client",)),
    Family("added_rows", "counter", "Line items that publications added.", ("client",)),
    Family("removed_rows", "counter", "Line items that publications removed.", ("client",)),
    Family("publications", "counter", "Publications: changes of a statement.", ("client", "kind")),
    Family(
        "stage_duration",
        "histogram",
        "Duration of each stage of published deliveries.",
        ("stage",),
        "seconds",
    ),
    Family("publication_delay", "histogram", "Time from a delivery in AWS to its publication.", (), "seconds"),
    Family(
        "check_warned_rows",
        "gauge",
        "Rows in current bills that checks warn about, as each check counts them.",
        ("client", "check"),
    ),
    Family(
        "check_warned_cost", "gauge", "Cost of those rows, as each check counts it.", ("client", "check", "currency")
    ),
    Family(
        "reconciliation_difference",
        "gauge",
        "Absolute difference between current bills and their source: 0 unless something is wrong.",
        ("client", "currency"),
    ),
    Family("queue_up", "gauge", "1 if the last call succeeded, else 0.", ("part",)),
    Family(
        "queue_messages",
        "gauge",
        "Messages that wait, and hidden ones: they become jobs, or come again later.",
        ("state",),
    ),
    Family("queue_oldest_message_age", "gauge", "Wait of the oldest message, from CloudWatch.", (), "seconds"),
    Family("dead_letters", "gauge", "Messages in the dead-letter queue."),
    Family("database_size", "gauge", "Size of the database on disk.", (), "bytes"),
    Family("database_connections", "gauge", "Connections to the database, from all its users."),
    Family("database_connections_limit", "gauge", "Connections that the server allows (max_connections)."),
    Family("spool_used", "gauge", "Size of the files in the spool of this machine.", (), "bytes"),
    Family("spool_free", "gauge", "Free space on the disk of the spool.", (), "bytes"),
)

router = APIRouter(include_in_schema=False)


@router.get("/metrics")
def show_metrics(access: ReadAccess, request: Request, registry: OurMetrics) -> Response:
    """All metrics; a token of one client is refused, because they cover all of them."""
    access.require_all_clients()
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(registry), media_type=content_type)


def make_registry(billfold: Billfold) -> CollectorRegistry:
    """What `/metrics` shows of this Billfold."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(billfold))
    return registry


class _Collector(Collector):
    def __init__(self, billfold: Billfold) -> None:
        self._dashboard = billfold.dashboard
        self._instruments = self._dashboard.instruments()
        self._queue = self._dashboard.queue_watch()

    def collect(self) -> Iterator[Metric]:
        """Every family, with or without samples; raises StoreUnavailableError without PostgreSQL."""
        readings = self._instruments.read()
        samples = {**readings.samples, **self._measure_machine(), **self._measure_queue()}
        for family in FAMILIES:
            metric = _KINDS[family.kind](family.full_name, family.help, labels=family.labels)
            for labels, distribution in readings.distributions.get(family.name, {}).items():
                metric.add_metric(labels, _format_buckets(distribution), distribution.sum_seconds)
            for labels, value in samples.get(family.name, {}).items():
                metric.add_metric(labels, float(value))
            yield metric

    def _measure_machine(self) -> dict[str, Samples]:
        used_bytes, free_bytes = self._dashboard.measure_spool()
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


def _format_buckets(distribution: Distribution) -> list[tuple[str, int]]:
    bounds = [(str(float(bound)), count) for bound, count in distribution.counts.items()]
    return [*bounds, ("+Inf", distribution.count)]
