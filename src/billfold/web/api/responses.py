"""What the API returns: the documents of the command line, and how OpenAPI describes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from fastapi import HTTPException, Response
from pydantic import TypeAdapter

from billfold.app.values import DeliveryRow, PublicationRow, RunRow, StatementRow
from billfold.documents import dump, report_document
from billfold.web.cursors import next_cursor

Row = TypeVar("Row", RunRow, DeliveryRow, StatementRow, PublicationRow)

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
    400: "The request is not valid, or the Host is not allowed.",
    401: "The token is missing, unknown, revoked or expired.",
    403: "The token is for another client, or lacks the scope.",
    404: "Not found, or it belongs to another client.",
    422: "A parameter is not valid.",
    429: "Too many requests: `Retry-After` says when to try again.",
    503: "PostgreSQL is not available: try again.",
}


def answer(document: Mapping[str, Any], *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """The document as the command line prints it: exact amounts are text."""
    return Response(dump(document), status_code=status, headers=headers, media_type="application/json")


def answer_page(name: str, rows: Sequence[Row], limit: int, place_of: Callable[[Row], tuple[Any, ...]]) -> Response:
    """The first `limit` rows, and the cursor of the next page if there are more."""
    more = next_cursor(*place_of(rows[limit - 1])) if len(rows) > limit else None
    return answer({**report_document(name, rows[:limit]), "next_cursor": more})


def answer_one(name: str, rows: Sequence[Any], what: str) -> Response:
    """The only row; raises HTTPException 404 where there is none."""
    found = report_document(name, rows)[name]
    if not found:
        raise not_found(what)
    return answer(found[0])


def not_found(what: str) -> HTTPException:
    """The failure for what does not exist or belongs to another client; it does not say which of the two."""
    return HTTPException(404, f"{what} not found")


def describe(schema: Mapping[str, Any]) -> dict[int | str, dict[str, Any]]:
    """A route's responses for OpenAPI."""
    return {200: describe_success("Exact amounts are text.", schema), **describe_failures(FAILURES)}


def describe_success(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """One status that returns a document, for OpenAPI."""
    return {"description": text, "content": {"application/json": {"schema": schema}}}


def describe_failures(texts: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """The statuses that return the one error shape, for OpenAPI."""
    failure = {"application/json": {"schema": _ERROR}}
    return {status: {"description": text, "content": failure} for status, text in texts.items()}


def schema_of_rows(name: str, row: type[Any], *, is_paged: bool = False) -> dict[str, Any]:
    """The schema of a list of rows, with the names of `report_document`."""
    cursor = {"next_cursor": {"type": ["string", "null"]}} if is_paged else {}
    properties = {name: {"type": "array", "items": schema_of_row(row)}, **cursor}
    return {"type": "object", "required": list(properties), "properties": properties}


def schema_of_row(row: type[Any]) -> dict[str, Any]:
    """The schema of one row."""
    schema = TypeAdapter(row).json_schema()
    names = {"client_id": "client", "export_name": "export"}
    properties = {names.get(name, name): value for name, value in schema["properties"].items()}
    return {"type": "object", "required": list(properties), "properties": properties}
