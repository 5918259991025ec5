"""The API under /v1: what the command line shows, as the same JSON documents, and what may be asked for."""

from __future__ import annotations

from fastapi import APIRouter, Depends

from billfold.config import Settings
from billfold.store.database import Database
from billfold.web.api import asking, lists, sums
from billfold.web.api.parameters import refuse_unknown


def make_router(settings: Settings, database: Database) -> APIRouter:
    """All routes of the API."""
    router = APIRouter(dependencies=[Depends(refuse_unknown)])
    router.include_router(lists.make_router(settings, database))
    router.include_router(asking.make_router(settings, database))
    router.include_router(sums.make_router(database))
    return router
