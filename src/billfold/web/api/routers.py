"""What the routes of every subject have in common."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Security
from fastapi.security import HTTPBearer

from billfold.web.api.parameters import refuse_unknown
from billfold.web.forms.known_ids import KNOWN_IDS

# The gate has checked the token before. This only shows readers of the OpenAPI document how to send one.
_TOKEN = HTTPBearer(auto_error=False, scheme_name="token", description="The token that `billfold token add` printed.")


def make_router(*tags: str) -> APIRouter:
    """An empty router under `/v1`, whose routes refuse unknown parameters and ids."""
    return APIRouter(
        prefix="/v1",
        tags=[*tags],
        dependencies=[KNOWN_IDS, Depends(refuse_unknown), Security(_TOKEN)],
    )
