"""The gate: checks the token of every request before it reaches a route.

Every route needs a token except the ones named here, so no route can forget to check. A server that only this machine
reaches also accepts the home token: in the header, in the cookie, or once in a URL that a browser opens.
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

from billfold.app import Billfold
from billfold.errors import BillfoldError
from billfold.log import Event
from billfold.model import Scope as TokenScope
from billfold.web.access import Access
from billfold.web.error_responses import fail, on_billfold_error
from billfold.web.guards import HEALTH_PATHS, is_loopback_authority
from billfold.web.home_token import HomeToken
from billfold.web.throttle import Throttle, network_of

COOKIE = "billfold_token"
SIGN_IN_PATH = "/sign-in"
# EventBridge sends its own secret, and signing out reveals nothing.
OPEN_PATHS = HEALTH_PATHS | {SIGN_IN_PATH, "/sign-out", "/v1/events/eventbridge"}
STATIC_PREFIX = "/static/"
# The query parameter of the home token, in the URL that `billfold serve` prints.
TOKEN_PARAMETER = "token"
# For programs, not people: a URL below these never holds a token.
_PROGRAM_PATHS = ("/v1/", "/metrics", STATIC_PREFIX)
# A path of this server: browsers read `//host` and `/\\host` as another server, and drop tabs and line ends.
_LOCAL_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*", re.ASCII)
_MAX_PATH_CHARACTERS = 2000
_COOKIE_DAYS = 30
# A server that saw a token just before it was revoked may accept it for this long.
KEPT_SECONDS = 2.0

_KEPT_TOKENS = 1000
_FORWARDING_HEADERS = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto")
_OF_HOME = Access(scopes=frozenset(TokenScope))

log = structlog.get_logger(__name__)


class AccessFinder:
    """Finds the access that a token gives. `home_token` is for a server that only this machine reaches."""

    def __init__(
        self, billfold: Billfold, *, home_token: HomeToken | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._billfold = billfold
        self._clock = clock
        self._home_token = home_token
        # By the hash of each token, so that no comparison reveals a token letter by letter.
        self._kept: dict[bytes, tuple[Access, float]] = {}

    def find(self, request: HTTPConnection) -> Access | None:
        """The access of a request; None without a valid token. This may query PostgreSQL."""
        secret = secret_of(request)
        return self.find_by_secret(request, secret) if secret else None

    def find_by_secret(self, request: HTTPConnection, secret: str) -> Access | None:
        """The access that a token gives this request; None if the token is not valid."""
        return _OF_HOME if self.is_of_home(request, secret) else self._find_made(secret)

    def is_of_home(self, request: HTTPConnection, secret: str) -> bool:
        """Whether this is the home token, sent from this machine: not through a proxy, and not to another host name."""
        return self._home_token is not None and _is_direct(request) and self._home_token.opens(secret)

    def was_found(self, secret: str) -> bool:
        """Whether the token was valid when it was last looked up, a short time ago."""
        return _hash(secret) in self._kept

    def _find_made(self, secret: str) -> Access | None:
        """The access of a token made by `billfold token add`."""
        now = self._clock()
        key = _hash(secret)
        kept = self._kept.get(key)
        if kept is not None and now < kept[1]:
            return kept[0]
        self._kept.pop(key, None)
        token = self._billfold.tokens.find(secret)
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
    """Sets `request.state.access` (None on routes that need no token), or answers 401 or 429 itself."""

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
            refusal = on_billfold_error(None, error)
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
            return refuse_too_many(self._throttle.count_request(address))
        secret = secret_of(request)
        if secret is None:
            return refuse_too_many(self._throttle.count_request(address)) or _require_token(request)
        # After too many failures of this address, PostgreSQL looks up no more of its unknown tokens.
        wait_seconds = self._throttle.wait_for_lookup(address)
        if wait_seconds and not (self._finder.was_found(secret) or self._finder.is_of_home(request, secret)):
            return refuse_too_many(wait_seconds)
        access = await run_in_threadpool(self._finder.find, request)
        if access is not None:
            request.state.access = access
            return refuse_too_many(self._throttle.count_request(f"token {access.token_id or 'of the home'}"))
        log.warning(Event.TOKEN_REFUSED, address=address, method=request.scope["method"], path=path[:200])
        return refuse_too_many(self._throttle.count_failure(address)) or _require_token(request)

    async def _exchange(self, request: HTTPConnection, secret: str, address: str) -> Response:
        """Exchange the home token in a URL for the cookie, and redirect to the URL without it.

        No page is shown at a URL with a token: the token would stay in the history and in the Referer of links.
        """
        rest = urlencode([(name, value) for name, value in _query_of(request) if name != TOKEN_PARAMETER])
        path = request.scope["raw_path"].decode("latin-1")
        target = local_path(f"{path}?{rest}" if rest else path)
        if await run_in_threadpool(self._finder.is_of_home, request, secret):
            refusal = refuse_too_many(self._throttle.count_request("token of the home"))
            response: Response = refusal or RedirectResponse(target, status_code=303)
            if refusal is None:
                keep_cookie(response, request, secret)
                log.info(Event.SIGNED_IN, token_id=None, address=address)
        else:
            log.warning(Event.SIGN_IN_REFUSED, address=address)
            response = refuse_too_many(self._throttle.count_failure(address)) or RedirectResponse(
                f"{SIGN_IN_PATH}?{urlencode({'next': target})}", status_code=303
            )
        response.headers["Referrer-Policy"] = "no-referrer"
        return response


def secret_of(request: HTTPConnection) -> str | None:
    """The token of a request: from the header, or else from the cookie."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return secret.strip() or None
    return request.cookies.get(COOKIE) or None


