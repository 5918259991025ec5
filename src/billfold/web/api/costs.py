"""The routes of sums: what was spent, and what moved."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response

from billfold import reports
from billfold.documents import changes_document, costs_document
from billfold.errors import UsageError
from billfold.selection import (
    DEFAULT_CHANGE_COLUMNS,
    ChangeColumn,
    ChargeCategory,
    Filter,
    Metric,
    Preset,
    Selection,
    parse_cost_columns,
    parse_pairs,
)
from billfold.store.database import Database
from billfold.web.access import ReadAccess
from billfold.web.api.responses import (
    PREFIX,
    OneClient,
    OneExport,
    OneMonth,
    OneStatement,
    Texts,
    answer,
    describe,
    parse_optional_month,
)

MAX_COST_ROWS = 10_000
MAX_CHANGED_GROUPS = 10_000
_MAX_NUMBER = 2**31 - 1

_AMOUNT = {"type": "object", "required": ["currency", "cost"], "properties": {"cost": {"type": "string"}}}
_COSTS = {
    "type": "object",
    "required": ["metric", "split", "as_of", "costs", "totals", "is_truncated"],
    "properties": {
        "costs": {"type": "array", "items": _AMOUNT},
        "totals": {"type": "array", "items": _AMOUNT},
        "is_truncated": {"type": "boolean"},
    },
}
_CHANGES = {
    "type": "object",
    "required": ["metric", "by", "changes", "totals", "closed_months_moved", "group_count"],
    "properties": {
        "changes": {"type": "array", "items": {"type": "object", "required": ["statement_id", "totals", "groups"]}},
        "group_count": {"type": "integer"},
    },
}
_Moment = Annotated[
    datetime | None, Query(description="An instant; without an offset in UTC. Only what stood at it is summed.")
]


def make_router(database: Database) -> APIRouter:
    """`/costs` and `/changes`: sums that are made where the rows are."""
    router = APIRouter(prefix=PREFIX)

    @router.get("/costs", responses=describe(_COSTS), tags=["costs"])
    def sum_costs(
        access: ReadAccess,
        service: Texts = [],  # noqa: B006
        account: Texts = [],  # noqa: B006
        region: Texts = [],  # noqa: B006
        category: Annotated[list[ChargeCategory], Query(max_length=50)] = [],  # noqa: B006
        owner: Texts = [],  # noqa: B006
        tag: Texts = [],  # noqa: B006
        cost_category: Texts = [],  # noqa: B006
        iam_principal: Texts = [],  # noqa: B006
        user_identifier: Texts = [],  # noqa: B006
        cluster: Texts = [],  # noqa: B006
        namespace: Texts = [],  # noqa: B006
        workload: Texts = [],  # noqa: B006
        pod: Texts = [],  # noqa: B006
        parent: Texts = [],  # noqa: B006
        without: Annotated[list[Preset], Query(max_length=50)] = [],  # noqa: B006
        by: Annotated[str, Query(max_length=1_000, description="Columns as `billfold costs --by` takes them.")] = (
            "service,month"
        ),
        split: Annotated[bool, Query(description="Containers in place of the instances that they run on.")] = False,
        metric: Annotated[Metric | None, Query(description="Without it billed, of split costs effective.")] = None,
        client: OneClient = None,
        export: OneExport = None,
        month: OneMonth = None,
        since: OneMonth = None,
        until: OneMonth = None,
        as_of: _Moment = None,
        limit: Annotated[int, Query(ge=1, le=MAX_COST_ROWS)] = MAX_COST_ROWS,
    ) -> Response:
        """What was spent, grouped by columns and currency, the dearest first, and the totals of each month.

        Values of one filter are alternatives, several filters must hold together; `tag=KEY=VALUE`, and an empty value
        stands for none. In a key, `\\,` is a comma of `by`, and `\\=` an equals sign of `tag` and `cost_category`.
        """
        report = reports.sum_costs(
            database,
            columns=parse_cost_columns([_clean(by)]),
            metric=metric,
            client=access.narrow(client),
            export=export,
            month=parse_optional_month(month),
            since=parse_optional_month(since),
            until=parse_optional_month(until),
            selection=Selection(
                services=service,
                accounts=account,
                regions=region,
                categories=category,
                owners=owner,
                tags=parse_pairs("tag", tag),
                cost_categories=parse_pairs("cost_category", cost_category),
                iam_principals=iam_principal,
                user_identifiers=user_identifier,
                parents=parent,
                clusters=cluster,
                namespaces=namespace,
                workloads=workload,
                pods=pod,
                without=without,
            ),
            as_of=_in_utc(as_of),
            split=split,
            limit=limit,
        )
        return answer(costs_document(report))

    @router.get("/changes", responses=describe(_CHANGES), tags=["changes"])
    def list_changes(
        access: ReadAccess,
        by: Annotated[list[ChangeColumn], Query(max_length=len(ChangeColumn))] = list(DEFAULT_CHANGE_COLUMNS),  # noqa: B006
        client: OneClient = None,
        export: OneExport = None,
        period: OneMonth = None,
        statement: OneStatement = None,
        from_publication: Annotated[int | None, Query(ge=0, le=_MAX_NUMBER)] = None,
        to_publication: Annotated[int | None, Query(ge=0, le=_MAX_NUMBER)] = None,
        from_moment: _Moment = None,
        to_moment: _Moment = None,
        metric: Metric = Metric.BILLED,
        limit: Annotated[int, Query(ge=1, le=MAX_CHANGED_GROUPS)] = MAX_CHANGED_GROUPS,
    ) -> Response:
        """What moved between two publications of a statement, or two moments; by default with the latest publication.

        `limit` keeps so many groups, the largest differences; `group_count` is the number of all.
        """
        report = reports.list_changes(
            database,
            Filter(
                client=access.narrow(client), export=export, period=parse_optional_month(period), statement=statement
            ),
            start=_one_of("from", from_publication, _in_utc(from_moment)),
            end=_one_of("to", to_publication, _in_utc(to_moment)),
            columns=list(dict.fromkeys(by)) or DEFAULT_CHANGE_COLUMNS,
            metric=metric,
            limit=limit,
        )
        return answer({**changes_document(report), "group_count": report.group_count})

    return router


def _one_of(name: str, number: int | None, moment: datetime | None) -> int | datetime | None:
    if number is not None and moment is not None:
        raise UsageError(f"{name}_publication and {name}_moment exclude each other")
    return moment if number is None else number


def _in_utc(moment: datetime | None) -> datetime | None:
    try:
        return moment and (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError as error:
        raise UsageError("the moment is outside of what a calendar holds") from error


def _clean(text: str) -> str:
    if "\0" in text:
        raise UsageError("by is no text")
    return text
