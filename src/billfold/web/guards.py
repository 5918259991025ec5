"""What every request passes before anybody asks who sent it, and what every answer carries.

Host is checked against DNS rebinding, Origin against forged requests, the body against its limit. A defect further in
ends here too: whatever happens, there is an answer in the one error shape, and one event in the log.
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
from billfold.web.statuses import tell_failure, tell_http_error

# Load balancers ask by address, and often.
HEALTH_PATHS = frozenset({"/healthz", "/readyz"})

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_AUTHORITY = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SHOWN_CHARACTERS = 200
_HEADERS = {
    # Plotly sets styles inline; scripts come from files of our own alone.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
        " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    # With `no-referrer` browsers would send `Origin: null` with our own forms.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # What somebody spent stays in no cache, unless a route says otherwise.
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
        tell_defect: Callable[[Request, Exception], Response],
    ) -> None:
        self._app = app
        self._allowed_hosts = frozenset(allowed_hosts)
        self._max_request_bytes = max_request_bytes
        self._tell_defect = tell_defect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        if method == "HEAD":
            # RFC 9110, 9.3.2: what GET answers, whose content the server then leaves out.
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
            # Who asked is gone, or was too slow: nobody waits for an answer.
            return
        except Exception as error:
            log.error(Event.INTERNAL_ERROR, path=scope["path"], exc_info=error)
            if status is not None:
                # The answer has begun: only a lost connection tells that its rest is missing.
                raise
            await self._tell_defect(Request(scope), error)(scope, receive, send_with_headers)
        finally:
            _tell_request(scope, method, status, time.perf_counter() - started_at)

    def _refuse(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if scope["path"] not in HEALTH_PATHS and not (len(hosts) == 1 and self._is_allowed(hosts[0])):
            log.warning(Event.HOST_REFUSED, host=", ".join(hosts)[:_SHOWN_CHARACTERS])
            return tell_failure(
                400, "host", "this host name is not ours: the setting BILLFOLD_ALLOWED_HOSTS names those that are"
            )
        if scope["method"] not in _SAFE_METHODS and not _is_own_origin(headers):
            log.warning(Event.ORIGIN_REFUSED, origin=headers.get("origin", "")[:_SHOWN_CHARACTERS])
            return tell_failure(403, "origin", "the request comes from a page of another site")
        if int(headers.get("content-length") or 0) > self._max_request_bytes:
            return tell_http_error(None, _too_large(self._max_request_bytes))
        return None

    def _is_allowed(self, host: str) -> bool:
        name, _ = _split(host)
        return is_loopback(name) or name in self._allowed_hosts


def is_loopback(host: str) -> bool:
    """Whether a name or an address, without a port, is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_loopback_authority(host: str) -> bool:
    """The same of a Host header, which may have a port."""
    return is_loopback(_split(host)[0])


def _split(host: str) -> tuple[str, int | None]:
    """Name or address and port of a Host header; an empty name where it is none."""
    match = _AUTHORITY.fullmatch(host.lower())
    if match is None:
        return "", None
    return match["name"].strip("[]").rstrip("."), int(match["port"]) if match["port"] else None


def _is_own_origin(headers: Headers) -> bool:
    """Whether the page that sent this, if one did, is one of ours; programs that are no browsers name none."""
    origin = headers.get("origin")
    if origin is None:
        return headers.get("sec-fetch-site", "none") in ("same-origin", "none")
    scheme, _, authority = origin.partition("://")
    default = _DEFAULT_PORTS.get(scheme)
    name, port = _split(authority)
    # Who ends TLS in front of us passes the Host on, but not the scheme: the origin's says which port is left out.
    own_name, own_port = _split(headers.get("host", ""))
    return bool(default and name) and (name, port or default) == (own_name, own_port or default)


def _limited(receive: Receive, max_bytes: int) -> Receive:
    """The same body, whose reader fails with 413 where it is larger; a chunked one tells its size by coming."""
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
    return HTTPException(413, f"a request has {max_bytes} bytes at most", headers={"Connection": "close"})


def _tell_request(scope: Scope, method: str, status: int | None, seconds: float) -> None:
    """One event for each request: its route's path, never the query, which may hold what is nobody else's business."""
    access: Any = scope.get("state", {}).get("access")
    tell = log.debug if scope["path"] in HEALTH_PATHS else log.info
    tell(
        Event.REQUEST,
        method=method,
        path=getattr(scope.get("route"), "path", None) or scope["path"][:_SHOWN_CHARACTERS],
        status=status,
        duration_seconds=round(seconds, 4),
        token_id=getattr(access, "token_id", None),
    )
