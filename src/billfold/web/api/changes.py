"""The route of changes: what moved between two publications of a statement."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Query, Response

from billfold.documents import changes_document
from billfold.errors import UsageError
from billfold.selection import DEFAULT_CHANGE_COLUMNS, ChangeColumn, Metric
from billfold.web.access import ReadAccess
from billfold.web.api.parameters import (
    Moment,
    OneClient,
    OneExport,
    OneMonth,
    OneStatement,
    in_utc,
)
from billfold.web.api.responses import answer, describe
from billfold.web.api.routers import make_router
from billfold.web.dependencies import OurBillfold

MAX_CHANGED_GROUPS = 10_000
_MAX_NUMBER = 2**31 - 1

router = make_router("changes")

_CHANGES = {
    "type": "object",
    "required": ["metric", "by", "changes", "totals", "closed_months_moved", "group_count"],
    "properties": {
        "changes": {"type": "array", "items": {"type": "object", "required": ["statement_id", "totals", "groups"]}},
        "group_count": {"type": "integer"},
    },
}
_Number = Annotated[
    int | None, Query(ge=0, le=_MAX_NUMBER, description="Number of a publication; 0 is before the first.")
]


@router.get("/changes", responses=describe(_CHANGES))
def list_changes(
    billfold: OurBillfold,
    access: ReadAccess,
    by: Annotated[list[ChangeColumn], Query(max_length=len(ChangeColumn))] = list(DEFAULT_CHANGE_COLUMNS),  # noqa: B006
    client: OneClient = None,
    export: OneExport = None,
    period: OneMonth = None,
    statement: OneStatement = None,
    from_publication: _Number = None,
    to_publication: _Number = None,
    from_moment: Moment = None,
    to_moment: Moment = None,
    metric: Metric = Metric.BILLED,
    limit: Annotated[int, Query(ge=1, le=MAX_CHANGED_GROUPS)] = MAX_CHANGED_GROUPS,
) -> Response:
    """Cost changes between two publications of a statement, or between two times; by default the latest publication's.

    `limit` keeps the groups that changed most; `group_count` counts all of them.
    """
    report = billfold.changes(
        list(by) or DEFAULT_CHANGE_COLUMNS,
        client=access.narrow(client),
        export=export,
        month=period,
        statement=statement,
        start=_one_of("from", from_publication, in_utc(from_moment)),
        end=_one_of("to", to_publication, in_utc(to_moment)),
        metric=metric,
        limit=limit,
    )
    return answer({**changes_document(report), "group_count": report.group_count})


def _one_of(name: str, number: int | None, moment: datetime | None) -> int | datetime | None:
    if number is not None and moment is not None:
        raise UsageError(f"use either {name}_publication or {name}_moment, not both")
    return moment if number is None else number
