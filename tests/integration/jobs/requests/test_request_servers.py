"""Servers as processes of their own: killed, told to end, or two at once."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from decimal import Decimal
from http.client import HTTPException
from pathlib import Path
from typing import Any

import billfold
from billfold.aws import LocalAws
from tests.bills.landing import Landing
from tests.integration.jobs.requests.conftest import STATES, Gates, ask_for, deliver, is_download, work_off
from tests.processes.faulty_aws import Call, Fault, FaultyAws
from tests.processes.web_server import WebServer
from tests.processes.worker_process import LIMIT_SECONDS, WorkerProcess, blame_soon, start_server

# Processes of their own.


def variables(fleet: Landing, **changed: str) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": str(Path(billfold.__file__).parents[1]),
        "DATABASE_URL": fleet.database.conninfo,
        "BILLFOLD_HOME": str(fleet.root.parent / "home"),
        "BILLFOLD_MIN_FREE_BYTES": "0",
        "BILLFOLD_MESSAGE_RETRY_SECONDS": "0",
        "AWS_ENDPOINT_URL": str(fleet.settings.endpoint_url),
        **changed,
    }


def post(server: WebServer, key: str) -> tuple[int, Any]:
    body = f'{{"client": "acme", "key": "{key}"}}'.encode()
    return server.ask("POST", "/v1/ingestions", body, {"Content-Type": "application/json"})


def post_in_vain(server: WebServer, key: str) -> None:
    # The answer that is cut short is no JSON.
    with suppress(OSError, HTTPException, ValueError):
        post(server, key)


class Hold:
    """Lets the first download of a data file wait until it is told to go on."""

    def __init__(self) -> None:
        self.reached, self.released = threading.Event(), threading.Event()

    def __call__(self, call: Call) -> Fault:
        if is_download(call) and not self.released.is_set():
            self.reached.set()
            self.released.wait(LIMIT_SECONDS)
        return None


def test_only_what_kills_its_server_fails_for_it(fleet: Landing, aws: LocalAws, faulty: FaultyAws) -> None:
    gates = Gates(fleet, aws, faulty, "guilty", "neighbour")
    values = variables(fleet, BILLFOLD_SERVE_CONCURRENCY="2", BILLFOLD_MESSAGE_ATTEMPTS="2")

    with start_server(values) as (process, server):
        for key in gates.keys.values():
            post(server, key)
        process.wait_until(lambda: len(gates.names_reached()) == 2)
        process.kill()
    left = fleet.query(STATES)
    gates.release("neighbour")
    gates.reached["guilty"].clear()
    with start_server(values, blame_soon) as (process, server):
        process.wait_until(gates.reached["guilty"].is_set)
        in_hand = fleet.value("SELECT count(*) FROM billing_jobs WHERE state = 'running'")
        alone = [event["key"] for event in process.events() if event["event"] == "asked_alone"]
        process.kill()
    with start_server(values, blame_soon) as (process, server):
        process.wait_until(lambda: fleet.value("SELECT bool_and(state = 'dead') FROM billing_jobs"))
        process.end()
    gates.release("guilty")

    states = "SELECT export_name, state, error_code FROM billing_deliveries ORDER BY export_name"
    assert left == [("running", 1, True, 1, None)] * 2
    assert (in_hand, alone[-1]) == (1, gates.keys["guilty"])
    assert fleet.query(states) == [("guilty", "failed", "interrupted"), ("neighbour", "published", None)]
    assert fleet.count("billing_publications") == 1
    assert fleet.billed() == {"USD": Decimal(1)}
    assert fleet.broken_rules() == []


def test_two_servers_do_nothing_twice(fleet: Landing, aws: LocalAws) -> None:
    keys = [deliver(fleet, aws, "1.25", export=f"export-{number}") for number in range(3)]

    with ExitStack() as stack:
        servers = [stack.enter_context(start_server(variables(fleet))) for _ in range(2)]
        for key in keys:
            for _, server in servers:
                assert post(server, key)[0] in (200, 202)
        servers[0][0].wait_until(lambda: fleet.count("billing_jobs") == 0)
        done = [event["key"] for process, _ in servers for event in process.events() if event["event"] == "asked_done"]

    assert set(done) == set(keys)
    assert fleet.query("SELECT attempts, count(*) FROM billing_deliveries GROUP BY 1") == [(1, 3)]
    assert fleet.count("billing_publications") == 3
    assert fleet.billed() == {"USD": Decimal("3.75")}


def test_a_server_that_is_told_to_end_lets_its_delivery_end(fleet: Landing, aws: LocalAws, faulty: FaultyAws) -> None:
    faulty.plan = hold = Hold()
    key = deliver(fleet, aws, "1.25")

    with start_server(variables(fleet, BILLFOLD_SHUTDOWN_SECONDS="30")) as (process, server):
        post(server, key)
        assert hold.reached.wait(LIMIT_SECONDS)
        process.tell(signal.SIGTERM)
        process.wait_for("server_stopping")
        hold.released.set()
        code = process.finish_within(30)
        unfinished = list_unfinished(process)

    assert (code, unfinished) == (0, [0])
    assert fleet.query(STATES) == [("published", 1, False, 0, None)]


def test_what_a_server_was_told_to_leave_has_not_failed(fleet: Landing, aws: LocalAws, faulty: FaultyAws) -> None:
    faulty.plan = hold = Hold()
    key = deliver(fleet, aws, "1.25")

    with start_server(variables(fleet, BILLFOLD_SHUTDOWN_SECONDS="0")) as (process, server):
        post(server, key)
        assert hold.reached.wait(LIMIT_SECONDS)
        code = process.end(signal.SIGTERM)
        unfinished = list_unfinished(process)
    left = fleet.query(STATES)
    hold.released.set()
    events = work_off(fleet.with_settings(message_attempts=1))

    assert (code, unfinished) == (0, [1])
    assert left == [("running", 1, True, 1, None)]
    assert [event["event"] for event in events] == ["asked_started", "asked_done"]
    assert fleet.query(STATES) == [("published", 2, False, 0, None)]


def list_unfinished(process: WorkerProcess) -> list[int]:
    """How many deliveries did not end, for each end that the server logged."""
    return [event["unfinished"] for event in process.events() if event["event"] == "server_stopped"]


@contextmanager
def half_a_request(server: WebServer) -> Iterator[None]:
    """Somebody who never sends the rest of it."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(
            b"POST /v1/ingestions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n{"
        )
        yield


