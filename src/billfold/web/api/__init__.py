"""The JSON API under `/v1`: the documents of the command line, and requests to ingest.

Each module holds the routes of one subject. `parameters` has what queries share, `responses` what answers share.
"""

from __future__ import annotations

from fastapi import APIRouter, Depends, Security
from fastapi.security import HTTPBearer

from billfold.web.api import changes, checks, clients, costs, deliveries, ingestions, statements
from billfold.web.api.parameters import refuse_unknown


def make_router() -> APIRouter:
    """All routes of the API."""
    # The gate has checked the token before. This only shows readers of the OpenAPI document how to send one.
    token = HTTPBearer(
        auto_error=False, scheme_name="token", description="The token that `billfold token add` printed."
    )
    router = APIRouter(dependencies=[Depends(refuse_unknown), Security(token)])
    for subject in (clients, statements, deliveries, checks, ingestions, costs, changes):
        router.include_router(subject.router)
    return router
