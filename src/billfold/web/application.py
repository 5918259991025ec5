"""The application: its routes, what every request passes before them, and how it fails."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from billfold import __version__
from billfold.app import Billfold
from billfold.errors import BillfoldError, SchemaVersionError
from billfold.web import api, events, metrics, pages, sign_in
from billfold.web.api.responses import describe_failures
from billfold.web.dependencies import OurBillfold
from billfold.web.error_responses import (
    fail,
    on_billfold_error,
    on_http_error,
    on_invalid_request,
    on_unexpected_error,
)
from billfold.web.gate import AccessFinder, Gate
from billfold.web.guards import Guards
from billfold.web.home_token import HomeToken
from billfold.web.pages.failures import as_page
from billfold.web.throttle import Throttle

_health = APIRouter()


# A coroutine needs no thread: a server whose threads are all busy is not dead.
@_health.get("/healthz")
async def check_health() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "ok"}


@_health.get(
    "/readyz",
    response_model=None,
    responses=describe_failures({503: "PostgreSQL is not available, or its schema is of another version."}),
)
def check_readiness(billfold: OurBillfold) -> dict[str, str] | Response:
    """Whether the server can do its work: the database answers, and its schema is right."""
    try:
        billfold.check_ready()
    except SchemaVersionError as error:
        # Load balancers must treat this as not ready, although trying again does not help.
        return fail(503, error.error_code, str(error))
    return {"status": "ok"}


# All applications share their routes: to include a router would analyse the functions of its routes again.
_ROUTES = [
    *events.router.routes,
    *api.ROUTES,
    *metrics.router.routes,
    *pages.ROUTES,
    *sign_in.router.routes,
    *_health.routes,
]


def create_app(billfold: Billfold, *, home_token: HomeToken | None = None, bound_host: str | None = None) -> FastAPI:
    """The routes behind guards and gate. `home_token` is for a `bound_host` that only this machine reaches."""
    app = FastAPI(
        title="Billfold",
        version=__version__,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        routes=_ROUTES,
    )
    settings = billfold.settings
    finder = AccessFinder(billfold, home_token=home_token)
    throttle = Throttle(settings.requests_per_minute)
    app.state.billfold = billfold
    app.state.finder = finder
    app.state.metrics = metrics.make_registry(billfold)
    app.state.throttle = throttle
    app.add_exception_handler(BillfoldError, as_page(on_billfold_error))
    app.add_exception_handler(HTTPException, as_page(on_http_error))
    app.add_exception_handler(RequestValidationError, as_page(on_invalid_request))
    # A request passes the middleware that is added last first.
    app.add_middleware(Gate, finder=finder, throttle=throttle)
    app.add_middleware(
        Guards,
        allowed_hosts={*settings.allowed_host_names, *_names_of(bound_host)},
        max_request_bytes=settings.max_request_bytes,
        on_unexpected_error=as_page(on_unexpected_error),
    )
    return app


def _names_of(bound_host: str | None) -> tuple[str, ...]:
    """The host name of a server at this address; "all addresses" is not a name."""
    return () if bound_host in (None, "0.0.0.0", "::") else (bound_host.lower(),)
