"""Sums of costs: from the daily costs, with or without tags, where these suffice, else from the charges."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from psycopg import sql
from psycopg.rows import class_row

from billfold.sql import read_queries
from billfold.store.database import Connection
from billfold.store.reports.reading import COST_METRICS

# What costs are grouped and filtered by, and the keys of a charge that identify it.
COLUMN_KEYS: Mapping[str, tuple[str, ...]] = {
    "service": ("service_key",),
    "service-category": ("service_key",),
    "account": ("account_key",),
    "owner": ("account_key", "statement_id"),
    "region": ("region_key",),
    "category": ("charge_key",),
    "frequency": ("charge_key",),
    "pricing": ("charge_key",),
    "commitment": ("charge_key",),
    "day": ("charge_date",),
    "month": (),
    "client": ("statement_id",),
    "invoice": ("invoice_id",),
    "tag": ("tag_set_key",),
    "cost-category": ("tag_set_key",),
    "iam-principal": ("tag_set_key",),
    "user-identifier": ("tag_set_key",),
    "parent": ("parent",),
    "cluster": ("workload",),
    "namespace": ("workload",),
    "workload": ("workload",),
    "pod": ("workload",),
}
# The maps of which one key at a time is a column, named with the key: `tag:Env`.
_MAPS: Mapping[str, str] = {"tag": "tags", "cost-category": "cost_categories"}
# The parameters that name callers, and the attribute of a set of tags that each is about.
_CALLERS: Mapping[str, str] = {"iam_principals": "iam_principal", "user_identifiers": "user_identifier"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SummedCost:
    """The exact cost of a group (level 0) or the total of a month (1); `place` has the values, '' for none."""

    level: int
    place: Sequence[str]
    currency: str
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class LastDay:
    """The last day whose charges count, of one client in one currency."""

    client: str
    currency: str
    day: date


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredCost:
    """What the pace of one client in one currency is made of; all amounts are exact.

    `amount` is the month's, `before` that of the month before, `before_to_date` a part of it. `usage` and `recurring`
    are those of the days that the rate is taken from, `replaced` is what the rate replaces.
    """

    client: str
    currency: str
    amount: Decimal
    before_to_date: Decimal
    before: Decimal
    usage: Decimal
    recurring: Decimal
    replaced: Decimal


def sum_costs(
    connection: Connection,
    columns: Sequence[str],
    metric: str,
    parameters: Mapping[str, Any],
    *,
    filtered_by: Collection[str] = (),
    is_split: bool = False,
    only: Collection[str] | None = None,
    last_days: Collection[LastDay] | None = None,
) -> tuple[SummedCost, ...]:
    """Groups by the columns, the most expensive first and at most `limit` of them, then the totals by month.

    A column is one of COLUMN_KEYS; `tag` and `cost-category` are followed by a colon and a key. `filtered_by` are those
    that `parameters` looks at. Where it `is_split`, workloads replace their parents. With `last_days` only charges
    up to these days are summed. `only` keeps the groups with these values of the last column, and spoils the totals.
    """
    query, bound = compose_sum(
        columns, metric, parameters, filtered_by=filtered_by, is_split=is_split, only=only, last_days=last_days
    )
    with connection.cursor(row_factory=class_row(SummedCost)) as cursor:
        return tuple(cursor.execute(query, bound))


def measure_costs(
    connection: Connection,
    metric: str,
    parameters: Mapping[str, Any],
    *,
    filtered_by: Collection[str] = (),
    is_split: bool = False,
) -> tuple[MeasuredCost, ...]:
    """The sums of each client and currency that the pace of `month` is made of.

    `span_clients`, `span_currencies`, `rate_from`, `through` and `compared_until` are lists of the same length, one
    entry for each client and currency.
    """
    selected, bound = _compose_selected(
        {"client", "day", "month", "category", "frequency", *filtered_by}, metric, parameters, is_split=is_split
    )
    query = sql.SQL(_query("measure_costs")).format(selected=selected)
    with connection.cursor(row_factory=class_row(MeasuredCost)) as cursor:
        return tuple(cursor.execute(query, bound))


def compose_sum(
    columns: Sequence[str],
    metric: str,
    parameters: Mapping[str, Any],
    *,
    filtered_by: Collection[str] = (),
    is_split: bool = False,
    only: Collection[str] | None = None,
    last_days: Collection[LastDay] | None = None,
) -> tuple[sql.Composed, dict[str, Any]]:
    """The query of `sum_costs` and its parameters: it reads the daily costs where these suffice."""
    kinds = {*filtered_by, *map(_kind, columns)}
    groups = list(_groups(columns))
    narrowed_group = groups[-1] if only is not None and COLUMN_KEYS[_kind(columns[-1])] == ("tag_set_key",) else None
    selected, bound = _compose_selected(
        kinds, metric, parameters, is_split=is_split, last_days=last_days, narrowed_group=narrowed_group
    )
    query = sql.SQL(_query("sum_costs")).format(
        group_by=sql.SQL(", ").join(groups),
        selected=selected,
        only=sql.SQL("true") if only is None else sql.SQL("{} = ANY (%(only)s::text[])").format(groups[-1]),
    )
    map_keys = {_placeholder(place): column.partition(":")[2] for place, column in enumerate(columns)}
    return query, {**bound, **map_keys, "only": None if only is None else list(only)}


def _compose_selected(
    kinds: Collection[str],
    metric: str,
    parameters: Mapping[str, Any],
    *,
    is_split: bool,
    last_days: Collection[LastDay] | None = None,
    narrowed_group: sql.Composable | None = None,
) -> tuple[sql.Composed, dict[str, Any]]:
    """The query for what passes the filters, with its parameters; it has the columns of these kinds."""
    assert metric in COST_METRICS
    assert metric == "effective" or not is_split, "split costs are effective costs"
    keys = {key for kind in kinds for key in COLUMN_KEYS[kind]} | ({"charge_date"} if last_days is not None else set())
    is_past = parameters["as_of"] is not None
    source = sql.SQL(_query(_source(keys, is_past=is_past))).format(metric=sql.Identifier(f"{metric}_cost"))
    if is_split:
        split_costs = _query("split_costs_as_of" if is_past else "split_costs")
        source = sql.SQL("{}\nUNION ALL\n{}").format(source, sql.SQL(split_costs))
    if last_days is not None:
        source = sql.SQL(_query("up_to_days")).format(source=source)
    chosen_tags = choose_by_tag_set()
    if narrowed_group is not None:
        narrowed = sql.SQL(_query("only_by_tag_set")).format(group=narrowed_group)
        chosen_tags = sql.SQL("{}\n    AND {}").format(chosen_tags, narrowed)
    selected = sql.SQL(_query("selected")).format(source=source, chosen_tags=chosen_tags, is_refund=sql.SQL(refunds()))
    days = last_days or ()
    return selected, {
        **parameters,
        "keys": sorted(keys),
        "is_split": is_split,
        "day_clients": [each.client for each in days],
        "day_currencies": [each.currency for each in days],
        "days": [each.day for each in days],
    }


def refunds() -> str:
    """The condition that a row `charge` of the charges' dimension is of refunds."""
    return _query("is_refund")


