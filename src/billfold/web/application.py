"""The application: what a request passes, its routes, and how it fails."""

from __future__ import annotations

from fastapi import Depends, FastAPI, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from billfold import __version__
from billfold.errors import BillfoldError, SchemaVersionError
from billfold.settings import Settings
from billfold.store.database import Database, connect
from billfold.store.migrate import check_schema
from billfold.web import api, events, metrics, pages, sign_in
from billfold.web.api.responses import describe_failures
from billfold.web.forms.named import make_check
from billfold.web.gate import AccessFinder, Gate
from billfold.web.guards import Guards
from billfold.web.home_token import HomeToken
from billfold.web.pages.failures import as_page
from billfold.web.statuses import tell_billfold_error, tell_defect, tell_failure, tell_http_error, tell_invalid_request
from billfold.web.throttle import Throttle


def create_app(
    settings: Settings, database: Database, *, home_token: HomeToken | None = None, bound_host: str | None = None
) -> FastAPI:
    """The routes behind guards and gate. `home_token` is for a server that no other machine reaches at `bound_host`."""
    app = FastAPI(title="Billfold", version=__version__, openapi_url="/v1/openapi.json", docs_url=None, redoc_url=None)
    app.add_exception_handler(BillfoldError, as_page(tell_billfold_error))
    app.add_exception_handler(HTTPException, as_page(tell_http_error))
    app.add_exception_handler(RequestValidationError, as_page(tell_invalid_request))
    finder = AccessFinder(database, home_token=home_token)
    throttle = Throttle(settings.requests_per_minute)
    # What is added last is passed first.
    app.add_middleware(Gate, finder=finder, throttle=throttle)
    app.add_middleware(
        Guards,
        allowed_hosts={*settings.allowed_host_names, *_names_of(bound_host)},
        max_request_bytes=settings.max_request_bytes,
        tell_defect=as_page(tell_defect),
    )
    app.include_router(events.make_router(settings, database))
    check_named = Depends(make_check(settings, database))
    app.include_router(api.make_router(settings, database), dependencies=[check_named])
    app.include_router(metrics.make_router(settings, database))
    app.include_router(pages.make_router(settings, database), dependencies=[check_named])
    app.include_router(sign_in.make_router(finder, throttle))

    # It needs no thread: a server whose threads all wait is busy, not dead.
    @app.get("/healthz")
    async def check_health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get(
        "/readyz",
        response_model=None,
        responses=describe_failures({503: "PostgreSQL does not answer, or its schema is another version's."}),
    )
    def check_readiness() -> dict[str, str] | Response:
        try:
            with connect(database.conninfo) as connection:
                check_schema(connection)
        except SchemaVersionError as error:
            # Nobody who sends requests here may take it for ready, and trying again does not mend it.
            return tell_failure(503, error.error_code, str(error))
        return {"status": "ok"}

    return app


def _names_of(bound_host: str | None) -> tuple[str, ...]:
    """What a server is asked by that answers on this address; all addresses of the machine are no name."""
    return () if bound_host in (None, "0.0.0.0", "::") else (bound_host.lower(),)
