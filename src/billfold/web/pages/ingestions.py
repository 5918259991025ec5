"""The buttons of a delivery's page that ask for it: another attempt, or its release; `asking.html` shows them."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from billfold.settings import Settings
from billfold.store.database import Database
from billfold.web.access import IngestAccess
from billfold.web.api.ingestions import release, retry


def make_router(settings: Settings, database: Database) -> APIRouter:
    """The routes that the buttons' forms are sent to; they lead back to the delivery."""
    router = APIRouter(include_in_schema=False)

    @router.post("/deliveries/{delivery_id}/retry")
    def retry_delivery(access: IngestAccess, delivery_id: UUID) -> Response:
        return _lead_back(retry(settings, database, access, delivery_id).delivery_id)

    @router.post("/deliveries/{delivery_id}/release")
    def release_delivery(access: IngestAccess, delivery_id: UUID) -> Response:
        return _lead_back(release(settings, database, access, delivery_id).delivery_id)

    return router


def _lead_back(delivery_id: UUID) -> Response:
    return RedirectResponse(f"/deliveries/{delivery_id}", status_code=303)
