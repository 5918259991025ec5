"""Failures as pages, for whoever reads them in a browser."""

from __future__ import annotations

import json
from collections.abc import Callable

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from billfold.web.pages.rendering import render

_TITLES = {
    400: "This address asks for something that there is not",
    401: "Sign in first",
    403: "Not with this token",
    404: "There is nothing here",
    422: "This address asks for something that there is not",
    500: "A defect of Billfold's",
    503: "The database does not answer",
}

Tell = Callable[[Request, Exception], JSONResponse]


def as_page(tell: Tell) -> Callable[[Request, Exception], Response]:
    """The handler of a failure that answers browsers with a page, and everything else as `tell` does."""

    def handle(request: Request, error: Exception) -> Response:
        told = tell(request, error)
        if not _wants_page(request):
            return told
        message = json.loads(bytes(told.body))["error"]["message"]
        title = _TITLES.get(told.status_code, "That did not work")
        return render(
            request, "failure.html", frame=None, status=told.status_code, code=told.status_code, title=title,
            message=message,
        )  # fmt: skip

    return handle


def _wants_page(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/v1/")
