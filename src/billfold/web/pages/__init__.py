"""The dashboard: pages rendered on the server, each of them a URL that can be kept."""

from __future__ import annotations

from fastapi import APIRouter

from billfold.settings import Settings
from billfold.store.database import Database
from billfold.web.doctor_runs import Examinations
from billfold.web.pages import changes, checks, clients, costs, deliveries, files, onboarding
from billfold.web.pages import ingestions as asking


def make_router(settings: Settings, database: Database) -> APIRouter:
    """The pages' routes, and the files that pages load; none of them is part of the API's document."""
    router = APIRouter(include_in_schema=False)
    router.include_router(files.make_router())
    router.include_router(costs.make_router(database))
    router.include_router(changes.make_router(database))
    router.include_router(deliveries.make_router(settings, database))
    router.include_router(asking.make_router(settings, database))
    router.include_router(checks.make_router(database))
    router.include_router(clients.make_router(settings, database, Examinations(settings, database)))
    router.include_router(onboarding.make_router(settings, database))
    return router
