"""What the API answers with: the documents of the command line, and how OpenAPI describes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import HTTPException, Path, Query, Response
from pydantic import AfterValidator, TypeAdapter
from pydantic_core import PydanticCustomError

from billfold.documents import dump
from billfold.errors import UsageError
from billfold.period import BillingPeriod, parse_period
from billfold.web.cursors import MAX_ID

# Of each router itself: the request log tells a route by its own path.
PREFIX = "/v1"
DEFAULT_LIMIT = 50
MAX_LIMIT = 1_000

_MONTH = r"^[0-9]{4}-(0[1-9]|1[0-2])$"
# PostgreSQL takes no zero byte in a text.
TEXT_PATTERN = r"^[^\x00]*$"


def _check_month(text: str | None) -> str | None:
    """The text, if it is spelled as a month; its pattern alone would be told to whoever spelled it wrong."""
    if text is not None and not re.fullmatch(_MONTH, text, re.ASCII):
        raise PydanticCustomError("month", "is no month such as 2026-05")
    return text


Text = Annotated[str, Query(max_length=1_000, pattern=TEXT_PATTERN)]
Texts = Annotated[list[Annotated[str, Query(max_length=1_000, pattern=TEXT_PATTERN)]], Query(max_length=50)]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="At most so many rows.")]
Cursor = Annotated[str | None, Query(max_length=4_000, description="`next_cursor` of the page before.")]
OneClient = Annotated[Text | None, Query(description="Only this client.")]
OneExport = Annotated[Text | None, Query(description="Only this export, by AWS's name of it.")]
OneMonth = Annotated[
    str | None,
    AfterValidator(_check_month),
    Query(json_schema_extra={"pattern": _MONTH}, description="Only this billing period, such as `2026-05`."),
]
OneStatement = Annotated[int | None, Query(ge=1, le=MAX_ID, description="Only this statement.")]
StatementId = Annotated[int, Path(ge=1, le=MAX_ID)]

_ERROR = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "additionalProperties": False,
            "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
        }
    },
}
FAILURES = {
    400: "The question cannot be answered, or the Host is not allowed.",
    401: "No token, or none that is in force.",
    403: "The token is not for this client, or lacks the scope.",
    404: "There is none, or it is another client's.",
    422: "A parameter cannot be what it has to be.",
    429: "Too many requests: `Retry-After` says when.",
    503: "PostgreSQL does not answer: try again.",
}


def answer(document: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The document as the command line prints it: exact amounts are text."""
    return Response(dump(document), status_code=status, headers=headers, media_type="application/json")


def describe(schema: Mapping[str, Any]) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI tells of a route's answers."""
    return {200: describe_success("Exact amounts are text.", schema), **describe_failures(FAILURES)}


def describe_success(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """What OpenAPI tells of one status that answers with a document."""
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def describe_failures(texts: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI tells of statuses that answer in the one error shape."""
    failure = {"application/json": {"schema": _ERROR}}
    return {status: {"description": text, "content": failure} for status, text in texts.items()}


def schema_of_rows(name: str, row: type[Any], *, is_paged: bool = False) -> dict[str, Any]:
    """The schema of a list of rows, in the names of `report_document`."""
    cursor = {"next_cursor": {"type": ["string", "null"]}} if is_paged else {}
    properties = {name: {"type": "array", "items": schema_of_row(row)}, **cursor}
    return {"type": "object", "required": list(properties), "properties": properties}


def schema_of_row(row: type[Any]) -> dict[str, Any]:
    """The schema of one row."""
    schema = TypeAdapter(row).json_schema()
    names = {"client_id": "client", "export_name": "export"}
    properties = {names.get(name, name): value for name, value in schema["properties"].items()}
    return {"type": "object", "required": list(properties), "properties": properties}


def missing(what: str) -> HTTPException:
    """The failure of what is not there, or is another client's: which of the two is not told."""
    return HTTPException(404, f"there is no such {what}")


def parse_optional_month(text: str | None) -> BillingPeriod | None:
    """The month that a parameter names; raises UsageError for one that no calendar has."""
    period = parse_period(text) if text else None
    if text and period is None:
        raise UsageError(f"there is no month {text}")
    return period
