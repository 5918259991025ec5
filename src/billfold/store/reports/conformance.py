"""Conformance to FOCUS: judges the charges of a statement, or of one publication, in one scan."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from billfold.errors import StoreError
from billfold.period import BillingPeriod
from billfold.sql import read_queries
from billfold.store import planner
from billfold.store.database import Connection
from billfold.store.deliveries.partitions import partitions
from billfold.store.reports.focus_rules import Rule, Severity, charge_rules, columns, type_rules

# What an example shows of its charge beside the columns that the rule names.
_SHOWN = ("ChargePeriodStart", "SubAccountId", "ServiceName", "ChargeCategory", "ChargeDescription", "BilledCost")


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenRule:
    """A rule, how many charges break it, their billed cost by currency, and one of them by FOCUS column.

    The example's numbers are exact text. A broken rule about the view's columns has no charges: `row_count` is 0.
    """

    rule: Rule
    row_count: int
    cost: Mapping[str, Decimal]
    example: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """How many charges were judged, the rules that are broken, and the charges that break a must-rule, each once."""

    charge_count: int
    broken: tuple[BrokenRule, ...]
    failing_count: int
    failing_cost: Mapping[str, Decimal]

    @property
    def broken_musts(self) -> tuple[BrokenRule, ...]:
        return tuple(broken for broken in self.broken if broken.rule.severity is Severity.MUST)


def judge_columns(connection: Connection) -> tuple[tuple[BrokenRule, ...], tuple[str, ...]]:
    """The rules for types that the view breaks, and its columns that neither FOCUS nor the prefix `x_` knows."""
    present = [name for (name,) in connection.execute(_query("list_view_columns"))]
    known = [rule for rule in type_rules() if rule.column in present]
    conditions = ", ".join(rule.condition for rule in known)
    # Only the package's own rules and their column names are put into the query.
    row = connection.execute(_query("find_broken_types").decode().format(conditions=conditions).encode()).fetchone()
    assert row is not None
    wrong = {rule.rule for rule, is_broken in zip(known, row, strict=True) if is_broken}
    missing = {rule.rule for rule in type_rules() if rule.column not in present}
    foreign = tuple(name for name in present if name not in columns() and not name.startswith("x_"))
    broken = (rule for rule in type_rules() if rule.rule in wrong | missing)
    return tuple(BrokenRule(rule=rule, row_count=0, cost={}, example={}) for rule in broken), foreign


def judge_charges(connection: Connection, period: BillingPeriod, *, statement_id: int, row_count: int) -> Judgement:
    """Judge the current charges of a statement, whether it counts or not, with an example of each broken rule.

    Needs an open transaction; `row_count` is about how many line items there are. A clean statement is scanned once,
    any other a second time for what is broken alone.
    """
    scan = _Scan(connection, period, statement_id=statement_id, row_count=row_count)
    judgement = scan.judge(charge_rules())
    return replace(
        judgement,
        broken=tuple(replace(broken, example=scan.find_example(broken.rule)) for broken in judgement.broken),
    )


def judge_added(
    connection: Connection, period: BillingPeriod, *, statement_id: int, publication_id: int, row_count: int
) -> Judgement:
    """Judge the charges that one publication added, by the must-rules alone and without examples."""
    scan = _Scan(connection, period, statement_id=statement_id, row_count=row_count, added_by=publication_id)
    return scan.judge([rule for rule in charge_rules() if rule.severity is Severity.MUST])


class _Scan:
    """The view over some charges of a statement; only the package's own rules are put into its queries."""

    def __init__(
        self,
        connection: Connection,
        period: BillingPeriod,
        *,
        statement_id: int,
        row_count: int,
        added_by: int | None = None,
    ) -> None:
        self._connection = connection
        self._parameters = {"statement_ids": [statement_id], "added_by": added_by}
        self._names = {
            "fact": partitions(period)["fact"],
            # No charge is newer than the current publication. With an equals sign the planner would expect few charges
            # and build its hash tables from them.
            "added": "" if added_by is None else "AND fact.added_by >= %(added_by)s",
            "view": _escape(_read_view(connection)),
        }
        # Compiling some hundred conditions takes longer than evaluating them. The view names the charges first and then
        # what explains them: the planner would look long for an order that is not better.
        connection.execute("SET LOCAL jit = off; SET LOCAL work_mem = '64MB'; SET LOCAL join_collapse_limit = 1")
        if planner.prefer_scans(self._query, period, row_count=row_count):
            planner.prefer_hashing(self._query)

    def judge(self, rules: Sequence[Rule]) -> Judgement:
        counts = ", ".join(f"count(*) FILTER (WHERE {_condition(rule)})" for rule in rules)
        [(charge_count, *counted)] = self._run("count_broken", counts=counts)
        # The most frequent first: if one is broken, PostgreSQL does not evaluate the others.
        broken = sorted(
            ((rule, count) for rule, count in zip(rules, counted, strict=True) if count), key=lambda pair: -pair[1]
        )
        if not broken:
            return Judgement(charge_count=charge_count, broken=(), failing_count=0, failing_cost={})
        musts = [f"({_condition(rule)})" for rule, _ in broken if rule.severity is Severity.MUST]
        sums = ", ".join(f'sum("BilledCost") FILTER (WHERE {_condition(rule)})' for rule, _ in broken)
        rows = self._run("sum_broken", any_must=" OR ".join(musts) or "false", sums=sums)
        return Judgement(
            charge_count=charge_count,
            broken=tuple(
                BrokenRule(
                    rule=rule,
                    row_count=count,
                    cost={row[0]: row[3 + at] for row in rows if row[3 + at] is not None},
                    example={},
                )
                for at, (rule, count) in enumerate(broken)
            ),
            failing_count=sum(row[1] for row in rows),
            failing_cost={row[0]: row[2] for row in rows if row[1]},
        )

    def find_example(self, rule: Rule) -> Mapping[str, Any]:
        """The columns that a rule names, and a few that identify the charge; numbers are exact text."""
        [(text,)] = self._run("find_example", condition=_condition(rule))
        charge = json.loads(text, parse_float=str, parse_int=_read_int)
        # A rule over all texts shows those that break it; that a column is empty matters where few are named.
        named = [name for name in rule.mentioned if len(rule.mentioned) <= len(_SHOWN) or charge[name] == ""]
        return {name: charge[name] for name in dict.fromkeys((*named, *_SHOWN))}

    def _run(self, name: str, **names: str) -> list[tuple[Any, ...]]:
        judged = _query("judged").decode().format(**self._names)
        query = _query(name).decode().format(judged=judged, **self._names, **names)
        return self._connection.execute(query.encode(), self._parameters).fetchall()

    def _query(self, query: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(query.encode()).fetchall()


def _read_int(text: str) -> int | str:
    # Python rejects integers of thousands of digits, and a tag can contain one.
    return int(text) if len(text) < 40 else text


def _read_view(connection: Connection) -> str:
    row = connection.execute(_query("read_view")).fetchone()
    assert row is not None
    view: str = row[0].rstrip().rstrip(";")
    if "FROM billing_usage_fact" not in view.replace("(", ""):
        raise StoreError(
            "the view focus_cost_and_usage does not read billing_usage_fact by its bare name",
            advice="Billfold's schema has to be in the search_path",
        )
    return view


def _condition(rule: Rule) -> str:
    return _escape(rule.condition)


def _escape(text: str) -> str:
    """The SQL with its per cent signs escaped for a query with parameters."""
    return text.replace("%", "%%")


def _query(name: str) -> bytes:
    return read_queries("billfold.store.reports", "focus")[name].encode()
