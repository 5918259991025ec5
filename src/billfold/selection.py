"""What a report shows: what it sums, groups by and leaves out, as values, and the words for them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from billfold.errors import UsageError
from billfold.period import BillingPeriod

DEFAULT_LIMIT = 50
MAX_LIMIT = 100_000
DEFAULT_COST_LIMIT = 10_000

# A publication's number in its statement (0 is before the first), or a moment with its offset.
Point = int | datetime

_ESCAPED_EQUALS = "\\="
_PAIR = re.compile(r"((?:\\=|[^=])++)=(.*)", re.DOTALL)
_COMMA = re.compile(r"(?<!\\),")


class CostColumn(StrEnum):
    """What costs can be grouped by; a month is a billing period, a day the UTC day on which a charge starts.

    The category is the charge's (Usage, Purchase, Tax), pricing its pricing category, commitment its commitment
    discount status. The IAM principal made the call that is charged, the user identifier is that of a workforce user.

    Split cost allocation has a parent, which is the instance, and the workloads on it. Cluster, namespace, workload
    and pod are those of EKS: a Deployment has its name rather than that of its ReplicaSet. For ECS they are cluster,
    none, service and task; for Batch compute environment, job queue, job definition and task. They are NOT_ALLOCATED
    for the rest of a parent's cost, and '' for what is not split.
    """

    SERVICE = "service"
    SERVICE_CATEGORY = "service-category"
    ACCOUNT = "account"
    OWNER = "owner"
    REGION = "region"
    CATEGORY = "category"
    PRICING = "pricing"
    COMMITMENT = "commitment"
    INVOICE = "invoice"
    IAM_PRINCIPAL = "iam-principal"
    USER_IDENTIFIER = "user-identifier"
    PARENT = "parent"
    CLUSTER = "cluster"
    NAMESPACE = "namespace"
    WORKLOAD = "workload"
    POD = "pod"
    DAY = "day"
    MONTH = "month"


# Only split costs, where workloads replace their parents, have these.
SPLIT_COLUMNS = (CostColumn.PARENT, CostColumn.CLUSTER, CostColumn.NAMESPACE, CostColumn.WORKLOAD, CostColumn.POD)
NOT_ALLOCATED = "not allocated"


class MapColumn(StrEnum):
    """What costs can be grouped by one key at a time."""

    TAG = "tag"
    COST_CATEGORY = "cost-category"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyColumn:
    """The value of one tag or one cost category; keys are case-sensitive."""

    column: MapColumn
    key: str

    def __str__(self) -> str:
        return f"{self.column}:{self.key}"


class Metric(StrEnum):
    """Which of FOCUS's costs is summed."""

    BILLED = "billed"
    EFFECTIVE = "effective"
    LIST = "list"
    CONTRACTED = "contracted"


class ChargeCategory(StrEnum):
    """FOCUS 1.2: the allowed values of ChargeCategory."""

    USAGE = "Usage"
    PURCHASE = "Purchase"
    TAX = "Tax"
    CREDIT = "Credit"
    ADJUSTMENT = "Adjustment"


