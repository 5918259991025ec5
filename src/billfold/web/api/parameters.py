"""The query parameters that routes share, and the check that refuses unknown ones.

A filter that no route reads must fail: ignoring it would return the sums of everything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, get_origin

from fastapi import Path, Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

from billfold.errors import UsageError
from billfold.web.cursors import MAX_ID

DEFAULT_LIMIT = 50
MAX_LIMIT = 1_000

_MONTH = r"^[0-9]{4}-(0[1-9]|1[0-2])$"
# PostgreSQL takes no zero byte in a text.
TEXT_PATTERN = r"^[^\x00]*$"


def _check_month(text: str | None) -> str | None:
    """The text, if it is a month; the message of a plain pattern would show the pattern."""
    if text is not None and not re.fullmatch(_MONTH, text, re.ASCII):
        raise PydanticCustomError("month", "must be a month such as 2026-05")
    return text


Text = Annotated[str, Query(max_length=1_000, pattern=TEXT_PATTERN)]
Texts = Annotated[list[Annotated[str, Query(max_length=1_000, pattern=TEXT_PATTERN)]], Query(max_length=50)]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="The maximum number of rows.")]
Cursor = Annotated[str | None, Query(max_length=4_000, description="`next_cursor` of the previous page.")]
OneClient = Annotated[Text | None, Query(description="Only this client.")]
OneExport = Annotated[Text | None, Query(description="Only this export, by its name in AWS.")]
OneMonth = Annotated[
    str | None,
    AfterValidator(_check_month),
    Query(json_schema_extra={"pattern": _MONTH}, description="Only this billing period, such as `2026-05`."),
]
FirstMonth = Annotated[
    str | None,
    AfterValidator(_check_month),
    Query(json_schema_extra={"pattern": _MONTH}, description="The first billing period, such as `2026-04`."),
]
LastMonth = Annotated[
    str | None,
    AfterValidator(_check_month),
    Query(json_schema_extra={"pattern": _MONTH}, description="The last billing period, such as `2026-05`."),
]
OneStatement = Annotated[int | None, Query(ge=1, le=MAX_ID, description="Only this statement.")]
StatementId = Annotated[int, Path(ge=1, le=MAX_ID)]
Moment = Annotated[datetime | None, Query(description="A time; UTC if it names no offset.")]


def in_utc(moment: datetime | None) -> datetime | None:
    """The same time in UTC; raises UsageError where UTC would leave the calendar."""
    try:
        return moment and (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError as error:
        raise UsageError("the time is outside the calendar") from error


def refuse_unknown(request: Request) -> None:
    """Raise RequestValidationError for an unknown parameter, and for a second value where only one counts.

    FastAPI ignores the former and takes the last value of the latter.
    """
    route = request.scope["route"]
    assert isinstance(route, APIRoute)
    takes_many = dict(_list_parameters(route.dependant))
    complaints = []
    for name in dict.fromkeys(request.query_params):
        if name not in takes_many:
            known = f"known parameters: {', '.join(sorted(takes_many))}" if takes_many else "this route has none"
            complaints.append({"loc": ("query", name[:100]), "msg": f"unknown parameter; {known}"})
        elif not takes_many[name] and len(request.query_params.getlist(name)) > 1:
            complaints.append({"loc": ("query", name), "msg": "can be given only once"})
    if complaints:
        raise RequestValidationError(complaints)


def _list_parameters(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    """Each parameter that the route or one of its dependencies reads, and whether it takes several values."""
    for parameter in dependant.query_params:
        yield parameter.alias, get_origin(parameter.field_info.annotation) is list
    for child in dependant.dependencies:
        yield from _list_parameters(child)
