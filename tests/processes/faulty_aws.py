"""A proxy in front of the local AWS that answers some calls as a bad day of AWS's does."""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

_LEFT_OUT = frozenset({"connection", "content-length", "transfer-encoding", "date", "server"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call: S3 is told by its path, the other services by what their headers ask for, such as `ReceiveMessage`."""

    method: str
    path: str
    action: str

    @property
    def is_download(self) -> bool:
        return self.method == "GET" and "list-type" not in self.path and not self.action


# What the proxy does with a call: nothing (None), an error of AWS's as status and code, or half of the true answer.
Fault = tuple[int, str] | str | None
CUT = "cut"
Plan = Callable[[Call], Fault]


class FaultyAws:
    """What went through, and the plan of what goes wrong, which a test may change at any time."""

    def __init__(self, upstream: str, plan: Plan) -> None:
        self.plan = plan
        self.endpoint_url = ""
        self.met: Counter[str] = Counter()
        self._host = urlsplit(upstream).netloc

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        target = handler.headers.get("X-Amz-Target", "")
        action = target.rpartition(".")[2] or ("AssumeRole" if b"AssumeRole" in body else "")
        fault = self.plan(Call(method=handler.command, path=handler.path, action=action))
        if isinstance(fault, tuple):
            self.met[fault[1]] += 1
            _refuse(handler, *fault, is_json=bool(target))
            return
        upstream = http.client.HTTPConnection(self._host, timeout=60)
        upstream.request(handler.command, handler.path, body, dict(handler.headers.items()))
        answer = upstream.getresponse()
        content = answer.read()
        length = answer.headers.get("Content-Length") if handler.command == "HEAD" else str(len(content))
        upstream.close()
        handler.send_response(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in _LEFT_OUT:
                handler.send_header(name, value)
        handler.send_header("Content-Length", length or "0")
        handler.end_headers()
        if fault == CUT:
            self.met[CUT] += 1
            handler.wfile.write(content[: len(content) // 2])
            handler.close_connection = True
        elif handler.command != "HEAD":
            handler.wfile.write(content)


@contextmanager
def faulty_aws(upstream: str, plan: Plan) -> Iterator[FaultyAws]:
    """The proxy on a free port of 127.0.0.1; gone with its context."""
    faulty = FaultyAws(upstream, plan)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            try:
                faulty.answer(self)
            except ConnectionError:
                # The client that asked is gone.
                self.close_connection = True

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

        def log_message(self, format: str, *arguments: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    faulty.endpoint_url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield faulty
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _refuse(handler: BaseHTTPRequestHandler, status: int, code: str, *, is_json: bool) -> None:
    if is_json:
        content = f'{{"__type": "{code}", "message": "injected"}}'
    else:
        content = f"<Error><Code>{code}</Code><Message>injected</Message></Error>"
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(content)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(content.encode())
