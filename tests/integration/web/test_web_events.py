"""EventBridge's events by HTTP: what is a client's goes into the queue, and nothing else does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from billfold import clients
from billfold.aws import LocalAws
from billfold.aws.queue import Queue, open_queue
from billfold.web.events import MAX_EVENT_BYTES
from tests.bills.landing import Landing
from tests.processes.web_server import WebServer, run_web_server

SECRET = "only-eventbridge-knows"
BUCKET = "acme-billing"
ACCOUNT = "111122223333"
PATH = "/v1/events/eventbridge"


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """A server beside a local AWS, and the queue that it passes events on to."""

    server: WebServer
    queue: Queue
    landing: Landing


@pytest.fixture(scope="module")
def receiver(shared_landing: Landing, shared_aws: LocalAws) -> Iterator[Receiver]:
    """Tests leave nothing in the queue that another one would receive."""
    url = shared_aws.client("sqs").create_queue(QueueName="work")["QueueUrl"]
    changes = {"events_secret": SECRET, "queue_url": url, "endpoint_url": shared_aws.endpoint_url}
    landing = shared_landing.with_settings(**changes, region=shared_aws.region)
    for client_id, prefix in (("acme", "exports/"), ("shut", "shut/")):
        fields = {"client_id": client_id, "bucket": BUCKET, "prefix": prefix, "account_id": ACCOUNT}
        clients.register(landing.database, landing.settings, fields)
    clients.set_enabled(landing.database, "shut", enabled=False)
    with run_web_server(landing.settings, landing.database) as server:
        yield Receiver(server=server, queue=open_queue(url, landing.settings), landing=landing)


@pytest.fixture
def server(receiver: Receiver) -> WebServer:
    return receiver.server


@pytest.fixture
def queue(receiver: Receiver) -> Queue:
    return receiver.queue


def event(key: str = "exports/acme/metadata/BILLING_PERIOD=2026-05/acme-Manifest.json", **changes: Any) -> bytes:
    """An event as EventBridge sends it."""
    told = {
        "version": "0",
        "id": "2d4eba74-fd51-3966-4bfa-b013c9da8ff1",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "account": ACCOUNT,
        "time": "2026-05-03T23:59:35Z",
        "region": "eu-central-1",
        "resources": [f"arn:aws:s3:::{BUCKET}"],
        "detail": {
            "version": "0",
            "bucket": {"name": BUCKET},
            "object": {"key": key, "size": 99797, "etag": "7a72374e1238761aca7778318b363232", "sequencer": "00"},
            "reason": "PutObject",
        },
        **changes,
    }
    return json.dumps(told).encode()


def post(server: WebServer, body: bytes, secret: str = SECRET) -> tuple[int, Any]:
    return server.ask("POST", PATH, body, {"Content-Type": "application/json", "X-Billfold-Secret": secret})


def waiting(queue: Queue) -> list[str]:
    return [message.body for message in queue.receive(wait_seconds=0, hide_seconds=60)]


def test_an_event_of_a_clients_folder_goes_into_the_queue_as_it_came(server: WebServer, queue: Queue) -> None:
    sent = event()

    assert post(server, sent) == (202, {"objects": 1, "accepted": 1})
    assert waiting(queue) == [sent.decode()]


def test_what_is_no_clients_event_is_taken_and_dropped(server: WebServer, queue: Queue) -> None:
    bodies = {
        "another account": event(account="999900009999"),
        "a folder that looks alike": event("exports-evil/a.csv"),
        "nobody's folder": event("other/a.csv"),
        "a disabled client": event("shut/a.csv"),
        "a way out of the folder": event("exports/../other/a.csv"),
        "another service": event(source="aws.ec2"),
        "another event": event(**{"detail-type": "Object Deleted"}),
        "a message of our own": b'{"billfold": {"client": "acme", "key": "exports/a.csv"}}',
        "nothing": b"[]",
    }
    for name, body in bodies.items():
        status, document = post(server, body)

        assert (status, document["accepted"]) == (202, 0), name
        assert waiting(queue) == [], name


def test_without_the_secret_nothing_is_taken(server: WebServer, queue: Queue) -> None:
    for secret in ("", "only-eventbridge-knew", SECRET.upper()):
        status, document = post(server, event(), secret)

        assert (status, document["error"]["code"]) == (401, "unauthorized"), secret
        assert waiting(queue) == [], secret


def test_an_event_that_is_none_or_too_large_is_refused(server: WebServer, queue: Queue) -> None:
    assert [post(server, body)[0] for body in (b"{", b"\xff", b" " * (MAX_EVENT_BYTES + 1))] == [422, 422, 413]
    assert waiting(queue) == []


def test_what_cannot_be_queued_now_is_to_be_sent_again(receiver: Receiver) -> None:
    gone = receiver.landing.with_settings(queue_url=f"{receiver.queue.url}-gone")

    with run_web_server(gone.settings, gone.database) as server:
        status, document = post(server, event())

    assert (status, document["error"]["code"]) == (503, "source_unavailable")
    assert "the event cannot be queued" in document["error"]["message"]


def test_health_and_readiness_need_no_secret(server: WebServer) -> None:
    assert server.ask("GET", "/healthz") == (200, {"status": "ok"})
    assert server.ask("GET", "/readyz") == (200, {"status": "ok"})


def test_a_server_that_is_older_than_its_database_is_not_ready(server: WebServer, receiver: Receiver) -> None:
    receiver.landing.execute("INSERT INTO billfold_migrations (number, name, sha256) VALUES (9999, 'later', '')")

    status, document = server.ask("GET", "/readyz")

    receiver.landing.execute("DELETE FROM billfold_migrations WHERE number = 9999")
    assert (status, document["error"]["code"]) == (503, "schema_version")


def test_a_route_that_is_none_fails_in_the_same_shape(server: WebServer) -> None:
    assert server.ask("GET", "/nothing") == (404, {"error": {"code": "http", "message": "Not Found"}})
    assert server.ask("GET", PATH)[1]["error"]["code"] == "http"


def test_without_a_secret_there_is_no_route_for_events(receiver: Receiver) -> None:
    closed = receiver.landing.with_settings(events_secret=None)

    with run_web_server(closed.settings, closed.database) as server:
        assert post(server, event())[0] == 404
