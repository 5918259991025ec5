"""Where the money goes: a month's pace, costs by group and by day, and what commitments save."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal, localcontext

from billfold.errors import UsageError
from billfold.period import BillingPeriod
from billfold.reports.costs import CostColumn, KeyColumn, MapColumn, Metric, Selection
from billfold.reports.pace import EXACT_DIGITS, DailyCost, Pace, find_last_day, measure, same_day_before
from billfold.store import costs, reading, spending
from billfold.store.database import Connection, Database

TOP_GROUPS = 9
# Longer spans are drawn by month.
MAX_DAILY_MONTHS = 3
DEFAULT_GROUP_LIMIT = 200
_EVERY_GROUP = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What costs are asked for; a missing `until` is the newest month there is, a missing `since` the one before.

    If it `is_split`, workloads stand in for their parents, and the metric is the effective cost.
    """

    group: CostColumn | KeyColumn = CostColumn.SERVICE
    metric: Metric = Metric.BILLED
    is_split: bool = False
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
        with localcontext(prec=EXACT_DIGITS):
            return self.month - self.before_to_date


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The costs of one group for each of the chart's steps; None is all the groups that have no series of their own."""

    name: str | None
    amounts: tuple[Decimal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrencySpending:
    """All of it in one currency; `steps` are days, or months where the span is long."""

    currency: str
    pace: Pace | None
    groups: tuple[Group, ...]
    total: Group
    steps: tuple[str, ...]
    series: tuple[Series, ...]
    savings: spending.Savings | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendingReport:
    """Spending by currency. `months` are all that could be asked for, the newest first; none when nothing is there.

    `has_split` says whether the bills that were asked for can be split.
    """

    months: tuple[BillingPeriod, ...]
    since: BillingPeriod | None
    until: BillingPeriod | None
    through: date | None
    compared_until: date | None
    is_daily: bool
    is_truncated: bool
    has_split: bool
    currencies: tuple[CurrencySpending, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargePage:
    """Charges of one month, the dearest first; `last` is where the next page begins, None where none follows."""

    rows: tuple[spending.ChargeRow, ...]
    last: spending.ChargePlace | None


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
        before = _before(until)
        since = question.since or (before if before in months else until)
        if since > until:
            raise UsageError(f"no month is from {since} to {until}")
        with localcontext(prec=EXACT_DIGITS):
            return _Reader(connection, question, since, until).report(months, today, limit)


def list_charges(
    database: Database,
    question: Question,
    month: BillingPeriod,
    *,
    after: spending.ChargePlace | None = None,
    limit: int = 50,
) -> ChargePage:
    """The charges behind a month's sums, the dearest first: those that follow `after`, or the first ones."""
    with reading.read(database) as connection:
        found = spending.list_charges(
            connection,
            question.metric,
            {
                **question.selection.parameters(),
                "client": question.client,
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
        days = self._days(min(before, self._since) if is_daily else before)
        pace_days = [each for each in days if each.month in (before, self._until)]
        through = find_last_day(pace_days, self._until, today=today)
        compared_until = same_day_before(through, self._until)
        by_month = self._sum([self._group, "month"], self._since, self._until)
        amounts = _add_up((row.place[0], row.currency, row.amount) for row in by_month)
        month = {(row.place[0], row.currency): row.amount for row in by_month if row.place[1] == str(self._until)}
        earlier = {
            (row.place[0], row.currency): row.amount
            for row in self._sum([self._group], before, before, until_day=compared_until)
        }
        groups = _make_groups(amounts, month, earlier)
        steps = _add_up(
            ((str(each.day), each.currency, each.amount) for each in days if each.month >= self._since)
            if is_daily
            else ((row.place[1], row.currency, row.amount) for row in by_month)
        )
        cells = (
            self._daily_cells([group.name for each in groups.values() for group in _largest(each)])
            if is_daily
            else {(row.place[1], row.place[0], row.currency): row.amount for row in by_month}
        )
        paces = {pace.currency: pace for pace in measure(pace_days, self._until, today=today)}
        savings = self._savings()
        found = [
            CurrencySpending(
                currency=currency,
                pace=paces.get(currency),
                groups=groups.get(currency, ())[:limit],
                total=_total(groups.get(currency, ()), currency),
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
            through=through,
            compared_until=compared_until,
            is_daily=is_daily,
            is_truncated=any(len(each) > limit for each in groups.values()),
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

    def _days(self, first: BillingPeriod) -> list[DailyCost]:
        rows = self._sum(["day", "month", "category", "frequency"], first, self._until)
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

    def _daily_cells(self, names: Sequence[str]) -> dict[tuple[str, str, str], Decimal]:
        """What these groups cost, by day, name and currency."""
        rows = self._sum(["day", self._group], self._since, self._until, selection=_narrow(self._question, names))
        return {(row.place[0], row.place[1], row.currency): row.amount for row in rows}

    def _savings(self) -> dict[str, spending.Savings]:
        if self._question.is_split:
            return {}
        parameters = {
            **self._question.selection.parameters(),
            "client": self._question.client,
            "month": self._until.starts_on,
        }
        return {each.currency: each for each in spending.sum_savings(self._connection, parameters)}

    def _sum(
        self,
        columns: Sequence[str],
        since: BillingPeriod,
        until: BillingPeriod,
        *,
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
        summed = costs.sum_costs(
            self._connection,
            columns,
            self._question.metric,
            parameters,
            filtered_by=selection.columns(),
            is_split=self._question.is_split,
        )
        return [row for row in summed if row.level == 0]


def _nothing() -> SpendingReport:
    return SpendingReport(
        months=(), since=None, until=None, through=None, compared_until=None, is_daily=True, is_truncated=False,
        has_split=False, currencies=(),
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
        case CostColumn.IAM_PRINCIPAL:
            return replace(chosen, iam_principals=names)
        case CostColumn.USER_IDENTIFIER:
            return replace(chosen, user_identifiers=names)
        case CostColumn.PARENT:
            return replace(chosen, parents=names)
        case CostColumn.CLUSTER:
            return replace(chosen, clusters=names)
        case CostColumn.NAMESPACE:
            return replace(chosen, namespaces=names)
        case CostColumn.WORKLOAD:
            return replace(chosen, workloads=names)
        case CostColumn.POD:
            return replace(chosen, pods=names)
        case _:
            return chosen


def _add_up(amounts: Iterable[tuple[str, str, Decimal]]) -> dict[tuple[str, str], Decimal]:
    """Sums by name and currency."""
    sums: dict[tuple[str, str], Decimal] = {}
    for name, currency, amount in amounts:
        sums[name, currency] = sums.get((name, currency), Decimal(0)) + amount
    return sums


def _make_groups(
    amounts: Mapping[tuple[str, str], Decimal],
    month: Mapping[tuple[str, str], Decimal],
    earlier: Mapping[tuple[str, str], Decimal],
) -> dict[str, tuple[Group, ...]]:
    """The groups of each currency, the dearest first; one that is of the month before alone is among them."""
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


def _largest(groups: Sequence[Group]) -> tuple[Group, ...]:
    """The groups that are told from the others, in their order: a great credit is as plain to see as a great cost."""
    largest = sorted(groups, key=lambda group: (-abs(group.amount), group.name))[:TOP_GROUPS]
    return tuple(group for group in groups if group in largest)


def _make_series(
    top: Sequence[Group],
    totals: Mapping[tuple[str, str], Decimal],
    cells: Mapping[tuple[str, str, str], Decimal],
    currency: str,
) -> tuple[Series, ...]:
    """These groups, and what the others add up to: the difference to what each step costs in all."""
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
