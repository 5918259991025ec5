"""The dashboard: pages rendered on the server; every view is a URL that can be bookmarked.

Each module holds the routes of one page. `rendering` turns templates into pages and `formats` shows their figures.
"""

from __future__ import annotations

from fastapi import APIRouter

from billfold.web.pages import changes, checks, clients, costs, deliveries, delivery, doctor, onboarding, static_files


def make_router() -> APIRouter:
    """The routes of all pages and of the files they load; the OpenAPI document leaves them out."""
    router = APIRouter(include_in_schema=False)
    for page in (static_files, costs, changes, deliveries, delivery, checks, clients, doctor, onboarding):
        router.include_router(page.router)
    return router
