"""The responses to failed requests: one HTTP status for each kind of error, one shape for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from billfold.errors import BillfoldError, UnauthorizedError

# For a body that is not even a document, pydantic's own messages only help those who know pydantic.
_NOT_A_DOCUMENT = {"json_invalid": "is not JSON", "model_attributes_type": "is not a JSON object"}


def fail(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A failure in the one shape of every route."""
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status, headers=headers)


def on_billfold_error(_request: Request | None, error: Exception) -> JSONResponse:
    """A known failure of Billfold."""
    assert isinstance(error, BillfoldError)
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, UnauthorizedError) else None
    return fail(error.http_status, error.error_code, str(error), headers)


def on_http_error(_request: Request | None, error: Exception) -> JSONResponse:
    """A request that no route accepts."""
    assert isinstance(error, HTTPException)
    code = "too_large" if error.status_code == 413 else "http"
    return fail(error.status_code, code, str(error.detail), error.headers)


def on_invalid_request(_request: Request, error: Exception) -> JSONResponse:
    """An invalid parameter or body: the message names each wrong field, but never repeats its value."""
    assert isinstance(error, RequestValidationError)
    complaints = [_format_complaint(each["loc"], each["msg"], each.get("type", "")) for each in error.errors()]
    return fail(422, "invalid_request", "; ".join(complaints))


def on_unexpected_error(_request: Request, _error: Exception) -> JSONResponse:
    """An unexpected exception: its details go to the log only."""
    return fail(500, "internal", "internal error in Billfold: the log has the traceback")


def _format_complaint(place: Sequence[str | int], text: str, kind: str) -> str:
    """Names the field, such as `limit` or `key`, without saying whether it is in the query or the body."""
    if kind in _NOT_A_DOCUMENT:
        return f"body: {_NOT_A_DOCUMENT[kind]}"
    return f"{'.'.join(map(str, place[1:] or place))}: {text}"
