"""Where the money goes: a month's pace, costs by group and by day, and what commitments save."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal

from billfold.errors import UsageError
from billfold.period import BillingPeriod
from billfold.reports.costs import CostColumn, KeyColumn, MapColumn, Metric, Selection
from billfold.reports.pace import DailyCost, Pace, find_last_day, measure, same_day_before
from billfold.store import costs, reading, spending
from billfold.store.database import Connection, Database

TOP_GROUPS = 9
# Longer spans are drawn by month.
MAX_DAILY_MONTHS = 3
DEFAULT_GROUP_LIMIT = 200
_EVERY_GROUP = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What costs are asked for; a missing `until` is the newest month there is, a missing `since` the one before."""

    group: CostColumn | KeyColumn = CostColumn.SERVICE
    metric: Metric = Metric.BILLED
    client: str | None = None
    since: BillingPeriod | None = None
    until: BillingPeriod | None = None
    selection: Selection = field(default_factory=Selection)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A group's exact costs: of all months, of the last month, and of the month before up to the same day."""

    name: str
    currency: str
    amount: Decimal
    month: Decimal
    before_to_date: Decimal

    @property
    def change(self) -> Decimal:
        """What the last month is above the one before."""
        return self.month - self.before_to_date


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The costs of one group for each of the chart's steps; None is all the groups that have no series of their own."""

    name: str | None
    amounts: tuple[Decimal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """What usage of a month costs at list prices, at contracted prices and effectively, and what is left unused.

    `covered` is the usage that commitments paid for, at contracted prices, `covered_effective` what it cost with them.
    """

    currency: str
    list: Decimal
    contracted: Decimal
    covered: Decimal
    covered_effective: Decimal
    unused: Decimal

    @property
    def negotiated(self) -> Decimal:
        """What contracted prices save."""
        return self.list - self.contracted

    @property
    def net(self) -> Decimal:
        """What commitments save, without what they leave unused."""
        return self.covered - self.covered_effective - self.unused


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrencySpending:
    """All of it in one currency; `steps` are days, or months where the span is long."""

    currency: str
    pace: Pace | None
    groups: tuple[Group, ...]
    total: Group
    steps: tuple[str, ...]
    series: tuple[Series, ...]
    savings: Savings | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendingReport:
    """Spending by currency. `months` are all that could be asked for, the newest first; none when nothing is there."""

    months: tuple[BillingPeriod, ...]
    since: BillingPeriod | None
    until: BillingPeriod | None
    through: date | None
    compared_until: date | None
    is_daily: bool
    is_truncated: bool
    currencies: tuple[CurrencySpending, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargePage:
    """Charges of one month, the dearest first; `has_more` says whether others follow."""

    rows: tuple[spending.ChargeRow, ...]
    offset: int
    has_more: bool


def report_spending(
    database: Database, question: Question, *, today: date | None = None, limit: int = DEFAULT_GROUP_LIMIT
) -> SpendingReport:
    """Everything that the page of costs shows, as of one moment; at most `limit` groups, the dearest first.

    Raises UsageError for months in the wrong order.
    """
    today = today or datetime.now(UTC).date()
    with reading.read(database) as connection:
        months = tuple(BillingPeriod(month) for month in spending.list_months(connection, question.client))
        until = question.until or next(iter(months), None)
        if until is None:
            return _nothing()
        since = question.since or min(until, max(_before(until), min(months, default=until)))
        if since > until:
            raise UsageError(f"no month is from {since} to {until}")
        return _Reader(connection, question, since, until).report(months, today, limit)


def list_charges(
    database: Database, question: Question, month: BillingPeriod, *, offset: int = 0, limit: int = 50
) -> ChargePage:
    """The charges behind a month's sums, the dearest first."""
    with reading.read(database) as connection:
        found = spending.list_charges(
            connection,
            question.metric,
            {
                **question.selection.parameters(),
                "client": question.client,
                "month": month.starts_on,
                "limit": limit + 1,
                "offset": offset,
            },
        )
    return ChargePage(rows=found[:limit], offset=offset, has_more=len(found) > limit)


class _Reader:
    """The sums of one report: they differ in months, columns and metric, and share the rest."""

    def __init__(self, connection: Connection, question: Question, since: BillingPeriod, until: BillingPeriod) -> None:
        self._connection = connection
        self._question = question
        self._since = since
        self._until = until

    def report(self, months: tuple[BillingPeriod, ...], today: date, limit: int) -> SpendingReport:
        before = _before(self._until)
        days = self._days(before)
        through = find_last_day(days, self._until, today=today)
        compared_until = same_day_before(through, self._until)
        is_daily = self._since >= _months_before(self._until, MAX_DAILY_MONTHS - 1)
        all_groups = self._sum([self._group], self._since, self._until)
        month = _by_group(self._sum([self._group], self._until, self._until))
        earlier = _by_group(self._sum([self._group], before, before, until_day=compared_until))
        paces = {pace.currency: pace for pace in measure(days, self._until, today=today)}
        savings = self._savings()
        totals = _by_step(self._sum(["day" if is_daily else "month"], self._since, self._until))
        currencies = sorted({row.currency for row in all_groups} | set(paces))
        found = []
        for currency in currencies:
            rows = {row.place[0]: row.amount for row in all_groups if row.currency == currency}
            names = [*rows, *(name for name, of in earlier if of == currency and name not in rows)]
            groups = tuple(
                Group(
                    name=name,
                    currency=currency,
                    amount=rows.get(name, Decimal(0)),
                    month=month.get((name, currency), Decimal(0)),
                    before_to_date=earlier.get((name, currency), Decimal(0)),
                )
                for name in names
            )
            steps = tuple(step for step, of in totals if of == currency)
            found.append(
                CurrencySpending(
                    currency=currency,
                    pace=paces.get(currency),
                    groups=groups[:limit],
                    total=_total(groups, currency),
                    steps=steps,
                    series=self._series(
                        [group.name for group in groups[:TOP_GROUPS]], currency, steps, totals, is_daily=is_daily
                    ),
                    savings=savings.get(currency),
                )
            )
        return SpendingReport(
            months=months,
            since=self._since,
            until=self._until,
            through=through,
            compared_until=compared_until,
            is_daily=is_daily,
            is_truncated=any(len(_names(all_groups, each.currency)) > limit for each in found),
            currencies=tuple(found),
        )

    @property
    def _group(self) -> str:
        return str(self._question.group)

    def _days(self, before: BillingPeriod) -> list[DailyCost]:
        rows = self._sum(["day", "month", "category", "frequency"], before, self._until)
        return [
            DailyCost(
                day=date.fromisoformat(row.place[0]),
                month=BillingPeriod(date.fromisoformat(f"{row.place[1]}-01")),
                category=row.place[2],
                frequency=row.place[3],
                currency=row.currency,
                amount=row.amount,
            )
            for row in rows
        ]

    def _series(
        self,
        top: Sequence[str],
        currency: str,
        steps: Sequence[str],
        totals: dict[tuple[str, str], Decimal],
        *,
        is_daily: bool,
    ) -> tuple[Series, ...]:
        """The dearest groups, and what the others add up to: the difference to what each step costs in all."""
        step = "day" if is_daily else "month"
        chosen = _narrow(self._question, top)
        cells = {
            (row.place[0], row.place[1]): row.amount
            for row in self._sum([step, self._group], self._since, self._until, selection=chosen)
            if row.currency == currency
        }
        series = [
            Series(name=name, amounts=tuple(cells.get((each, name), Decimal(0)) for each in steps)) for name in top
        ]
        others = tuple(
            totals[(each, currency)] - sum((one.amounts[place] for one in series), Decimal(0))
            for place, each in enumerate(steps)
        )
        return (*series, Series(name=None, amounts=others)) if any(others) else tuple(series)

    def _savings(self) -> dict[str, Savings]:
        sums = {
            metric: self._sum(["commitment", "category"], self._until, self._until, metric=metric)
            for metric in (Metric.LIST, Metric.CONTRACTED, Metric.EFFECTIVE)
        }
        currencies = {row.currency for rows in sums.values() for row in rows}

        def add(metric: Metric, currency: str, *statuses: str) -> Decimal:
            rows = [row for row in sums[metric] if row.currency == currency and row.place[1] == "Usage"]
            return sum((row.amount for row in rows if row.place[0] in statuses), Decimal(0))

        return {
            currency: Savings(
                currency=currency,
                list=add(Metric.LIST, currency, "", "Used"),
                contracted=add(Metric.CONTRACTED, currency, "", "Used"),
                covered=add(Metric.CONTRACTED, currency, "Used"),
                covered_effective=add(Metric.EFFECTIVE, currency, "Used"),
                unused=add(Metric.EFFECTIVE, currency, "Unused"),
            )
            for currency in currencies
        }

    def _sum(
        self,
        columns: Sequence[str],
        since: BillingPeriod,
        until: BillingPeriod,
        *,
        metric: Metric | None = None,
        selection: Selection | None = None,
        until_day: date | None = None,
    ) -> list[costs.SummedCost]:
        selection = selection or self._question.selection
        parameters = {
            "client": self._question.client,
            "export": None,
            "since": since.starts_on,
            "until": until.starts_on,
            "until_day": until_day,
            "as_of": None,
            "limit": _EVERY_GROUP,
            **selection.parameters(),
        }
        filtered_by = selection.columns() | ({"day"} if until_day else set())
        summed = costs.sum_costs(
            self._connection, columns, metric or self._question.metric, parameters, filtered_by=filtered_by
        )
        return [row for row in summed if row.level == 0]


def _nothing() -> SpendingReport:
    return SpendingReport(
        months=(), since=None, until=None, through=None, compared_until=None, is_daily=True, is_truncated=False,
        currencies=(),
    )  # fmt: skip


def _narrow(question: Question, names: Sequence[str]) -> Selection:
    """The selection with nothing but these groups: what else there is need not be read by group."""
    chosen = question.selection
    if isinstance(question.group, KeyColumn):
        if question.group.column is MapColumn.TAG:
            return replace(chosen, tags={**chosen.tags, question.group.key: names})
        return replace(chosen, cost_categories={**chosen.cost_categories, question.group.key: names})
    match question.group:
        case CostColumn.SERVICE:
            return replace(chosen, services=names)
        case CostColumn.ACCOUNT:
            return replace(chosen, accounts=names)
        case CostColumn.REGION:
            return replace(chosen, regions=names)
        case _:
            return chosen


def _by_group(rows: Sequence[costs.SummedCost]) -> dict[tuple[str, str], Decimal]:
    return {(row.place[0], row.currency): row.amount for row in rows}


def _by_step(rows: Sequence[costs.SummedCost]) -> dict[tuple[str, str], Decimal]:
    return dict(sorted(_by_group(rows).items()))


def _names(rows: Sequence[costs.SummedCost], currency: str) -> list[str]:
    return [row.place[0] for row in rows if row.currency == currency]


def _total(groups: Sequence[Group], currency: str) -> Group:
    return Group(
        name="",
        currency=currency,
        amount=sum((group.amount for group in groups), Decimal(0)),
        month=sum((group.month for group in groups), Decimal(0)),
        before_to_date=sum((group.before_to_date for group in groups), Decimal(0)),
    )


def _before(month: BillingPeriod) -> BillingPeriod:
    return _months_before(month, 1)


def _months_before(month: BillingPeriod, count: int) -> BillingPeriod:
    total = month.starts_on.year * 12 + month.starts_on.month - 1 - count
    return BillingPeriod(date(total // 12, total % 12 + 1, 1))
