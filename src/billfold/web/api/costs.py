"""The route of costs: sums by columns and currency."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Response

from billfold.app.wanted import CostFilters
from billfold.documents import costs_document
from billfold.errors import UsageError
from billfold.selection import ChargeCategory, Metric, Preset, parse_pairs
from billfold.web.access import ReadAccess
from billfold.web.api.parameters import (
    FirstMonth,
    LastMonth,
    Moment,
    OneClient,
    OneExport,
    OneMonth,
    Texts,
    in_utc,
)
from billfold.web.api.responses import answer, describe
from billfold.web.api.routers import make_router
from billfold.web.dependencies import OurBillfold

MAX_COST_ROWS = 10_000

router = make_router("costs")

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
_Columns = Annotated[str, Query(max_length=1_000, description="Columns, as in `billfold costs --by`.")]


def read_filters(
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
) -> CostFilters:
    """The filters of a query."""
    return {
        "service": service,
        "account": account,
        "region": region,
        "category": category,
        "owner": owner,
        "tag": parse_pairs("tag", tag),
        "cost_category": parse_pairs("cost_category", cost_category),
        "iam_principal": iam_principal,
        "user_identifier": user_identifier,
        "cluster": cluster,
        "namespace": namespace,
        "workload": workload,
        "pod": pod,
        "parent": parent,
        "without": without,
    }


@router.get("/costs", responses=describe(_COSTS))
def sum_costs(
    billfold: OurBillfold,
    access: ReadAccess,
    filters: Annotated[CostFilters, Depends(read_filters)],
    by: _Columns = "service,month",
    split: Annotated[bool, Query(description="Show workloads in place of the instances they run on.")] = False,
    metric: Annotated[Metric | None, Query(description="Default: billed, or effective with `split`.")] = None,
    client: OneClient = None,
    export: OneExport = None,
    month: OneMonth = None,
    since: FirstMonth = None,
    until: LastMonth = None,
    as_of: Moment = None,
    limit: Annotated[int, Query(ge=1, le=MAX_COST_ROWS)] = MAX_COST_ROWS,
) -> Response:
    """Costs grouped by columns and currency, largest first, and the totals of each month.

    A charge matches if it has any of a filter's values, and passes all filters. `tag` takes `KEY=VALUE`; an empty value
    selects charges without one. In a key, write a comma of `by` as `\\,`, and an equals sign of `tag` and
    `cost_category` as `\\=`. `as_of` shows the bills as they stood at that time.
    """
    report = billfold.costs(
        _refuse_zero_byte(by),
        metric=metric,
        client=access.narrow(client),
        export=export,
        month=month,
        since=since,
        until=until,
        as_of=in_utc(as_of),
        split=split,
        limit=limit,
        **filters,
    )
    return answer(costs_document(report))


def _refuse_zero_byte(text: str) -> str:
    if "\0" in text:
        raise UsageError("by contains a zero byte")
    return text
