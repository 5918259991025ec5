"""Where the money goes: a month's pace, costs by group and by day, and what commitments save."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from billfold.errors import UsageError
from billfold.period import BillingPeriod
from billfold.reports.pace import DayRange, Pace, Spans, find_spans, list_compared_days, measure, range_days
from billfold.selection import CostColumn, KeyColumn, Metric, Selection
from billfold.store.database import Connection, Database
from billfold.store.reports import costs, reading, spending

TOP_GROUPS = 9
# Longer spans are drawn by month.
MAX_DAILY_MONTHS = 3
DEFAULT_GROUP_LIMIT = 200
_EVERY_GROUP = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """The requested costs; a missing `until` is the newest month, a missing `since` the one before.

    If it `is_split`, workloads replace their parents, and the metric is the effective cost.
    """

    group: CostColumn | KeyColumn = CostColumn.SERVICE
    metric: Metric = Metric.BILLED
    is_split: bool = False
    client: str | None = None
    export: str | None = None
    since: BillingPeriod | None = None
    until: BillingPeriod | None = None
    selection: Selection = field(default_factory=Selection)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group's exact costs: of all months, of the last month, and of the month before up to each client's same day."""

    name: str
    currency: str
    amount: Decimal
    month: Decimal
    before_to_date: Decimal

    @property
    def change(self) -> Decimal:
        """How much more the last month costs than the one before."""
        return self.month - self.before_to_date


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The costs of one group for each of the chart's steps; None means all groups without a series of their own."""

    name: str | None
    amounts: tuple[Decimal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrencySpending:
    """All of it in one currency; `steps` are days, or months if the span is long."""

    currency: str
    pace: Pace | None
    groups: tuple[Group, ...]
    total: Group
    steps: tuple[str, ...]
    series: tuple[Series, ...]
    savings: spending.Savings | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendingReport:
    """Spending by currency. `months` are all available ones, the newest first.

    `through` are the last days that clients are charged up to, regardless of filters. `has_before` says
    whether there is a bill of the month before the last one, `has_split` whether the bills can be split.
    """

    months: tuple[BillingPeriod, ...]
    since: BillingPeriod | None
    until: BillingPeriod | None
    through: DayRange | None
    has_before: bool
    is_daily: bool
    is_truncated: bool
    has_split: bool
    currencies: tuple[CurrencySpending, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargePage:
    """Charges of one month, the most expensive first; `last` is where the next page begins, None if none follows."""

    rows: tuple[spending.ChargeRow, ...]
    last: spending.ChargePlace | None


def report_spending(
    database: Database, question: Question, *, today: date | None = None, limit: int = DEFAULT_GROUP_LIMIT
) -> SpendingReport:
    """Everything that the page of costs shows, as of one moment; at most `limit` groups, the most expensive first.

    Raises UsageError for months in the wrong order.
    """
    today = today or datetime.now(UTC).date()
    with reading.read(database) as connection:
        months = tuple(BillingPeriod(month) for month in spending.list_months(connection, question.client))
        until = question.until or next(iter(months), None)
        if until is None:
            return _nothing()
        before = _before(until)
        since = question.since or (before if before in months else until)
        if since > until:
            raise UsageError(f"no month is from {since} to {until}")
        return _Reader(connection, question, since, until).report(months, today, limit)


def list_charges(
    database: Database,
    question: Question,
    month: BillingPeriod,
    *,
    after: spending.ChargePlace | None = None,
    limit: int = 50,
) -> ChargePage:
    """The charges behind a month's sums, the most expensive first: those after `after`, or the first ones."""
    with reading.read(database) as connection:
        found = spending.list_charges(
            connection,
            question.metric,
            {
                **question.selection.parameters(),
                "client": question.client,
                "export": question.export,
                "month": month.starts_on,
                "limit": limit + 1,
            },
            after=after,
        )
    return ChargePage(rows=found[:limit], last=_place(found[limit - 1]) if len(found) > limit else None)


def _place(row: spending.ChargeRow) -> spending.ChargePlace:
    return spending.ChargePlace(
        cost=row.amount,
        statement_id=row.statement_id,
        row_hash=row.row_hash,
        occurrence=row.occurrence,
        part=row.part,
    )


class _Reader:
    """The sums of one report: they differ in months and columns, and share the rest."""

    def __init__(self, connection: Connection, question: Question, since: BillingPeriod, until: BillingPeriod) -> None:
        self._connection = connection
        self._question = question
        self._since = since
        self._until = until

    def report(self, months: tuple[BillingPeriod, ...], today: date, limit: int) -> SpendingReport:
        before = _before(self._until)
        is_daily = self._since >= _months_before(self._until, MAX_DAILY_MONTHS - 1)
        spans = self._spans(before, today)
        by_month, amounts = self._sum([self._group, "month"], self._since, self._until)
        by_group, compared = self._sum([self._group], before, before, last_days=list_compared_days(spans))
        groups = _make_groups(by_month, by_group, self._until)
        totals = _make_totals(amounts, compared, self._until)
        steps = _add_up((row.place[0], row.currency, row.amount) for row in (self._days() if is_daily else amounts))
        cells = (
            self._daily_cells([group.name for each in groups.values() for group in _largest(each)])
            if is_daily
            else {(row.place[1], row.place[0], row.currency): row.amount for row in by_month}
        )
        paces = {pace.currency: pace for pace in self._measure(spans, before, today, has_before=before in months)}
        savings = self._savings()
        found = [
            CurrencySpending(
                currency=currency,
                pace=paces.get(currency),
                groups=groups.get(currency, ())[:limit],
                total=totals.get(currency, _no_group(currency)),
                steps=tuple(sorted(step for step, of in steps if of == currency)),
                series=_make_series(_largest(groups.get(currency, ())), steps, cells, currency),
                savings=savings.get(currency),
            )
            for currency in sorted({*groups, *paces})
        ]
        return SpendingReport(
            months=months,
            since=self._since,
            until=self._until,
            through=range_days(span.through for span in spans.values()),
            has_before=before in months,
            is_daily=is_daily,
            is_truncated=len(by_month) >= _EVERY_GROUP or any(len(each) > limit for each in groups.values()),
            has_split=spending.has_split(
                self._connection,
                {
                    "client": self._question.client,
                    "since": self._since.starts_on,
                    "until": self._until.starts_on,
                },
            ),
            currencies=tuple(found),
        )

    @property
    def _group(self) -> str:
        return str(self._question.group)

    def _spans(self, before: BillingPeriod, today: date) -> Spans:
        """The days that count for each client: no filter changes them."""
        charged = spending.list_charged_days(
            self._connection,
            self._question.client,
            month=self._until.starts_on,
            before=before.starts_on,
            ends_on=self._until.ends_on - timedelta(days=1),
        )
        return find_spans(charged, self._until, today=today)

    def _measure(self, spans: Spans, before: BillingPeriod, today: date, *, has_before: bool) -> tuple[Pace, ...]:
        measured = costs.measure_costs(
            self._connection,
            self._question.metric,
            {
                **self._parameters(before, self._until),
                "month": self._until.starts_on,
                "span_clients": [client for client, _ in spans],
                "span_currencies": [currency for _, currency in spans],
                "rate_from": [span.rate_from for span in spans.values()],
                "through": [span.rate_until for span in spans.values()],
                "compared_until": [span.compared_until for span in spans.values()],
            },
            filtered_by=self._question.selection.columns(),
            is_split=self._question.is_split,
        )
        return measure(measured, spans, self._until, today=today, has_before=has_before)

    def _days(self) -> Sequence[costs.SummedCost]:
        days, _ = self._sum(["day"], self._since, self._until)
        return days

    def _daily_cells(self, names: Sequence[str]) -> dict[tuple[str, str, str], Decimal]:
        """The costs of these groups by day, name and currency, with the filters of the table."""
        rows, _ = self._sum(["day", self._group], self._since, self._until, only=names)
        return {(row.place[0], row.place[1], row.currency): row.amount for row in rows}

    def _savings(self) -> dict[str, spending.Savings]:
        if self._question.is_split:
            return {}
        parameters = {
            **self._question.selection.parameters(),
            "client": self._question.client,
            "export": self._question.export,
            "month": self._until.starts_on,
        }
        return {each.currency: each for each in spending.sum_savings(self._connection, parameters)}

    def _sum(
        self,
        columns: Sequence[str],
        since: BillingPeriod,
        until: BillingPeriod,
        *,
        only: Sequence[str] | None = None,
        last_days: Sequence[costs.LastDay] | None = None,
    ) -> tuple[Sequence[costs.SummedCost], Sequence[costs.SummedCost]]:
        """The groups, and the totals by month."""
        summed = costs.sum_costs(
            self._connection,
            columns,
            self._question.metric,
            self._parameters(since, until),
            filtered_by=self._question.selection.columns(),
            is_split=self._question.is_split,
            only=only,
            last_days=last_days,
        )
        return [row for row in summed if row.level == 0], [row for row in summed if row.level == 1]

    def _parameters(self, since: BillingPeriod, until: BillingPeriod) -> dict[str, Any]:
        return {
            "client": self._question.client,
            "export": self._question.export,
            "since": since.starts_on,
            "until": until.starts_on,
            "as_of": None,
            "limit": _EVERY_GROUP,
            **self._question.selection.parameters(),
        }


def _nothing() -> SpendingReport:
    return SpendingReport(
        months=(), since=None, until=None, through=None, has_before=False, is_daily=True, is_truncated=False,
        has_split=False, currencies=(),
    )  # fmt: skip


def _add_up(amounts: Iterable[tuple[str, str, Decimal]]) -> dict[tuple[str, str], Decimal]:
    """Sums by name and currency."""
    sums: dict[tuple[str, str], Decimal] = {}
    for name, currency, amount in amounts:
        sums[name, currency] = sums.get((name, currency), Decimal(0)) + amount
    return sums


def _make_groups(
    by_month: Iterable[costs.SummedCost], compared: Iterable[costs.SummedCost], last: BillingPeriod
) -> dict[str, tuple[Group, ...]]:
    """The groups of each currency, the most expensive first, including those of the month before only."""
    by_month = list(by_month)
    amounts = _add_up((row.place[0], row.currency, row.amount) for row in by_month)
    month = {(row.place[0], row.currency): row.amount for row in by_month if row.place[1] == str(last)}
    earlier = {(row.place[0], row.currency): row.amount for row in compared}
    groups: dict[str, list[Group]] = {}
    for name, currency in {**amounts, **earlier}:
        group = Group(
            name=name,
            currency=currency,
            amount=amounts.get((name, currency), Decimal(0)),
            month=month.get((name, currency), Decimal(0)),
            before_to_date=earlier.get((name, currency), Decimal(0)),
        )
        groups.setdefault(currency, []).append(group)
    return {
        currency: tuple(sorted(found, key=lambda group: (-group.amount, group.name)))
        for currency, found in groups.items()
    }


def _make_totals(
    amounts: Iterable[costs.SummedCost], compared: Iterable[costs.SummedCost], last: BillingPeriod
) -> dict[str, Group]:
    """The total of each currency: of everything that matches the filters, in any number of groups."""
    # The place of a total is its month: with one name for all months they form one group.
    named = [replace(row, place=("", row.place[0])) for row in amounts]
    groups = _make_groups(named, [replace(row, place=("",)) for row in compared], last)
    return {currency: group for currency, (group,) in groups.items()}


def _largest(groups: Sequence[Group]) -> tuple[Group, ...]:
    """The groups with a series of their own, in order: a large credit is as visible as a large cost."""
    largest = sorted(groups, key=lambda group: (-abs(group.amount), group.name))[:TOP_GROUPS]
    return tuple(group for group in groups if group in largest)


def _make_series(
    top: Sequence[Group],
    totals: Mapping[tuple[str, str], Decimal],
    cells: Mapping[tuple[str, str, str], Decimal],
    currency: str,
) -> tuple[Series, ...]:
    """These groups, and the sum of the others: the difference to the total of each step."""
    steps = sorted(step for step, of in totals if of == currency)
    series = [
        Series(name=group.name, amounts=tuple(cells.get((step, group.name, currency), Decimal(0)) for step in steps))
        for group in top
    ]
    others = tuple(
        totals[step, currency] - sum((each.amounts[place] for each in series), Decimal(0))
        for place, step in enumerate(steps)
    )
    return (*series, Series(name=None, amounts=others)) if any(others) else tuple(series)


def _no_group(currency: str) -> Group:
    nothing = Decimal(0)
    return Group(name="", currency=currency, amount=nothing, month=nothing, before_to_date=nothing)


def _before(month: BillingPeriod) -> BillingPeriod:
    return _months_before(month, 1)


def _months_before(month: BillingPeriod, count: int) -> BillingPeriod:
    total = month.starts_on.year * 12 + month.starts_on.month - 1 - count
    return BillingPeriod(date(total // 12, total % 12 + 1, 1))
