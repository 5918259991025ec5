"""The metric filters of CloudWatch against the lines that real runs write, and these against the declared events."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any

import pytest
import structlog

from billfold.app import Billfold
from billfold.aws.queue import open_queue
from billfold.jobs.schedule import finish_pass, report_late, visit_due
from billfold.jobs.worker import Worker
from billfold.log import CONTEXT_FIELDS, EVERY_EVENT, FIELDS, STATE_COUNTS, Event, Field, configure_logging
from billfold.model import Client
from billfold.settings import Settings
from billfold.web import create_app
from tests.bills.landing import Landing
from tests.filter_patterns import read_metric_filters
from tests.messages import Mailbox, request
from tests.processes.faulty_aws import Call, Fault, faulty_aws
from tests.processes.web_server import HOME_SECRET, HOME_TOKEN, run_app
from tests.registry import Registry

pytestmark = pytest.mark.slow

Line = dict[str, Any]

TYPES: Mapping[str, tuple[type[Any], ...]] = {
    "text": (str,),
    "whole number": (int,),
    "true or false": (bool,),
    "seconds": (int, float),
    "object": (dict,),
    "list of text": (list,),
    "list of objects": (list,),
}


def test_the_lines_of_a_day_are_as_they_are_declared_and_are_counted(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One test, so that only one process lives through the day, on which everything happens that a filter reads."""
    with writing(registry.settings, monkeypatch) as written:
        live_through_the_day(registry, monkeypatch)

    lines = [json.loads(line) for line in written.getvalue().splitlines()]
    assert_declared(lines)
    assert_counted(lines)
    assert_a_bucket_that_is_gone_rings(lines)


