"""The gate: finds what whoever asks may do, and lets nobody by who may do nothing.

As long as no token was ever made, a server that only this machine reaches is open to it. From the first token on every
route needs one, but those that are named here: no route can forget to ask.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from urllib.parse import urlencode

import structlog
from fastapi.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from billfold import tokens
from billfold.errors import BillfoldError
from billfold.model import Scope as TokenScope
from billfold.store.database import Database
from billfold.web.access import Access
from billfold.web.guards import HEALTH_PATHS, is_loopback_authority
from billfold.web.statuses import tell_billfold_error, tell_failure
from billfold.web.throttle import Throttle, network_of

COOKIE = "billfold_token"
SIGN_IN_PATH = "/sign-in"
# EventBridge has a secret of its own, and who signs out learns nothing.
OPEN_PATHS = HEALTH_PATHS | {SIGN_IN_PATH, "/sign-out", "/v1/events/eventbridge"}
STATIC_PREFIX = "/static/"
# So long a revoked token may still open a server that saw it just before.
KEPT_SECONDS = 2.0

_KEPT_TOKENS = 1000
_FORWARDING_HEADERS = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto")
_OPEN = Access(scopes=frozenset(TokenScope))

log = structlog.get_logger(__name__)


class AccessFinder:
    """Knows which access a token gives. `is_local`: only this machine reaches the server."""

    def __init__(self, database: Database, *, is_local: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._may_be_open = is_local
        self._open_until = -1.0
        self._kept: dict[str, tuple[Access, float]] = {}

    def find(self, request: HTTPConnection) -> Access | None:
        """The access of whoever asks; None where a token is needed and none in force was sent. It asks PostgreSQL."""
        if self._is_open():
            # What another host's name or a proxy led here does not come from this machine.
            return _OPEN if _is_direct(request) else None
        secret = secret_of(request)
        return self.find_by_secret(secret) if secret else None

    def find_by_secret(self, secret: str) -> Access | None:
        """The access that a token gives; None where it is not in force."""
        now = self._clock()
        kept = self._kept.get(secret)
        if kept is not None and now < kept[1]:
            return kept[0]
        self._kept.pop(secret, None)
        token = tokens.find(self._database, secret)
        if token is None:
            return None
        access = Access(
            scopes=frozenset(map(TokenScope, token.scopes)), client_id=token.client_id, token_id=token.token_id
        )
        if len(self._kept) >= _KEPT_TOKENS:
            self._kept.clear()
        self._kept[secret] = access, now + KEPT_SECONDS
        return access

    def _is_open(self) -> bool:
        now = self._clock()
        if self._may_be_open and now >= self._open_until:
            # Tokens stay when they are revoked: what is closed once never opens again.
            self._may_be_open = not tokens.was_any_made(self._database)
            self._open_until = now + KEPT_SECONDS
        return self._may_be_open


class Gate:
    """Puts the access into `request.state.access`, None on the routes that need none, or answers 401 or 429 itself."""

    def __init__(self, app: ASGIApp, *, finder: AccessFinder, throttle: Throttle) -> None:
        self._app = app
        self._finder = finder
        self._throttle = throttle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = HTTPConnection(scope)
        request.state.access = None
        try:
            refusal = await self._refuse(request)
        except BillfoldError as error:
            refusal = tell_billfold_error(None, error)
        await (refusal or self._app)(scope, receive, send)

    async def _refuse(self, request: HTTPConnection) -> Response | None:
        path = request.scope["path"]
        if path in HEALTH_PATHS:
            return None
        address = address_of(request)
        if path in OPEN_PATHS or path.startswith(STATIC_PREFIX):
            return tell_too_often(self._throttle.count_request(address))
        access = await run_in_threadpool(self._finder.find, request)
        if access is not None:
            request.state.access = access
            who = address if access.token_id is None else f"token {access.token_id}"
            return tell_too_often(self._throttle.count_request(who))
        if secret_of(request) is None:
            return tell_too_often(self._throttle.count_request(address)) or _ask_for_token(request)
        # Only whoever fails is told to wait: others of the same address, or behind the same proxy, are not locked out.
        wait_seconds = self._throttle.count_failure(address)
        log.warning("token_refused", address=address, method=request.scope["method"], path=path[:200])
        return tell_too_often(wait_seconds) or _ask_for_token(request)


def secret_of(request: HTTPConnection) -> str | None:
    """The token that was sent: the header's, or else the cookie's."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return secret.strip() or None
    return request.cookies.get(COOKIE) or None


def address_of(request: HTTPConnection) -> str:
    """Whom a request without a token is counted for."""
    return network_of(request.client.host) if request.client else "unknown"


def tell_too_often(wait_seconds: int | None) -> Response | None:
    """The refusal of a request for which there is no room, None where there is."""
    if wait_seconds is None:
        return None
    message = f"too many requests: try again in {wait_seconds} s"
    return tell_failure(429, "too_many_requests", message, {"Retry-After": str(wait_seconds)})


def _is_direct(request: HTTPConnection) -> bool:
    is_forwarded = any(name in request.headers for name in _FORWARDING_HEADERS)
    return is_loopback_authority(request.headers.get("host", "")) and not is_forwarded


def _ask_for_token(request: HTTPConnection) -> Response:
    """People are led to the page where they sign in, programs are told what is missing (RFC 6750)."""
    scope = request.scope
    is_page = scope["method"] == "GET" and "text/html" in request.headers.get("accept", "")
    response: Response
    if is_page and "authorization" not in request.headers:
        query = scope["query_string"].decode("latin-1")
        target = f"{request.url.path}?{query}" if query else request.url.path
        response = RedirectResponse(f"{SIGN_IN_PATH}?{urlencode({'next': target})}", status_code=303)
    elif secret_of(request) is None:
        response = tell_failure(401, "unauthorized", "a token is needed", {"WWW-Authenticate": "Bearer"})
    else:
        challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        response = tell_failure(401, "unauthorized", "the token is unknown, revoked or expired", challenge)
    if COOKIE in request.cookies and "authorization" not in request.headers:
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return response
