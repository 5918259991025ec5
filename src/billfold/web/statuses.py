"""What an HTTP status tells: one for each kind of failure, and one shape for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from billfold.errors import BillfoldError, UnauthorizedError

# Where a body is no document at all, pydantic's words are for whoever knows pydantic.
_NO_DOCUMENT = {"json_invalid": "is no JSON", "model_attributes_type": "is no JSON object"}


def tell_failure(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A failure as every route tells it."""
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status, headers=headers)


def tell_billfold_error(_request: Request | None, error: Exception) -> JSONResponse:
    """A failure that Billfold understands."""
    assert isinstance(error, BillfoldError)
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, UnauthorizedError) else None
    return tell_failure(error.http_status, error.error_code, str(error), headers)


def tell_http_error(_request: Request | None, error: Exception) -> JSONResponse:
    """A request that no route takes."""
    assert isinstance(error, HTTPException)
    code = "too_large" if error.status_code == 413 else "http"
    return tell_failure(error.status_code, code, str(error.detail), error.headers)


def tell_invalid_request(_request: Request, error: Exception) -> JSONResponse:
    """A parameter or a body that cannot be: each wrong field by its name, but not what it held."""
    assert isinstance(error, RequestValidationError)
    complaints = [_spell(each["loc"], each["msg"], each.get("type", "")) for each in error.errors()]
    return tell_failure(422, "invalid_request", "; ".join(complaints))


def tell_defect(_request: Request, _error: Exception) -> JSONResponse:
    """What nobody expected: it is for the log, whoever asked learns nothing of it."""
    return tell_failure(500, "internal", "a defect of Billfold's: its traceback is in the log")


def _spell(place: Sequence[str | int], text: str, kind: str) -> str:
    """`limit` of the query, `key` of the body: the part says no more than the name, unless it is all there is."""
    if kind in _NO_DOCUMENT:
        return f"body: {_NO_DOCUMENT[kind]}"
    return f"{'.'.join(map(str, place[1:] or place))}: {text}"
