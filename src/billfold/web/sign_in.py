"""Sign in and out: a person's token becomes a cookie, which every request checks like the token of a program."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

import structlog
from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from billfold.log import Event
from billfold.web.dependencies import OurFinder, OurThrottle
from billfold.web.gate import COOKIE, SIGN_IN_PATH, address_of, keep_cookie, local_path, refuse_too_many
from billfold.web.pages.rendering import render

log = structlog.get_logger(__name__)

router = APIRouter(include_in_schema=False)


@router.get(SIGN_IN_PATH)
def show_form(request: Request, finder: OurFinder, next: str = "/", here: bool = False) -> Response:
    """The form; a user who is signed in is sent on."""
    if finder.find(request) is not None:
        return RedirectResponse(local_path(next), status_code=303)
    form = _show_form(request, next)
    if request.headers.get("sec-fetch-site") == "cross-site" and not here:
        # A browser that follows a link from another site sends no cookie (SameSite=Strict). Loading the page
        # again from here sends it.
        again = urlencode({"next": local_path(next), "here": "true"})
        form.headers["Refresh"] = f"0; url={SIGN_IN_PATH}?{again}"
    return form


@router.post(SIGN_IN_PATH)
def sign_in(
    request: Request,
    finder: OurFinder,
    throttle: OurThrottle,
    token: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",
) -> Response:
    """Keep a valid token as the cookie."""
    secret = token.strip()
    access = finder.find_by_secret(request, secret)
    if access is None:
        wait_seconds = throttle.count_failure(address_of(request))
        log.warning(Event.SIGN_IN_REFUSED, address=address_of(request))
        # The page must not say whether the token is unknown, revoked or expired.
        return refuse_too_many(wait_seconds) or _show_form(request, next, status=401, error="This token is not valid.")
    log.info(Event.SIGNED_IN, token_id=access.token_id, address=address_of(request))
    response = RedirectResponse(local_path(next), status_code=303)
    keep_cookie(response, request, secret)
    return response


@router.post("/sign-out")
def sign_out(request: Request) -> Response:
    """Forget the cookie."""
    response = RedirectResponse(SIGN_IN_PATH, status_code=303)
    response.delete_cookie(COOKIE, path="/", secure=request.url.scheme == "https", httponly=True, samesite="strict")
    return response


def _show_form(request: Request, target: str, *, status: int = 200, error: str = "") -> Response:
    return render(request, "sign_in.html", frame=None, status=status, next=local_path(target), error=error)