class Preset(StrEnum):
    """What can be left out: taxes and credits by charge category; refunds by the bill's own mark.

    A refund is CUR's line item type Refund. FOCUS has no such mark: there all corrections of what was invoiced, other
    than credits, are left out (an inference).
    """

    TAX = "tax"
    CREDIT = "credit"
    REFUND = "refund"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which costs a report shows: values of one field are alternatives, several fields must all match.

    An empty field matches everything; the value '' means none. A service has a name and a code; either
    matches. Of every named tag key and cost category, one of the values must match.
    """

    services: Sequence[str] = ()
    accounts: Sequence[str] = ()
    regions: Sequence[str] = ()
    categories: Sequence[ChargeCategory] = ()
    owners: Sequence[str] = ()
    tags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    cost_categories: Mapping[str, Sequence[str]] = field(default_factory=dict)
    iam_principals: Sequence[str] = ()
    user_identifiers: Sequence[str] = ()
    parents: Sequence[str] = ()
    clusters: Sequence[str] = ()
    namespaces: Sequence[str] = ()
    workloads: Sequence[str] = ()
    pods: Sequence[str] = ()
    without: Sequence[Preset] = ()

    def columns(self) -> set[str]:
        """The columns that it filters."""
        looked_at = {
            CostColumn.SERVICE: self.services,
            CostColumn.ACCOUNT: self.accounts,
            CostColumn.REGION: self.regions,
            CostColumn.CATEGORY: [*self.categories, *self.without],
            CostColumn.OWNER: self.owners,
            MapColumn.TAG: self.tags,
            MapColumn.COST_CATEGORY: self.cost_categories,
            CostColumn.IAM_PRINCIPAL: self.iam_principals,
            CostColumn.USER_IDENTIFIER: self.user_identifiers,
            CostColumn.PARENT: self.parents,
            CostColumn.CLUSTER: self.clusters,
            CostColumn.NAMESPACE: self.namespaces,
            CostColumn.WORKLOAD: self.workloads,
            CostColumn.POD: self.pods,
        }
        return {column for column, values in looked_at.items() if values}

    def parameters(self) -> dict[str, Any]:
        """The selection as parameters of the query."""
        return {
            "services": list(self.services) or None,
            "accounts": list(self.accounts) or None,
            "regions": list(self.regions) or None,
            "categories": [str(category) for category in self.categories] or None,
            "owners": list(self.owners) or None,
            "tags": json.dumps(dict(self.tags)) if self.tags else None,
            "cost_categories": json.dumps(dict(self.cost_categories)) if self.cost_categories else None,
            "iam_principals": list(self.iam_principals) or None,
            "user_identifiers": list(self.user_identifiers) or None,
            "parents": list(self.parents) or None,
            "clusters": list(self.clusters) or None,
            "namespaces": list(self.namespaces) or None,
            "workloads": list(self.workloads) or None,
            "pods": list(self.pods) or None,
            "without": [str(preset) for preset in self.without],
        }


class ChangeColumn(StrEnum):
    """What changes can be grouped by; the category is the charge's (Usage, Purchase, Tax), not the service's."""

    ACCOUNT = "account"
    SERVICE = "service"
    REGION = "region"
    DAY = "day"
    CATEGORY = "category"


DEFAULT_CHANGE_COLUMNS = (ChangeColumn.ACCOUNT, ChangeColumn.SERVICE, ChangeColumn.DAY, ChangeColumn.CATEGORY)


class FileFormat(StrEnum):
    """The format of an export."""

    CSV = "csv"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which rows a report shows; None matches everything.

    `state` is a run's status or a delivery's state. Lists of statements, publications, changes and checks look at
    `statement`, those of publications, deliveries and runs at `delivery` and at `after` too: the instant and the id of
    the last row seen. Of statements `after_statement` is it: month, client, export and id of the last one.
    `run` is for runs alone, `delivered_on` (a day in UTC) for deliveries.
    """

    client: str | None = None
    export: str | None = None
    period: BillingPeriod | None = None
    statement: int | None = None
    delivery: UUID | None = None
    run: UUID | None = None
    state: str | None = None
    delivered_on: date | None = None
    after: tuple[datetime, UUID | int] | None = None
    after_statement: tuple[date, str, str, int] | None = None
    limit: int = DEFAULT_LIMIT

    def parameters(self) -> dict[str, Any]:
        """The filter as parameters of the queries."""
        after_at, after_id = self.after or (None, None)
        after_period, after_client, after_export, after_statement = self.after_statement or (None,) * 4
        return {
            **asdict(self),
            "period": self.period.starts_on if self.period else None,
            "after_at": after_at,
            "after_id": after_id,
            "after_period": after_period,
            "after_client": after_client,
            "after_export": after_export,
            "after_statement": after_statement,
        }


_COLUMNS = ", ".join([*CostColumn, *(f"{column}:KEY" for column in MapColumn)])


def parse_cost_columns(by: Sequence[str]) -> list[CostColumn | KeyColumn]:
    """The columns of `--by account,tag:Env --by month`, each once.

    A key goes from the first colon to the next comma; a comma inside of a key is written `\\,`.
    """
    names = _words(by)
    if not names:
        raise UsageError("no columns to group costs by", advice=f"use {_COLUMNS}")
    return list(dict.fromkeys(map(_parse_column, names)))


def parse_presets(without: Sequence[str]) -> list[Preset]:
    """The presets of `--without tax,credit --without refund`, each once."""
    names = [name.lower() for name in _words(without)]
    unknown = [name for name in names if name not in list(Preset)]
    if unknown or (without and not names):
        raise UsageError(
            f"{unknown[0] if unknown else 'nothing'} cannot be left out of costs", advice=f"use {', '.join(Preset)}"
        )
    return list(dict.fromkeys(map(Preset, names)))


def parse_pairs(option: str, words: Sequence[str]) -> dict[str, list[str]]:
    """The values by key of `--tag KEY=VALUE`, split at the first equals sign; an empty value means none.

    An equals sign inside a key is written `\\=`; values need no escape.
    """
    values: dict[str, list[str]] = {}
    for word in check_texts(option, words):
        pair = _PAIR.fullmatch(word)
        if pair is None:
            raise UsageError(f"{option} {word!r} is not KEY=VALUE", advice="KEY= selects what has no value")
        values.setdefault(pair[1].replace("\\=", "="), []).append(pair[2])
    return values


def format_pair(key: str, value: str) -> str:
    """A key and its value as `parse_pairs` reads them."""
    return f"{key.replace('=', _ESCAPED_EQUALS)}={value}"


def check_texts(option: str, words: Sequence[str]) -> list[str]:
    """The words unchanged; raises UsageError for bytes that are not text, which PostgreSQL could not compare."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{option} is not UTF-8 text") from error
    return list(words)


def _parse_column(name: str) -> CostColumn | KeyColumn:
    kind, _, key = name.partition(":")
    if kind in list(MapColumn):
        if not key:
            raise UsageError(f"{kind} needs a key", advice=f"such as {kind}:team")
        return KeyColumn(column=MapColumn(kind), key=key)
    if name not in list(CostColumn):
        raise UsageError(f"costs cannot be grouped by {name}", advice=f"use {_COLUMNS}")
    return CostColumn(name)


def _words(groups: Sequence[str]) -> list[str]:
    check_texts("the command line", groups)
    words = (name.strip() for group in groups for name in _COMMA.split(group))
    return [word.replace("\\,", ",") for word in words if word]
