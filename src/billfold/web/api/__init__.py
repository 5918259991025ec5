"""The API under /v1: what the command line shows, as the same JSON documents, and what may be asked for."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Security
from fastapi.security import HTTPBearer

from billfold.settings import Settings
from billfold.store.database import Database
from billfold.web.api import costs as sums
from billfold.web.api import ingestions as asking
from billfold.web.api import lists
from billfold.web.api.parameters import refuse_unknown


def make_router(settings: Settings, database: Database) -> APIRouter:
    """All routes of the API."""
    # The gate has looked at the token before: this tells programs that read the OpenAPI document how to send it.
    token = HTTPBearer(auto_error=False, scheme_name="token", description="What `billfold token add` printed.")
    router = APIRouter(dependencies=[Depends(refuse_unknown), Security(token)])
    router.include_router(lists.make_router(settings, database))
    router.include_router(asking.make_router(settings, database))
    router.include_router(sums.make_router(database))
    return router
