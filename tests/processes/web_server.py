"""The application on a free port of this machine, for requests over HTTP."""

from __future__ import annotations

import http.client
import json
import socket
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from billfold.app import Billfold
from billfold.settings import Settings
from billfold.store.database import Database
from billfold.web import create_app
from billfold.web.connections import make_protocol
from billfold.web.home_token import ensure

# Somebody who has no token: what brings a cookie is sent as it is.
STRANGER = {"Cookie": "a=b"}
# The home of all servers of a test process: a browser that visits several of them keeps one cookie.
_HOME = tempfile.TemporaryDirectory(prefix="billfold-home-")
HOME_TOKEN = ensure(Path(_HOME.name))
HOME_SECRET = HOME_TOKEN.path.read_text().strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response; a header is found in any case, and is None if it is missing."""

    status: int
    headers: Message
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def error_code(self) -> str:
        """The code of the one error shape, which holds nothing else."""
        error = self.document["error"]
        assert set(error) == {"code", "message"}
        return str(error["code"])


@dataclass(frozen=True, slots=True, kw_only=True)
class WebServer:
    """A running server; `ask` returns (status, document). It sends `token` if a request has none of its own."""

    port: int
    token: str | None = None
    # The address of this machine that requests come from.
    source: str = "127.0.0.1"

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        answer = self.send(method, path, body, headers)
        return answer.status, answer.document

    def send(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """The whole answer; a body in parts is sent chunked, and redirects are not followed."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30, source_address=(self.source, 0))
        sent = dict(headers or {})
        if self.token and not {"authorization", "cookie"} & {name.lower() for name in sent}:
            sent["Authorization"] = f"Bearer {self.token}"
        try:
            connection.request(method, path, body=body, headers=sent)
            answer = connection.getresponse()
            return Answer(status=answer.status, headers=answer.headers, body=answer.read())
        finally:
            connection.close()


@contextmanager
def run_web_server(
    settings: Settings, database: Database, listener: socket.socket | None = None
) -> Iterator[WebServer]:
    """Run the server in a thread, for requests of the user who owns the home; it stops afterwards."""
    app = create_app(Billfold(settings, database=database), home_token=HOME_TOKEN)
    with run_app(app, token=HOME_SECRET, listener=listener) as server:
        yield server


@contextmanager
def run_app(
    app: FastAPI, *, token: str | None = None, request_seconds: float = 30, listener: socket.socket | None = None
) -> Iterator[WebServer]:
    """The same for an application of the test; requests without a token send `token`.

    Where several servers follow each other on one port, each gets a copy of its `listener`.
    """
    listener = listener.dup() if listener else socket.create_server(("127.0.0.1", 0))
    # As `billfold serve` does.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    protocol = make_protocol(request_seconds)
    # Every address of this machine is a proxy to trust, as the first one is for uvicorn.
    config = uvicorn.Config(
        app, log_config=None, access_log=False, http=protocol, ws="none", forwarded_allow_ips="127.0.0.0/8"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        # The socket listens already: what is asked too early waits in its queue.
        yield WebServer(port=listener.getsockname()[1], token=token)
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        listener.close()
