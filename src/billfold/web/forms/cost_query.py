"""The query of the costs page, such as `?group=service&metric=billed&since=2026-04&service=AmazonEC2`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import Depends, Query

from billfold.app.values import Question, choose_metric
from billfold.errors import UsageError
from billfold.period import BillingPeriod
from billfold.selection import (
    NOT_ALLOCATED,
    ChargeCategory,
    CostColumn,
    KeyColumn,
    MapColumn,
    Metric,
    Preset,
    Selection,
    format_pair,
    parse_pairs,
)
from billfold.web.forms.fields import choose, read_month, read_text, read_texts, read_values

# An empty value in a URL means no filter, because forms send empty fields.
NONE = "(none)"
MAX_VALUES = 50

# The names of groups in URLs, in the order of drilling down, which ends at categories.
GROUPS = (
    *("service", "account", "region", "category", "owner"),
    *("iam-principal", "user-identifier", "tag", "cost-category"),
)
_DRILLED = GROUPS[:4]
# Groups only of costs that are split by workload; drilling down ends at pods.
SPLIT_GROUPS = ("cluster", "namespace", "workload", "pod", "parent")
_DRILLED_SPLIT = SPLIT_GROUPS[:4]
# Groups by one key, which `tag_key` names.
KEY_GROUPS = tuple(str(column) for column in MapColumn)

_Texts = Annotated[list[str], Query(default_factory=list, max_length=MAX_VALUES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class CostQuery:
    """Which costs to show; `values` holds the values of each filter."""

    client: str | None
    group: str
    tag_key: str
    metric: Metric
    is_split: bool
    since: BillingPeriod | None
    until: BillingPeriod | None
    values: Mapping[str, tuple[str, ...]]

    def question(self, client: str | None) -> Question:
        """The question to the report, within what the token may see."""
        values = {name: [_decode(value) for value in found] for name, found in self.values.items()}
        return Question(
            group=self.column,
            metric=self.metric,
            is_split=self.is_split,
            client=client,
            export=next(iter(self.values["export"]), None),
            since=self.since,
            until=self.until,
            selection=Selection(
                services=values["service"],
                accounts=values["account"],
                owners=values["owner"],
                regions=values["region"],
                categories=[ChargeCategory(value) for value in values["category"]],
                tags=parse_pairs("tag", values["tag"]),
                cost_categories=parse_pairs("cost_category", values["cost_category"]),
                iam_principals=values["iam_principal"],
                user_identifiers=values["user_identifier"],
                parents=values["parent"],
                clusters=values["cluster"],
                namespaces=values["namespace"],
                workloads=values["workload"],
                pods=values["pod"],
                without=[Preset(value) for value in values["without"]],
            ),
        )

    @property
    def column(self) -> CostColumn | KeyColumn:
        """The column that groups the costs."""
        if self.is_by_key:
            return KeyColumn(column=MapColumn(self.group), key=self.tag_key)
        return CostColumn(self.group)

    @property
    def is_by_key(self) -> bool:
        """Whether the groups are the values of `tag_key`."""
        return self.group in KEY_GROUPS

    def parameters(self) -> dict[str, Any]:
        """The query as parameters, without the defaults."""
        return {
            "client": self.client,
            "group": None if self.group == GROUPS[0] else self.group,
            "tag_key": self.tag_key,
            "split": "true" if self.is_split else None,
            "metric": None if self.metric is choose_metric(None, is_split=self.is_split) else self.metric,
            "since": self.since,
            "until": self.until,
            **{name: list(values) for name, values in self.values.items()},
        }

    def drill(self, name: str) -> dict[str, Any]:
        """The query for one group: filtered by it, and grouped by the next column without a filter."""
        value = format_pair(self.tag_key, name) if self.is_by_key else name or NONE
        values = {**self.values, self.group.replace("-", "_"): (value,)}
        order = (*(_DRILLED_SPLIT if self._splits_further(name) else ()), *_DRILLED)
        following = next((group for group in order if not values[group]), self.group)
        tag_key = self.tag_key if following in KEY_GROUPS else ""
        return replace(self, values=values, group=following, tag_key=tag_key).parameters()

    def show_workloads(self, resource_id: str) -> dict[str, Any]:
        """The query for the workloads on an instance in this month."""
        values = {**dict.fromkeys(self.values, ()), "parent": (resource_id,)}
        return replace(
            self, values=values, group="workload", tag_key="", metric=Metric.EFFECTIVE, is_split=True, since=self.until
        ).parameters()

    def with_split(self, is_split: bool) -> dict[str, Any]:
        """The query with or without the split by workload; of effective cost, so that both have the same total."""
        if is_split:
            return replace(self, is_split=True, metric=Metric.EFFECTIVE).parameters()
        values = {name: () if name in SPLIT_GROUPS else found for name, found in self.values.items()}
        group = GROUPS[0] if self.group in SPLIT_GROUPS else self.group
        return replace(self, values=values, group=group, metric=Metric.EFFECTIVE, is_split=False).parameters()

    def with_metric(self, metric: Metric) -> dict[str, Any]:
        """The query for another metric; only effective cost can be split."""
        if self.is_split and metric is not Metric.EFFECTIVE:
            return {**self.with_split(False), "metric": None if metric is Metric.BILLED else metric}
        return replace(self, metric=metric).parameters()

    def _splits_further(self, name: str) -> bool:
        """Whether a group can hold workloads: costs that are not split or not allocated have none."""
        return self.is_split and not (self.group in SPLIT_GROUPS and name in ("", NOT_ALLOCATED))

    def without(self, field: str, value: str) -> dict[str, Any]:
        """The query without one of its filters."""
        kept = tuple(each for each in self.values[field] if each != value)
        return replace(self, values={**self.values, field: kept}).parameters()


def read_filters(
    service: _Texts,
    account: _Texts,
    owner: _Texts,
    region: _Texts,
    category: _Texts,
    tag: _Texts,
    cost_category: _Texts,
    iam_principal: _Texts,
    user_identifier: _Texts,
    parent: _Texts,
    cluster: _Texts,
    namespace: _Texts,
    workload: _Texts,
    pod: _Texts,
    without: _Texts,
    export: _Texts,
) -> dict[str, tuple[str, ...]]:
    """The values of each filter, in the order of the page. Raises UsageError; the message names the field."""
    texts = {
        "export": export,
        "service": service,
        "account": account,
        "owner": owner,
        "region": region,
        "category": category,
        "iam_principal": iam_principal,
        "user_identifier": user_identifier,
        "tag": tag,
        "cost_category": cost_category,
        "cluster": cluster,
        "namespace": namespace,
        "workload": workload,
        "pod": pod,
        "parent": parent,
        "without": without,
    }
    values = {name: read_values(name, found) for name, found in texts.items()}
    for value in values["category"]:
        choose("category", value, tuple(ChargeCategory))
    for value in values["without"]:
        choose("without", value, tuple(Preset))
    if len(values["export"]) > 1:
        raise UsageError("export can be given only once")
    for name in ("tag", "cost_category"):
        parse_pairs(name, values[name])
    return values


def read_cost_query(
    values: Annotated[dict[str, tuple[str, ...]], Depends(read_filters)],
    split: str = "",
    client: str = "",
    group: str = GROUPS[0],
    tag_key: str = "",
    metric: str = "",
    since: str = "",
    until: str = "",
) -> CostQuery:
    """Read the query. Raises UsageError for an invalid value; the message names its field."""
    group = choose("group", group or GROUPS[0], (*GROUPS, *SPLIT_GROUPS))
    [tag_key] = read_texts("tag_key", [tag_key]) or ("",)
    if group in KEY_GROUPS and not tag_key:
        raise UsageError(
            f"costs by {group.replace('-', ' ')} need a key", advice="enter the key next to `Group by`, or set tag_key"
        )
    is_split = (
        choose("split", split or "false", ("true", "false")) == "true"
        or group in SPLIT_GROUPS
        or any(values[name] for name in SPLIT_GROUPS)
    )
    chosen = Metric(choose("metric", metric, tuple(Metric))) if metric else None
    return CostQuery(
        client=read_text("client", client),
        group=group,
        tag_key=tag_key,
        metric=choose_metric(chosen, is_split=is_split),
        is_split=is_split,
        since=read_month("since", since),
        until=read_month("until", until),
        values=values,
    )


def _decode(value: str) -> str:
    return "" if value == NONE else value
