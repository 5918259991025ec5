"""The checks that every request passes before its token is looked at, and the headers that every response carries.

The Host is checked against DNS rebinding, the Origin against forged requests, the body against its limit. Unexpected
exceptions end here too: every request gets a response in the one error shape, and one event in the log.
"""

from __future__ import annotations

import ipaddress
import re
import time
from collections.abc import Callable, Collection
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from billfold.log import Event
from billfold.web.error_responses import fail, on_http_error

# Load balancers call these often, and by IP address.
HEALTH_PATHS = frozenset({"/healthz", "/readyz"})

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_AUTHORITY = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SHOWN_CHARACTERS = 200
_HEADERS = {
    # Plotly sets inline styles; scripts come only from our own files.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # With `no-referrer` browsers would send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # No cache keeps what somebody spent, unless a route says otherwise.
    "Cache-Control": "no-store",
}

log = structlog.get_logger(__name__)


class Guards:
    """The outermost part of the application. `allowed_hosts` are names and addresses without ports, in lower case."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        allowed_hosts: Collection[str],
        max_request_bytes: int,
        on_unexpected_error: Callable[[Request, Exception], Response],
    ) -> None:
        self._app = app
        self._allowed_hosts = frozenset(allowed_hosts)
        self._max_request_bytes = max_request_bytes
        self._on_unexpected_error = on_unexpected_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        if method == "HEAD":
            # RFC 9110, 9.3.2: HEAD gets the answer of GET, and the server leaves out the content.
            scope = {**scope, "method": "GET"}
        started_at = time.perf_counter()
        status: int | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            answer = self._refuse(scope) or self._app
            await answer(scope, _limited(receive, self._max_request_bytes), send_with_headers)
        except ClientDisconnect:
            # The client is gone or was too slow: no one waits for a response.
            return
        except Exception as error:
            log.error(Event.INTERNAL_ERROR, path=scope["path"], exc_info=error)
            if status is not None:
                # The response has begun: only a lost connection shows that the rest is missing.
                raise
            await self._on_unexpected_error(Request(scope), error)(scope, receive, send_with_headers)
        finally:
            _log_request(scope, method, status, time.perf_counter() - started_at)

    def _refuse(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if scope["path"] not in HEALTH_PATHS and not (len(hosts) == 1 and self._is_allowed(hosts[0])):
            log.warning(Event.HOST_REFUSED, host=", ".join(hosts)[:_SHOWN_CHARACTERS])
            return fail(400, "host", "unknown host name: add it to the setting BILLFOLD_ALLOWED_HOSTS if it is yours")
        if scope["method"] not in _SAFE_METHODS and not _is_own_origin(headers):
            log.warning(Event.ORIGIN_REFUSED, origin=headers.get("origin", "")[:_SHOWN_CHARACTERS])
            return fail(403, "origin", "the request was sent by a page of another site")
        if int(headers.get("content-length") or 0) > self._max_request_bytes:
            return on_http_error(None, _too_large(self._max_request_bytes))
        return None

    def _is_allowed(self, host: str) -> bool:
        name, _ = _split(host)
        return is_loopback(name) or name in self._allowed_hosts


def is_loopback(host: str) -> bool:
    """Whether a name or an address (without a port) is a loopback address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_loopback_authority(host: str) -> bool:
    """The same for a Host header, which may have a port."""
    return is_loopback(_split(host)[0])


def _split(host: str) -> tuple[str, int | None]:
    """The name (or address) and port of a Host header; the name is empty if the header is not valid."""
    match = _AUTHORITY.fullmatch(host.lower())
    if match is None:
        return "", None
    return match["name"].strip("[]").rstrip("."), int(match["port"]) if match["port"] else None


def _is_own_origin(headers: Headers) -> bool:
    """Whether one of our pages sent this, or no page at all: programs other than browsers name no origin."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site", "none") in ("same-origin", "none")
    scheme, _, authority = origin.partition("://")
    default = _DEFAULT_PORTS.get(scheme)
    name, port = _split(authority)
    # A proxy that ends TLS passes on the Host but not the scheme. The origin's scheme gives the default port.
    own_name, own_port = _split(headers.get("host", ""))
    return bool(default and name) and (name, port or default) == (own_name, own_port or default)


def _limited(receive: Receive, max_bytes: int) -> Receive:
    """The same body, but reading it fails with 413 beyond the limit: a chunked body does not declare its size."""
    size_bytes = 0

    async def receive_limited() -> Message:
        nonlocal size_bytes
        message = await receive()
        size_bytes += len(message.get("body", b""))
        if size_bytes > max_bytes:
            raise _too_large(max_bytes)
        return message

    return receive_limited


def _too_large(max_bytes: int) -> HTTPException:
    return HTTPException(413, f"a request has at most {max_bytes} bytes", headers={"Connection": "close"})


def _log_request(scope: Scope, method: str, status: int | None, seconds: float) -> None:
    """Log one event for each request: with the path of its route, never the query, which may hold private data."""
    access: Any = scope.get("state", {}).get("access")
    write = log.debug if scope["path"] in HEALTH_PATHS else log.info
    write(
        Event.REQUEST,
        method=method,
        path=getattr(scope.get("route"), "path", None) or scope["path"][:_SHOWN_CHARACTERS],
        status=status,
        duration_seconds=round(seconds, 4),
        token_id=getattr(access, "token_id", None),
    )
