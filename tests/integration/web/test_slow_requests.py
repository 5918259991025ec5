"""Requests that never end and answers that nobody reads: the connection ends, and nothing else waits for it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
import structlog
from fastapi import Response

from billfold.app import Billfold
from billfold.web import create_app
from tests.bills.landing import Landing
from tests.processes.web_server import HOME_SECRET, HOME_TOKEN, WebServer, run_app

SECONDS = 0.5
ANSWER = 40_000_000


@pytest.fixture(scope="module")
def server(shared_landing: Landing) -> Iterator[WebServer]:
    settings = shared_landing.settings.model_copy(update={"events_secret": "0123456789abcdef"})
    app = create_app(Billfold(settings, database=shared_landing.database), home_token=HOME_TOKEN)
    app.get("/test/large")(lambda: Response(b"x" * ANSWER))
    with run_app(app, token=HOME_SECRET, request_seconds=SECONDS) as server:
        yield server


def send(server: WebServer, *parts: bytes, pause_seconds: float = 0.0) -> tuple[bytes, float]:
    """What comes back until the server closes the connection, and after how long; parts may trickle in."""
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        try:
            for part in parts:
                connection.sendall(part)
                if pause_seconds:
                    connection.settimeout(pause_seconds)
                    try:
                        if not connection.recv(1, socket.MSG_PEEK):
                            break
                    except TimeoutError:
                        continue
                    break
            connection.settimeout(30)
            received = b"".join(iter(lambda: connection.recv(65_536), b""))
        except (ConnectionResetError, BrokenPipeError):
            received = b""
    return received, time.monotonic() - started


HEAD = b"POST /sign-in HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
EVENT = b"POST /v1/events/eventbridge HTTP/1.1\r\nHost: localhost\r\nX-Billfold-Secret: 0123456789abcdef\r\n"
TOKEN = f"Authorization: Bearer {HOME_SECRET}\r\n".encode()


@pytest.mark.parametrize(
    "half",
    [
        b"GET /healthz HT",
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n",
        HEAD + b"Content-Length: 100\r\n\r\ntoken=",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n6\r\ntoken=\r\n",
        EVENT + b"Content-Length: 100\r\n\r\n{",
        b"POST /v1/ingestions HTTP/1.1\r\nHost: localhost\r\n" + TOKEN + b"Content-Length: 100\r\n\r\n{",
    ],
    ids=["request line", "headers", "form", "chunks", "event", "document"],
)
def test_half_a_request_is_answered_by_408_and_closed(server: WebServer, half: bytes) -> None:
    with structlog.testing.capture_logs() as events:
        received, seconds = send(server, half)
        assert server.ask("GET", "/healthz") == (200, {"status": "ok"})

    assert received.startswith(b"HTTP/1.1 408 ")
    assert seconds < 10
    assert [event["log_level"] for event in events if event["event"] == "request_too_slow"] == ["warning"]
    assert not [event for event in events if event["event"] == "internal_error"]


def test_a_connection_that_sends_nothing_is_closed_without_an_answer(server: WebServer) -> None:
    received, seconds = send(server)

    assert (received, seconds < 10) == (b"", True)


@pytest.mark.parametrize("parts", [[b"G"] * 100, [HEAD, b"Content-Length: 1000\r\n\r\n", *[b"t"] * 100]])
def test_bytes_that_trickle_in_prolong_nothing(server: WebServer, parts: list[bytes]) -> None:
    _, seconds = send(server, *parts, pause_seconds=0.1)

    assert seconds < 5


def test_an_unwanted_body_holds_no_connection(server: WebServer) -> None:
    received, seconds = send(
        server,
        b"POST /v1/ingestions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n",
        *[b"{"] * 100,
        pause_seconds=0.1,
    )

    assert received.startswith(b"HTTP/1.1 401 ")
    assert b"408" not in received
    assert seconds < 10


def test_half_a_second_request_is_closed_too(server: WebServer) -> None:
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"

    received, seconds = send(server, whole + b"GET /heal")

    assert received.startswith(b"HTTP/1.1 200 ")
    assert received.count(b"HTTP/1.1 ") == 2
    assert b"HTTP/1.1 408 " in received
    assert seconds < 10


def test_whole_requests_in_small_parts_are_answered(server: WebServer) -> None:
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

    received, _ = send(server, whole[:20], whole[20:40], whole[40:])

    assert received.startswith(b"HTTP/1.1 200 ")
    assert b'{"status":"ok"}' in received


def test_a_response_that_is_not_read_is_cut(server: WebServer) -> None:
    request = b"GET /test/large HTTP/1.1\r\nHost: localhost\r\n" + TOKEN + b"\r\n"

    with (
        structlog.testing.capture_logs() as events,
        socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection,
    ):
        connection.sendall(request)
        deadline = time.monotonic() + 20
        while not any(event["event"] == "answer_not_read" for event in events):
            assert time.monotonic() < deadline
            server.ask("GET", "/healthz")
    whole = server.send("GET", "/test/large")

    assert len(whole.body) == ANSWER
