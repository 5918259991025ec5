"""`billfold.dashboard`: what the pages of the server show beside the lists and sums of the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import TYPE_CHECKING
from uuid import UUID

from billfold.app.wanted import Month, as_period

if TYPE_CHECKING:
    from billfold.app.billfold import Billfold
    from billfold.aws.queue_levels import QueueWatch
    from billfold.reports.bill_quality import QualityReport
    from billfold.reports.deliveries import Calendar
    from billfold.reports.identifiers import Named
    from billfold.reports.instruments import Instruments
    from billfold.reports.lists import Choices
    from billfold.reports.moves import ComparedRange, Move, MoveReport
    from billfold.reports.spending import ChargePage, Question, SpendingReport
    from billfold.selection import ChangeColumn, Filter, Metric
    from billfold.store.reports.spending import ChargePlace


class Dashboard:
    """Reports that are made for a page: each reads one moment."""

    def __init__(self, billfold: Billfold) -> None:
        self._billfold = billfold

    def spending(self, question: Question, *, limit: int | None = None, today: date | None = None) -> SpendingReport:
        """The page of costs: months, totals and groups, at most `limit` of each currency.

        >>> from billfold.reports.spending import Question
        >>> [str(month) for month in billfold.dashboard.spending(Question()).months]
        ['2026-05']
        """
        from billfold.reports.spending import DEFAULT_GROUP_LIMIT, report_spending

        return report_spending(self._billfold.database, question, limit=limit or DEFAULT_GROUP_LIMIT, today=today)

    def charges(
        self, question: Question, month: Month, *, after: ChargePlace | None = None, limit: int = 50
    ) -> ChargePage:
        """The charges of a month, the largest first, from `after` on.

        >>> from billfold.reports.spending import Question
        >>> len(billfold.dashboard.charges(Question(), "2026-05", limit=3).rows)
        3
        """
        from billfold.reports.spending import list_charges

        period = as_period(month)
        assert period is not None
        return list_charges(self._billfold.database, question, period, after=after, limit=limit)

    def moves(self, wanted: Filter, *, metric: Metric | None = None, offset: int = 0) -> tuple[Move, ...]:
        """The publications that changed a bill, the largest change first.

        >>> from billfold.selection import Filter
        >>> len(billfold.dashboard.moves(Filter()))
        1
        """
        from billfold.reports.moves import list_moves
        from billfold.selection import Metric

        return list_moves(self._billfold.database, wanted, metric=metric or Metric.BILLED, offset=offset)

    def moves_in_detail(
        self,
        wanted: Filter,
        compared: ComparedRange | None,
        *,
        column: ChangeColumn,
        metric: Metric,
        limit: int,
        offset: int = 0,
    ) -> MoveReport:
        """The same with one of them in detail, by `column`.

        >>> from billfold.selection import ChangeColumn, Filter, Metric
        >>> column, metric = ChangeColumn.SERVICE, Metric.BILLED
        >>> report = billfold.dashboard.moves_in_detail(Filter(), None, column=column, metric=metric, limit=9)
        >>> len(report.rows)
        1
        """
        from billfold.reports.moves import report_moves

        return report_moves(
            self._billfold.database, wanted, compared, column=column, metric=metric, limit=limit, offset=offset
        )

    def quality(self, wanted: Filter, *, check: str | None = None, offset: int = 0) -> QualityReport:
        """The current bills with their checks, the worst first.

        >>> from billfold.selection import Filter
        >>> len(billfold.dashboard.quality(Filter()).bills)
        1
        """
        from billfold.reports.bill_quality import report_quality

        return report_quality(self._billfold.database, wanted, check=check, offset=offset)

    def calendar(self, *, client: str | None = None, until: date) -> Calendar:
        """The days on which deliveries came, up to `until`.

        >>> from datetime import date
        >>> billfold.dashboard.calendar(until=date(2026, 6, 30)).days[-1]
        datetime.date(2026, 6, 30)
        """
        from billfold.reports.deliveries import list_calendar

        return list_calendar(self._billfold.database, client=client, until=until)

    def choices(self, client: str | None = None) -> Choices:
        """The exports and the months that a filter offers.

        >>> billfold.dashboard.choices().periods
        ['2026-05']
        """
        from billfold.reports.lists import list_choices

        return list_choices(self._billfold.database, client)

    def client_ids(self) -> tuple[str, ...]:
        """The ids of all clients that were ever ingested.

        >>> billfold.dashboard.client_ids()
        ('acme',)
        """
        from billfold.store.reports import reading

        with reading.read(self._billfold.database) as connection:
            return reading.list_clients(connection)

    def find_named(
        self, *, client: str | None = None, statement: int | None = None, delivery: UUID | None = None
    ) -> Named:
        """Which of these ids exist, and whose they are.

        >>> billfold.dashboard.find_named(statement=1).statement_client
        'acme'
        """
        from billfold.reports.identifiers import find_named

        return find_named(self._billfold.database, client=client, statement=statement, delivery=delivery)

    def shorten_delivery_ids(self, delivery_ids: Iterable[UUID | None]) -> Mapping[str, str]:
        """Each id with its first characters that no other delivery has, 8 or more.

        >>> delivery = billfold.deliveries()[0].delivery_id
        >>> len(billfold.dashboard.shorten_delivery_ids([delivery])[str(delivery)])
        8
        """
        from billfold.reports.identifiers import shorten_delivery_ids

        return shorten_delivery_ids(self._billfold.database, delivery_ids)

    def queue_watch(self) -> QueueWatch | None:
        """What `/metrics` reads of the SQS queue; None without BILLFOLD_QUEUE_URL.

        >>> billfold.dashboard.queue_watch() is None
        True
        """
        settings = self._billfold.settings
        if settings.queue_url is None:
            return None
        from billfold.aws.queue_levels import QueueWatch

        return QueueWatch(settings.queue_url, settings)

    def measure_spool(self) -> tuple[int, int]:
        """The size of the files in the spool and the free space on its disk, in bytes.

        >>> used_bytes, free_bytes = billfold.dashboard.measure_spool()
        >>> free_bytes > 0
        True
        """
        from billfold.aws.spool import measure_spool

        return measure_spool(self._billfold.settings.spool)

    def instruments(self) -> Instruments:
        """What `/metrics` reads, again and again.

        >>> bool(billfold.dashboard.instruments().read().samples)
        True
        """
        from billfold.reports.instruments import Instruments

        return Instruments(self._billfold.database, self._billfold.settings.described_client_id)