def test_a_request_that_does_not_end_keeps_no_server_from_ending(fleet: Landing, aws: LocalAws) -> None:
    key = deliver(fleet, aws, "1.25")

    with start_server(variables(fleet, BILLFOLD_SHUTDOWN_SECONDS="3")) as (process, server):
        with half_a_request(server):
            process.tell(signal.SIGTERM)
            process.wait_for("server_stopping")
            # Whoever is coming to an end takes up nothing more.
            ask_for(fleet, key)
            assert process.finish_within(30) == 0
        stopped = list_unfinished(process)

    assert stopped == [0]
    assert fleet.query(STATES) == [("pending", 0, True, 0, None)]


def test_a_second_signal_cuts_requests_short(fleet: Landing) -> None:
    with (
        start_server(variables(fleet, BILLFOLD_SHUTDOWN_SECONDS="3600")) as (process, server),
        half_a_request(server),
    ):
        process.tell(signal.SIGTERM)
        process.wait_for("server_stopping")
        process.tell(signal.SIGTERM)
        assert process.finish_within(30) == 0


def test_a_request_that_waits_for_s3_keeps_no_server_from_ending(
    fleet: Landing, aws: LocalAws, faulty: FaultyAws
) -> None:
    reached, released = threading.Event(), threading.Event()

    def hold(call: Call) -> Fault:
        if call.is_download:
            reached.set()
            released.wait(LIMIT_SECONDS)
        return None

    faulty.plan = hold
    key = deliver(fleet, aws, "1.25")
    with start_server(variables(fleet, BILLFOLD_SHUTDOWN_SECONDS="1")) as (process, server):
        asking = threading.Thread(target=post_in_vain, args=[server, key])
        asking.start()
        assert reached.wait(LIMIT_SECONDS)
        process.tell(signal.SIGTERM)
        assert process.finish_within(30) == 0
        released.set()
        asking.join()


def test_a_second_signal_ends_a_server_at_once(fleet: Landing, aws: LocalAws, faulty: FaultyAws) -> None:
    faulty.plan = hold = Hold()

    with start_server(variables(fleet, BILLFOLD_SHUTDOWN_SECONDS="3600")) as (process, server):
        post(server, deliver(fleet, aws, "1.25"))
        assert hold.reached.wait(LIMIT_SECONDS)
        process.tell(signal.SIGTERM)
        process.wait_for("server_stopping")
        code = process.end(signal.SIGTERM)
    hold.released.set()

    assert code == 0
    assert fleet.query(STATES) == [("running", 1, True, 1, None)]


def test_a_server_of_no_concurrency_leaves_the_work_to_others(fleet: Landing, aws: LocalAws) -> None:
    key = deliver(fleet, aws, "1.25")

    with start_server(variables(fleet, BILLFOLD_SERVE_CONCURRENCY="0")) as (process, server):
        post(server, key)
        assert process.end() == 0

    assert fleet.query(STATES) == [("pending", 0, True, 0, None)]
