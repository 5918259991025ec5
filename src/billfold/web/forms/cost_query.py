"""The query of an address about costs, such as `?group=service&metric=billed&since=2026-04&service=AmazonEC2`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import Query

from billfold.errors import UsageError
from billfold.period import BillingPeriod
from billfold.reports.costs import choose_metric
from billfold.reports.spending import Question
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

# In an address '' would be lost: forms leave empty fields in.
NONE = "(none)"
MAX_VALUES = 50

# What groups are called in addresses; the order is that of drilling down, which ends before the callers.
GROUPS = (
    *("service", "account", "region", "category", "owner"),
    *("iam-principal", "user-identifier", "tag", "cost-category"),
)
_DRILLED = GROUPS[:4]
# What only costs with workloads in place of their parents are grouped by; drilling down ends at pods.
SPLIT_GROUPS = ("cluster", "namespace", "workload", "pod", "parent")
_DRILLED_SPLIT = SPLIT_GROUPS[:4]
# Groups of one key at a time, which `tag_key` names.
KEY_GROUPS = tuple(str(column) for column in MapColumn)

_Texts = Annotated[list[str], Query(default_factory=list, max_length=MAX_VALUES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class CostQuery:
    """An address's query as it was written; `values` holds the values that each field is filtered by."""

    client: str | None
    group: str
    tag_key: str
    metric: Metric
    is_split: bool
    since: BillingPeriod | None
    until: BillingPeriod | None
    values: Mapping[str, tuple[str, ...]]

    def question(self, client: str | None) -> Question:
        """What is asked for, within what whoever asks may see."""
        values = {name: [_unspell(value) for value in found] for name, found in self.values.items()}
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
        """What the costs are grouped by."""
        if self.is_by_key:
            return KeyColumn(column=MapColumn(self.group), key=self.tag_key)
        return CostColumn(self.group)

    @property
    def is_by_key(self) -> bool:
        """Whether the group is the values of `tag_key`."""
        return self.group in KEY_GROUPS

    def parameters(self) -> dict[str, Any]:
        """The query anew: what stands at its default is left out."""
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
        """The query that looks into one group: filtered by it, and grouped by what is not filtered by yet."""
        value = format_pair(self.tag_key, name) if self.is_by_key else name or NONE
        values = {**self.values, self.group.replace("-", "_"): (value,)}
        order = (*(_DRILLED_SPLIT if self._splits_further(name) else ()), *_DRILLED)
        following = next((group for group in order if not values[group]), self.group)
        tag_key = self.tag_key if following in KEY_GROUPS else ""
        return replace(self, values=values, group=following, tag_key=tag_key).parameters()

    def look_at_parent(self, resource_id: str) -> dict[str, Any]:
        """The query for what runs on an instance in the month."""
        values = {**dict.fromkeys(self.values, ()), "parent": (resource_id,)}
        return replace(
            self, values=values, group="workload", tag_key="", metric=Metric.EFFECTIVE, is_split=True, since=self.until
        ).parameters()

    def with_split(self, is_split: bool) -> dict[str, Any]:
        """The query with or without workloads in place of their parents: of effective cost, so that totals compare."""
        if is_split:
            return replace(self, is_split=True, metric=Metric.EFFECTIVE).parameters()
        values = {name: () if name in SPLIT_GROUPS else found for name, found in self.values.items()}
        group = GROUPS[0] if self.group in SPLIT_GROUPS else self.group
        return replace(self, values=values, group=group, metric=Metric.EFFECTIVE, is_split=False).parameters()

    def with_metric(self, metric: Metric) -> dict[str, Any]:
        """The query of another cost; costs other than the effective one are not split."""
        if self.is_split and metric is not Metric.EFFECTIVE:
            return {**self.with_split(False), "metric": None if metric is Metric.BILLED else metric}
        return replace(self, metric=metric).parameters()

    def _splits_further(self, name: str) -> bool:
        """Whether a group may hold workloads: what is not split has none, what is not allocated belongs to none."""
        return self.is_split and not (self.group in SPLIT_GROUPS and name in ("", NOT_ALLOCATED))

    def without(self, field: str, value: str) -> dict[str, Any]:
        """The query with one filter less."""
        kept = tuple(each for each in self.values[field] if each != value)
        return replace(self, values={**self.values, field: kept}).parameters()


def read_cost_query(
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
    split: str = "",
    client: str = "",
    group: str = GROUPS[0],
    tag_key: str = "",
    metric: str = "",
    since: str = "",
    until: str = "",
) -> CostQuery:
    """The query of an address. Raises UsageError for what is none: each message names the field."""
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
        raise UsageError("export is one name: an address holds it once")
    for name in ("tag", "cost_category"):
        parse_pairs(name, values[name])
    group = choose("group", group or GROUPS[0], (*GROUPS, *SPLIT_GROUPS))
    [tag_key] = read_texts("tag_key", [tag_key]) or ("",)
    if group in KEY_GROUPS and not tag_key:
        raise UsageError(f"costs by {group.replace('-', ' ')} need a key: tag_key", advice="write it beside `Group by`")
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


def _unspell(value: str) -> str:
    return "" if value == NONE else value