def keep_cookie(response: Response, request: HTTPConnection, secret: str) -> None:
    """Make the browser send the token from now on, to this server only."""
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
    """Where to go after sign-in: the requested path, or the first page if that is not a path of this server."""
    is_local = len(target) <= _MAX_PATH_CHARACTERS and _LOCAL_PATH.fullmatch(target) is not None
    return target if is_local and target.split("?")[0] not in (SIGN_IN_PATH, "/sign-out") else "/"


def address_of(request: HTTPConnection) -> str:
    """The address or network that a request without a token counts for."""
    return network_of(request.client.host) if request.client else "unknown"


def refuse_too_many(wait_seconds: int | None) -> Response | None:
    """The response to one request too many; None without a wait."""
    if wait_seconds is None:
        return None
    message = f"too many requests: try again in {wait_seconds} s"
    return fail(429, "too_many_requests", message, {"Retry-After": str(wait_seconds)})


def _query_of(request: HTTPConnection) -> list[tuple[str, str]]:
    return parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _is_direct(request: HTTPConnection) -> bool:
    is_forwarded = any(name in request.headers for name in _FORWARDING_HEADERS)
    return is_loopback_authority(request.headers.get("host", "")) and not is_forwarded


def _require_token(request: HTTPConnection) -> Response:
    """Redirect people to the sign-in page, and answer programs with 401 (RFC 6750)."""
    scope = request.scope
    is_page = scope["method"] == "GET" and "text/html" in request.headers.get("accept", "")
    response: Response
    if is_page and "authorization" not in request.headers:
        query = scope["query_string"].decode("latin-1")
        target = f"{request.url.path}?{query}" if query else request.url.path
        response = RedirectResponse(f"{SIGN_IN_PATH}?{urlencode({'next': target})}", status_code=303)
    elif secret_of(request) is None:
        response = fail(401, "unauthorized", "a token is required", {"WWW-Authenticate": "Bearer"})
    else:
        challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        response = fail(401, "unauthorized", "the token is unknown, revoked or expired", challenge)
    if COOKIE in request.cookies and "authorization" not in request.headers:
        response.delete_cookie(COOKIE, path="/", httponly=True, samesite="strict")
    return response