@contextmanager
def writing(settings: Settings, variables: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """Where the lines go that a container would write."""
    written = io.StringIO()
    variables.setattr(sys, "stderr", written)
    handlers, level = logging.root.handlers[:], logging.root.level
    configure_logging(settings.model_copy(update={"log_format": "json", "log_level": "debug"}))
    try:
        yield written
    finally:
        structlog.reset_defaults()
        logging.captureWarnings(False)
        logging.root.handlers[:] = handlers
        logging.root.setLevel(level)


def live_through_the_day(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = Landing.make(registry.database, registry.settings, registry.folder / "unused")
    mailbox = Mailbox(registry.aws)
    acme, globex, initech = registry.add("acme"), registry.add("globex"), registry.add("initech")
    manifests = [key for key in registry.deliver(acme, "1.25", "2", "3", "4") if key.endswith("Manifest.json")]
    registry.aws.put(str(acme.bucket), "exports/broken.csv", b"line_item_unblended_cost,line_item_usage_amount\n1.25\n")
    mailbox.send(request("acme", manifests[0]), request("acme", "exports/broken.csv"), "garbage")
    drain(registry, mailbox)
    # A bucket that is gone, a client that nobody knows how to read, and one whose downloads are throttled once.
    registry.aws.client("s3").delete_bucket(Bucket=globex.bucket)
    registry.deliver(initech, "1")
    here = registry.settings.model_copy(update={"client": "initech", "bucket": initech.bucket})
    visit_due(Billfold(here, database=registry.database))
    with faulty_aws(registry.aws.endpoint_url, throttle_once()) as faulty:
        throttled = {"endpoint_url": faulty.endpoint_url, "message_retry_seconds": 0}
        visit_due(Billfold(registry.settings.model_copy(update=throttled), database=registry.database))
    make_late(tables, initech)
    report_late(Billfold(registry.settings, database=registry.database))
    finish_pass(Billfold(registry.settings, database=registry.database), visited=3)
    # A defect, a delivery that would leave too little, and checks that cannot be made.
    registry.deliver(acme, "1.25", revision=2)
    mailbox.send(request("acme", manifests[0]))
    with monkeypatch.context() as broken:
        broken.setattr(Billfold, "ingest", fail)
        drain(registry, mailbox, message_attempts=2)
    with faulty_aws(registry.aws.endpoint_url, throttle_once()) as faulty:
        throttled = {"endpoint_url": faulty.endpoint_url}
        Billfold(registry.settings.model_copy(update=throttled), database=registry.database).backfill(client="acme")
    tables.execute("ALTER TABLE billing_checks RENAME TO elsewhere")
    registry.deliver(acme, "1.25", "2", "3", "5", revision=3)
    mailbox.send(request("acme", manifests[0]))
    drain(registry, mailbox)
    ask_for_a_defect(registry)


def drain(registry: Registry, mailbox: Mailbox, **changes: Any) -> None:
    settings = registry.settings.model_copy(update={"message_retry_seconds": 0, **changes})
    queue = open_queue(mailbox.url, settings)
    Worker(queue, settings=settings, database=registry.database, concurrency=2, drain=True).run()


def throttle_once() -> Any:
    """The first attempt at a data file is refused as often as boto3 asks by itself."""
    met: Counter[str] = Counter()

    def plan(call: Call) -> Fault:
        is_data = call.is_download and call.path.endswith(".gz")
        met["data"] += is_data
        return (503, "SlowDown") if is_data and met["data"] <= 3 else None

    return plan


def make_late(tables: Landing, client: Client) -> None:
    tables.execute(
        "UPDATE billing_deliveries SET delivered_at = delivered_at - interval '1 year' WHERE client_id = %s",
        client.client_id,
    )


def fail(*_: Any, **__: Any) -> Any:
    raise RuntimeError("what nobody foresaw")


def ask_for_a_defect(registry: Registry) -> None:
    app = create_app(Billfold(registry.settings, database=registry.database), home_token=HOME_TOKEN)
    app.get("/test/defect")(fail_a_request)
    with run_app(app, token=HOME_SECRET) as server:
        assert server.send("GET", "/test/defect").status == 500


def fail_a_request() -> None:
    raise RuntimeError("what nobody foresaw")


def types_of(field: Field) -> tuple[type[Any], ...]:
    return tuple(chain.from_iterable(TYPES[each] for each in field.type.split(", or ")))


def assert_counted(lines: list[Line]) -> None:
    counted: Counter[str] = Counter()
    matched = defaultdict(set)
    for each in read_metric_filters():
        for line in lines:
            if (value := each.measure(line)) is not None:
                matched[each.name].add(line["event"])
                if not each.dimensions:
                    counted[each.metric] += value

    # Every event that a filter names is one that real runs write, and that it counts.
    assert matched == {each.name: set(re.findall(r'\.event = "(\w+)"', each.pattern)) for each in read_metric_filters()}
    events = Counter(line["event"] for line in lines)
    assert counted["DeliverySeconds"] > 0
    levels = {"DeliverySeconds", "JobsRunning", "JobsWaiting", "OldestJobSeconds"}
    assert {metric: count for metric, count in counted.items() if metric not in levels} == {
        "DeliveriesFinished": events["delivery_finished"],
        "DeliveriesFailed": events["delivery_failed"],
        "DeliveriesHeld": 1,
        # The bucket that is gone, at each of two passes.
        "SourcesRefused": 2,
        # The bucket that is gone, twice, and the client that cannot be read.
        "SchedulesFailed": 3,
        "SchedulesFinished": 1,
        "Retries": events["retrying"]
        + sum(line["event"] in ("asked_later", "message_later") for line in lines if line["level"] == "warning"),
        "MessagesDead": events["message_dead"],
        "ChecksFailed": 1,
        "ClientsLate": 1,
        "InternalErrors": 3,
    }


def assert_a_bucket_that_is_gone_rings(lines: list[Line]) -> None:
    refused = next(line for line in lines if line["event"] == "source_refused")
    about = [line for line in lines if line.get("client") == "globex"]

    rung = {each.metric for each in read_metric_filters() for line in about if each.measure(line)}

    assert (refused["client"], refused["error_code"]) == ("globex", "source_not_found")
    assert rung == {"SourcesRefused", "SchedulesFailed"}


def assert_declared(lines: list[Line]) -> None:
    for line in lines:
        if "logger" in line:
            continue
        event = Event(line["event"])
        always = CONTEXT_FIELDS | set(EVERY_EVENT)
        assert line["level"] in event.levels, line
        assert STATE_COUNTS in event.fields or set(line) <= event.fields | always, line
        for name, value in line.items():
            if value is not None and name in FIELDS:
                assert isinstance(value, types_of(FIELDS[name])), (name, line)
    assert len({line["event"] for line in lines}) > 20
