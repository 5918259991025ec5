"""The query of an address about costs, such as `?group=service&metric=billed&since=2026-04&service=AmazonEC2`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import Query

from billfold.errors import UsageError
from billfold.period import BillingPeriod
from billfold.reports import ChargeCategory, CostColumn, KeyColumn, MapColumn, Metric, Selection
from billfold.reports.cost_filters import format_pair, parse_pairs
from billfold.reports.spending import Question
from billfold.web.pages.fields import choose, read_month, read_text, read_texts

# In an address '' would be lost: forms leave empty fields in.
NONE = "(none)"
MAX_VALUES = 50

# What groups are called in addresses; the order is that of drilling down, which ends before the callers.
GROUPS = ("service", "account", "region", "category", "iam-principal", "user-identifier", "tag", "cost-category")
_DRILLED = GROUPS[:4]
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
    since: BillingPeriod | None
    until: BillingPeriod | None
    values: Mapping[str, tuple[str, ...]]

    def question(self, client: str | None) -> Question:
        """What is asked for, within what whoever asks may see."""
        values = {name: [_unspell(value) for value in found] for name, found in self.values.items()}
        return Question(
            group=self.column,
            metric=self.metric,
            client=client,
            since=self.since,
            until=self.until,
            selection=Selection(
                services=values["service"],
                accounts=values["account"],
                regions=values["region"],
                categories=[ChargeCategory(value) for value in values["category"]],
                tags=parse_pairs("tag", values["tag"]),
                cost_categories=parse_pairs("cost_category", values["cost_category"]),
                iam_principals=values["iam_principal"],
                user_identifiers=values["user_identifier"],
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
            "metric": None if self.metric is Metric.BILLED else self.metric,
            "since": self.since,
            "until": self.until,
            **{name: list(values) for name, values in self.values.items()},
        }

    def drill(self, name: str) -> dict[str, Any]:
        """The query that looks into one group: filtered by it, and grouped by what is not filtered by yet."""
        value = format_pair(self.tag_key, name) if self.is_by_key else name or NONE
        values = {**self.values, self.group.replace("-", "_"): (value,)}
        following = next((group for group in _DRILLED if not values[group]), self.group)
        tag_key = self.tag_key if following in KEY_GROUPS else ""
        return replace(self, values=values, group=following, tag_key=tag_key).parameters()

    def without(self, field: str, value: str) -> dict[str, Any]:
        """The query with one filter less."""
        kept = tuple(each for each in self.values[field] if each != value)
        return replace(self, values={**self.values, field: kept}).parameters()


def read_cost_query(
    service: _Texts,
    account: _Texts,
    region: _Texts,
    category: _Texts,
    tag: _Texts,
    cost_category: _Texts,
    iam_principal: _Texts,
    user_identifier: _Texts,
    client: str = "",
    group: str = GROUPS[0],
    tag_key: str = "",
    metric: str = Metric.BILLED,
    since: str = "",
    until: str = "",
) -> CostQuery:
    """The query of an address. Raises UsageError for what is none: each message names the field."""
    texts = {
        "service": service,
        "account": account,
        "region": region,
        "category": category,
        "iam_principal": iam_principal,
        "user_identifier": user_identifier,
        "tag": tag,
        "cost_category": cost_category,
    }
    values = {name: read_texts(name, found) for name, found in texts.items()}
    for value in values["category"]:
        choose("category", value, tuple(ChargeCategory))
    for name in ("tag", "cost_category"):
        parse_pairs(name, values[name])
    group = choose("group", group or GROUPS[0], GROUPS)
    [tag_key] = read_texts("tag_key", [tag_key]) or ("",)
    if group in KEY_GROUPS and not tag_key:
        raise UsageError(f"costs by {group.replace('-', ' ')} need a key: tag_key", advice="write it beside `Group by`")
    return CostQuery(
        client=read_text("client", client),
        group=group,
        tag_key=tag_key,
        metric=Metric(choose("metric", metric or Metric.BILLED, tuple(Metric))),
        since=read_month("since", since),
        until=read_month("until", until),
        values=values,
    )


def _unspell(value: str) -> str:
    return "" if value == NONE else value
