"""Failures as pages, for people with a browser."""

from __future__ import annotations

import json
from collections.abc import Callable

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from billfold.web.pages.rendering import render

_TITLES = {
    400: "This request is not valid",
    401: "Sign in first",
    403: "This token does not allow that",
    404: "Page not found",
    422: "This request is not valid",
    500: "Internal error",
    503: "Try again in a moment",
}

ErrorHandler = Callable[[Request, Exception], JSONResponse]


def as_page(handler: ErrorHandler) -> Callable[[Request, Exception], Response]:
    """A handler that shows browsers a page, and answers everything else as `handler` does."""

    def handle(request: Request, error: Exception) -> Response:
        failure = handler(request, error)
        if not _wants_page(request):
            return failure
        status = failure.status_code
        return render(
            request,
            "failure.html",
            frame=None,
            status=status,
            code=status,
            title=_TITLES.get(status, "That did not work"),
            message=json.loads(bytes(failure.body))["error"]["message"],
        )

    return handle


def _wants_page(request: Request) -> bool:
    return "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/v1/")