def choose_by_tag_set() -> sql.Composed:
    """The condition that a charge has the tags, cost categories and callers that the parameters name, where they do."""
    maps = (sql.SQL(_query("chosen_by_map")).format(map=sql.SQL(column)) for column in _MAPS.values())
    callers = (
        sql.SQL(_query("chosen_by_caller")).format(caller=sql.SQL(column), callers=sql.SQL(parameter))
        for parameter, column in _CALLERS.items()
    )
    return sql.SQL("\n    AND ").join([*maps, *callers])


def names_tag_set(parameters: Mapping[str, Any]) -> bool:
    """Whether the parameters of `choose_by_tag_set` name anything."""
    return any(parameters[name] is not None for name in (*_MAPS.values(), *_CALLERS))


def _kind(column: str) -> str:
    return column.partition(":")[0]


def _groups(columns: Sequence[str]) -> Iterator[sql.Composable]:
    for place, column in enumerate(columns):
        kind, _, key = column.partition(":")
        if kind in _MAPS:
            assert key
            yield sql.SQL("coalesce({} ->> {}::text, '')").format(
                sql.Identifier(_MAPS[kind]), sql.Placeholder(_placeholder(place))
            )
        else:
            yield sql.Identifier(column.replace("-", "_"))


def _placeholder(place: int) -> str:
    return f"key_{place}"


def _source(keys: Collection[str], *, is_past: bool) -> str:
    """The smallest source that has these keys; past tags are only in the charges."""
    if "invoice_id" in keys or (is_past and "tag_set_key" in keys):
        source = "charges"
    else:
        source = "daily_tag_cost" if "tag_set_key" in keys else "daily_cost"
    return f"{source}_as_of" if is_past else source


def _query(name: str) -> str:
    return read_queries("billfold.store.reports", "costs")[name]
