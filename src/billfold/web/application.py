"""The application: its routes, and how it fails."""

from __future__ import annotations

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from billfold import __version__
from billfold.config import Settings
from billfold.errors import BillfoldError
from billfold.store.database import Database, connect
from billfold.store.migrate import check_schema
from billfold.web import events
from billfold.web.statuses import tell_billfold_error, tell_failure, tell_http_error

log = structlog.get_logger(__name__)


def create_app(settings: Settings, database: Database) -> FastAPI:
    """The routes: `/healthz` (the process answers), `/readyz` (PostgreSQL does too), and what EventBridge calls."""
    app = FastAPI(title="Billfold", version=__version__, docs_url=None, redoc_url=None)
    app.add_exception_handler(BillfoldError, tell_billfold_error)
    app.add_exception_handler(HTTPException, tell_http_error)
    app.add_exception_handler(Exception, _tell_unknown_error)
    app.include_router(events.make_router(settings, database))

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
