"""The button of a delivery's page that tries it again; the page shows it by `retry.html`."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from billfold.config import Settings
from billfold.store.database import Database
from billfold.web.access import IngestAccess
from billfold.web.api.asking import retry


def make_router(settings: Settings, database: Database) -> APIRouter:
    """The route that the button's form is sent to; it leads back to the delivery."""
    router = APIRouter(include_in_schema=False)

    @router.post("/deliveries/{delivery_id}/retry")
    def retry_delivery(access: IngestAccess, delivery_id: UUID) -> Response:
        retry(settings, database, access, delivery_id)
        return RedirectResponse(f"/deliveries/{delivery_id}", status_code=303)

    return router
