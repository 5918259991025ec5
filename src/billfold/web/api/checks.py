"""The route of data-quality checks."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response

from billfold.app.values import CheckRow
from billfold.documents import report_document
from billfold.model import CheckState
from billfold.web.access import ReadAccess
from billfold.web.api.parameters import OneClient, OneExport, OneMonth, OneStatement
from billfold.web.api.responses import answer, describe, schema_of_row
from billfold.web.api.routers import make_router
from billfold.web.dependencies import OurBillfold

router = make_router("checks")

_CHECKS = {
    "type": "object",
    "required": ["checks", "unchecked_statements"],
    "properties": {
        "checks": {"type": "array", "items": schema_of_row(CheckRow)},
        "unchecked_statements": {"type": "array", "items": {"type": "integer"}},
    },
}


@router.get("/checks", responses=describe(_CHECKS))
def list_checks(
    billfold: OurBillfold,
    access: ReadAccess,
    client: OneClient = None,
    export: OneExport = None,
    period: OneMonth = None,
    statement: OneStatement = None,
    state: CheckState | None = None,
    all: Annotated[bool, Query(description="The checks of all publications, not only of the current ones.")] = False,
) -> Response:
    """The results of data-quality checks, in rows and cost."""
    report = billfold.checks(
        client=access.narrow(client), export=export, month=period, statement=statement, state=state, every=all
    )
    return answer({**report_document("checks", report.rows), "unchecked_statements": list(report.unchecked)})
