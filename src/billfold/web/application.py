"""The application: its routes, and how it fails."""

from __future__ import annotations

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.base import RequestResponseEndpoint

from billfold import __version__
from billfold.config import Settings
from billfold.errors import BillfoldError
from billfold.store.database import Database, connect
from billfold.store.migrate import check_schema
from billfold.web import events, pages
from billfold.web.access import Access, Scope
from billfold.web.pages.failures import as_page
from billfold.web.statuses import tell_billfold_error, tell_failure, tell_http_error

log = structlog.get_logger(__name__)


def create_app(settings: Settings, database: Database) -> FastAPI:
    """The routes: `/healthz` (the process answers), `/readyz` (PostgreSQL does too), and what EventBridge calls."""
    app = FastAPI(title="Billfold", version=__version__, docs_url=None, redoc_url=None)
    app.add_exception_handler(BillfoldError, as_page(tell_billfold_error))
    app.add_exception_handler(HTTPException, as_page(tell_http_error))
    app.add_exception_handler(Exception, as_page(_tell_unknown_error))
    app.include_router(events.make_router(settings, database))
    app.include_router(pages.make_router(settings, database))

    @app.middleware("http")
    async def stand_in(request: Request, call_next: RequestResponseEndpoint) -> Response:
        request.state.access = Access(scopes=frozenset(Scope))
        return await call_next(request)

    @app.get("/healthz")
    def check_health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    def check_readiness() -> dict[str, str]:
        with connect(database.conninfo) as connection:
            check_schema(connection)
        return {"status": "ok"}

    return app


def _tell_unknown_error(request: Request, error: Exception) -> JSONResponse:
    log.error("internal_error", path=request.url.path, exc_info=error)
    return tell_failure(500, "internal", "a defect of Billfold's: its traceback is in the log")
