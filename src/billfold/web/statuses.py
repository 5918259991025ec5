"""What an HTTP status tells: one for each kind of failure, and one shape for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from billfold import errors

# A 503 is what callers try again: AWS: "Event retry policy" of EventBridge tries 429 and 5xx alone.
HTTP_STATUSES: Mapping[type[errors.BillfoldError], int] = {
    errors.BillfoldError: 500,
    errors.ConfigurationError: 500,
    errors.UsageError: 400,
    errors.UnauthorizedError: 401,
    errors.ForbiddenError: 403,
    errors.SourceError: 502,
    errors.AccessDeniedError: 502,
    errors.SourceNotFoundError: 404,
    errors.SourceUnavailableError: 503,
    errors.TornDeliveryError: 503,
    errors.SourceLimitError: 413,
    errors.SpoolFullError: 503,
    errors.InputError: 422,
    errors.ManifestError: 422,
    errors.UnknownFormatError: 422,
    errors.MissingColumnError: 422,
    errors.MalformedFileError: 422,
    errors.InvalidValueError: 422,
    errors.MessageError: 422,
    errors.StoreError: 500,
    errors.StoreUnavailableError: 503,
    errors.StoreFullError: 500,
    errors.StoreLimitError: 500,
    errors.SchemaVersionError: 500,
    errors.QueryError: 400,
    errors.RunConflictError: 503,
    errors.ReconciliationError: 500,
    errors.DeliveryHeldError: 409,
    errors.InterruptionError: 503,
    errors.InternalError: 500,
}

# Where a body is no document at all, pydantic's words are for whoever knows pydantic.
_NO_DOCUMENT = {"json_invalid": "is no JSON", "model_attributes_type": "is no JSON object"}


def tell_failure(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A failure as every route tells it."""
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status, headers=headers)


def tell_billfold_error(_request: Request | None, error: Exception) -> JSONResponse:
    """A failure that Billfold understands."""
    assert isinstance(error, errors.BillfoldError)
    headers = {"WWW-Authenticate": "Bearer"} if isinstance(error, errors.UnauthorizedError) else None
    return tell_failure(HTTP_STATUSES[type(error)], error.error_code, str(error), headers)


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
