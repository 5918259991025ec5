"""What an HTTP status tells: one for each kind of failure, and one shape for all of them."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import Request
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
    errors.SchemaVersionError: 500,
    errors.QueryError: 400,
    errors.RunConflictError: 503,
    errors.ReconciliationError: 500,
    errors.DeliveryHeldError: 409,
    errors.InternalError: 500,
}


def tell_failure(status: int, code: str, message: str) -> JSONResponse:
    """A failure as every route tells it."""
    return JSONResponse({"error": {"code": code, "message": message}}, status_code=status)


def tell_billfold_error(_request: Request, error: Exception) -> JSONResponse:
    """A failure that Billfold understands."""
    assert isinstance(error, errors.BillfoldError)
    return tell_failure(HTTP_STATUSES[type(error)], error.error_code, str(error))


def tell_http_error(_request: Request, error: Exception) -> JSONResponse:
    """A request that no route takes."""
    assert isinstance(error, HTTPException)
    return tell_failure(error.status_code, "http", str(error.detail))
