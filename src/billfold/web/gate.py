"""The gate: finds what whoever asks may do, and lets nobody by who may do nothing.

Every route needs a token, but those that are named here: no route can forget to ask. A server that only this machine
reaches takes the home's own token too, in the header, in the cookie, or once in an address that a browser opens.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from urllib.parse import parse_qsl, urlencode

import structlog
from fastapi.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from billfold.clients import tokens
from billfold.errors import BillfoldError
from billfold.log import Event
from billfold.model import Scope as TokenScope
from billfold.store.database import Database
from billfold.web.access import Access
from billfold.web.guards import HEALTH_PATHS, is_loopback_authority
from billfold.web.home_token import HomeToken
from billfold.web.statuses import tell_billfold_error, tell_failure
from billfold.web.throttle import Throttle, network_of

COOKIE = "billfold_token"
SIGN_IN_PATH = "/sign-in"
# EventBridge has a secret of its own, and who signs out learns nothing.
OPEN_PATHS = HEALTH_PATHS | {SIGN_IN_PATH, "/sign-out", "/v1/events/eventbridge"}
STATIC_PREFIX = "/static/"
# The query's name of the home's token, in the address that `billfold serve` prints.
TOKEN_PARAMETER = "token"
# Where no browser takes a person: there an address never holds a token.
_PROGRAM_PATHS = ("/v1/", "/metrics", STATIC_PREFIX)
# A path of this server: browsers take `//host` and `/\\host` for another one, and leave out tabs and line ends.
_LOCAL_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*", re.ASCII)
_MAX_PATH_CHARACTERS = 2000
_COOKIE_DAYS = 30
# So long a revoked token may still open a server that saw it just before.
KEPT_SECONDS = 2.0

_KEPT_TOKENS = 1000
_FORWARDING_HEADERS = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto")
_OF_HOME = Access(scopes=frozenset(TokenScope))

log = structlog.get_logger(__name__)


class AccessFinder:
    """Knows which access a token gives. `home_token` is that of a server that only this machine reaches."""

    def __init__(
        self, database: Database, *, home_token: HomeToken | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._clock = clock
        self._home_token = home_token
        # By the hashes of tokens: nothing is compared with a secret letter by letter.
        self._kept: dict[bytes, tuple[Access, float]] = {}

    def find(self, request: HTTPConnection) -> Access | None:
        """The access of whoever asks; None where no token in force was sent. It asks PostgreSQL."""
        secret = secret_of(request)
        return self.find_by_secret(request, secret) if secret else None

    def find_by_secret(self, request: HTTPConnection, secret: str) -> Access | None:
        """The access that a token gives to who sends this request; None where it is not in force."""
        return _OF_HOME if self.is_of_home(request, secret) else self._find_made(secret)

    def is_of_home(self, request: HTTPConnection, secret: str) -> bool:
        """Whether it is the home's token, sent on this machine: not through a proxy, nor to another host's name."""
        return self._home_token is not None and _is_direct(request) and self._home_token.opens(secret)

    def was_found(self, secret: str) -> bool:
        """Whether the token was in force when it was last looked up, which was not long ago."""
        return _hash(secret) in self._kept

    def _find_made(self, secret: str) -> Access | None:
        """The access of a token that `billfold token add` made."""
        now = self._clock()
        key = _hash(secret)
        kept = self._kept.get(key)
        if kept is not None and now < kept[1]:
            return kept[0]
        self._kept.pop(key, None)
        token = tokens.find(self._database, secret)
        if token is None:
            return None
        access = Access(
            scopes=frozenset(map(TokenScope, token.scopes)), client_id=token.client_id, token_id=token.token_id
        )
        if len(self._kept) >= _KEPT_TOKENS:
            self._kept.clear()
        self._kept[key] = access, now + KEPT_SECONDS
        return access


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
        if request.scope["method"] == "GET" and not path.startswith(_PROGRAM_PATHS):
            given = [value for name, value in _query_of(request) if name == TOKEN_PARAMETER]
            if given:
                return await self._exchange(request, given[-1], address)
        if path in OPEN_PATHS or path.startswith(STATIC_PREFIX):
            return tell_too_often(self._throttle.count_request(address))
        secret = secret_of(request)
        if secret is None:
            return tell_too_often(self._throttle.count_request(address)) or _ask_for_token(request)
        # Whoever has filled the address's share with failures does not make PostgreSQL look up another token.
        wait_seconds = self._throttle.wait_for_lookup(address)
        if wait_seconds and not (self._finder.was_found(secret) or self._finder.is_of_home(request, secret)):
            return tell_too_often(wait_seconds)
        access = await run_in_threadpool(self._finder.find, request)
        if access is not None:
            request.state.access = access
            return tell_too_often(self._throttle.count_request(f"token {access.token_id or 'of the home'}"))
        log.warning(Event.TOKEN_REFUSED, address=address, method=request.scope["method"], path=path[:200])
        return tell_too_often(self._throttle.count_failure(address)) or _ask_for_token(request)

    async def _exchange(self, request: HTTPConnection, secret: str, address: str) -> Response:
        """Trade the home's token in an address for the cookie, and lead to the address without it.

        No page is ever shown under an address with a token: it would stay in the history, and in what links send along.
        """
        rest = urlencode([(name, value) for name, value in _query_of(request) if name != TOKEN_PARAMETER])
        path = request.scope["raw_path"].decode("latin-1")
        target = local_path(f"{path}?{rest}" if rest else path)
        if await run_in_threadpool(self._finder.is_of_home, request, secret):
            refusal = tell_too_often(self._throttle.count_request("token of the home"))
            response: Response = refusal or RedirectResponse(target, status_code=303)
            if refusal is None:
                keep_cookie(response, request, secret)
                log.info(Event.SIGNED_IN, token_id=None, address=address)
        else:
            log.warning(Event.SIGN_IN_REFUSED, address=address)
            response = tell_too_often(self._throttle.count_failure(address)) or RedirectResponse(
                f"{SIGN_IN_PATH}?{urlencode({'next': target})}", status_code=303
            )
        response.headers["Referrer-Policy"] = "no-referrer"
        return response


def secret_of(request: HTTPConnection) -> str | None:
    """The token that was sent: the header's, or else the cookie's."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return secret.strip() or None
    return request.cookies.get(COOKIE) or None


def keep_cookie(response: Response, request: HTTPConnection, secret: str) -> None:
    """Let the browser send the token from now on, to this server alone."""
    response.set_cookie(
        COOKIE,
        secret,
        max_age=_COOKIE_DAYS * 86_400,
        path="/",
        secure=request.url.scheme == "https",
        httponly=True,
        samesite="strict",
    )


def local_path(target: str) -> str:
    """Where to go after signing in: the path that was asked for, or the first page where it is none of ours."""
    is_local = len(target) <= _MAX_PATH_CHARACTERS and _LOCAL_PATH.fullmatch(target) is not None
    return target if is_local and target.split("?")[0] not in (SIGN_IN_PATH, "/sign-out") else "/"


def address_of(request: HTTPConnection) -> str:
    """Whom a request without a token is counted for."""
    return network_of(request.client.host) if request.client else "unknown"


def tell_too_often(wait_seconds: int | None) -> Response | None:
    """The refusal of a request for which there is no room, None where there is."""
    if wait_seconds is None:
        return None
    message = f"too many requests: try again in {wait_seconds} s"
    return tell_failure(429, "too_many_requests", message, {"Retry-After": str(wait_seconds)})


def _query_of(request: HTTPConnection) -> list[tuple[str, str]]:
    return parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


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
