"""Everything that only reads: costs, changes, lists, checks and proofs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Unpack

from billfold.app.opened import Opened
from billfold.app.wanted import (
    Columns,
    CostFilters,
    Listed,
    Moment,
    Month,
    Point,
    Texts,
    Which,
    as_change_columns,
    as_columns,
    as_filter,
    as_member,
    as_moment,
    as_period,
    as_point,
    as_selection,
    refuse_unknown_statement,
)
from billfold.errors import UsageError
from billfold.model import DeliveryState, Probe, RunStatus
from billfold.selection import DEFAULT_COST_LIMIT

if TYPE_CHECKING:
    from billfold.model import CheckState
    from billfold.reports.changes import ChangeReport
    from billfold.reports.checks import CheckReport
    from billfold.reports.conformance import ConformanceReport
    from billfold.reports.costs import CostReport
    from billfold.reports.export import ExportReport
    from billfold.reports.lists import DeliveryRow, PublicationRow, RunRow, StatementRow
    from billfold.selection import FileFormat, Metric
    from billfold.store.query import QueryResult
    from billfold.verification import Verdict


class Reading(Opened):
    """What can be asked without changing anything."""

    def costs(
        self,
        by: Columns = ("service", "month"),
        *,
        metric: Metric | str | None = None,
        client: str | None = None,
        export: str | None = None,
        month: Month | None = None,
        since: Month | None = None,
        until: Month | None = None,
        as_of: Moment | None = None,
        split: bool = False,
        limit: int = DEFAULT_COST_LIMIT,
        **filters: Unpack[CostFilters],
    ) -> CostReport:
        """Costs of the counted statements by group and currency, the largest first; amounts are exact.

        `by` is what `billfold costs --by` accepts, `metric` billed, effective, list or contracted. With `as_of` they
        are those of an earlier moment. `split` shows containers in place of their instances, in effective cost, as do
        the columns cluster, namespace, workload, pod and parent. Raises UsageError for what cannot be asked, and
        StoreError for a moment whose history is pruned.

        >>> for row in billfold.costs(by="month", month="2026-05", without="tax").rows:
        ...     print(*row.group, row.currency, round(row.amount, 2))
        2026-05 USD 9631.66
        """
        from billfold.reports.costs import sum_costs
        from billfold.selection import Metric

        return sum_costs(
            self.database,
            columns=as_columns(by),
            metric=as_member(Metric, metric, "metric"),
            client=client,
            export=export,
            month=as_period(month),
            since=as_period(since),
            until=as_period(until),
            selection=as_selection(filters),
            as_of=as_moment(as_of),
            split=split,
            limit=limit,
        )

    def changes(
        self,
        by: Texts = ("account", "service", "day", "category"),
        *,
        start: Point | None = None,
        end: Point | None = None,
        metric: Metric | str = "billed",
        limit: int | None = None,
        **which: Unpack[Which],
    ) -> ChangeReport:
        """What changed between two publications or moments of each statement; by default with its latest publication.

        `start` and `end` are numbers of publications, of one statement, or moments. `limit` keeps the largest groups.
        Raises UsageError for a statement that does not exist and for points in the wrong order.

        >>> [change.statement_id for change in billfold.changes(by="service", month="2026-05").changes]
        [1]
        """
        from billfold.reports.changes import list_changes
        from billfold.selection import Metric

        refuse_unknown_statement(self.database, which.get("statement"))
        return list_changes(
            self.database,
            as_filter(which),
            start=as_point(start),
            end=as_point(end),
            columns=as_change_columns(by),
            metric=as_member(Metric, metric, "metric") or Metric.BILLED,
            limit=limit,
        )

    def statements(self, **which: Unpack[Listed]) -> tuple[StatementRow, ...]:
        """What each export says about each month now, the newest month first.

        >>> [(row.billing_period, row.counted) for row in billfold.statements(client="acme")]
        [('2026-05', True)]
        """
        from billfold.reports.lists import list_statements

        return list_statements(self.database, as_filter(which))

    def deliveries(
        self, *, state: DeliveryState | str | None = None, **which: Unpack[Listed]
    ) -> tuple[DeliveryRow, ...]:
        """The deliveries, the newest first: each is one refresh of a statement.

        >>> [row.is_current for row in billfold.deliveries(state="published")]
        [True]
        """
        from billfold.reports.lists import list_deliveries

        return list_deliveries(self.database, as_filter(which, state=as_member(DeliveryState, state, "state")))

    def runs(self, *, status: RunStatus | str | None = None, **which: Unpack[Listed]) -> tuple[RunRow, ...]:
        """The runs, the newest first: each is the ingestion of one version of one data file.

        >>> [(row.status, row.rows_read) for row in billfold.runs(month="2026-05")]
        [('success', 100)]
        """
        from billfold.reports.lists import list_runs

        return list_runs(self.database, as_filter(which, state=as_member(RunStatus, status, "status")))

    def publications(self, **which: Unpack[Listed]) -> tuple[PublicationRow, ...]:
        """The publications, the newest first: each is one change of a statement's bill.

        >>> [(row.number, row.kind) for row in billfold.publications(statement=1)]
        [(1, 'delivery')]
        """
        from billfold.reports.lists import list_publications

        refuse_unknown_statement(self.database, which.get("statement"))
        return list_publications(self.database, as_filter(which))

    def checks(
        self,
        *,
        state: CheckState | str | None = None,
        every: bool = False,
        refresh: bool = False,
        **which: Unpack[Listed],
    ) -> CheckReport:
        """The data-quality checks of the current bills, with `every` of all publications.

        `refresh` first repeats the checks of these statements. Checks warn; they never block.

        >>> {str(row.state) for row in billfold.checks(state="warned", refresh=True).rows}
        {'warned'}
        """
        from billfold.model import CheckState
        from billfold.quality.checks import make_checks
        from billfold.reports.checks import list_checks
        from billfold.selection import MAX_LIMIT

        refuse_unknown_statement(self.database, which.get("statement"))
        listed: Listed = {"limit": MAX_LIMIT, **which}
        if refresh:
            from billfold.reports.lists import list_statements

            for found in list_statements(self.database, as_filter(listed)):
                make_checks(self.database, statement_id=found.statement_id)
        wanted = as_filter(listed, state=as_member(CheckState, state, "state"))
        return list_checks(self.database, wanted, every=every)

    def validate(self, **which: Unpack[Which]) -> ConformanceReport:
        """Whether the charges follow the rules of FOCUS 1.2: broken rules with rows, cost and an example.

        >>> [judged.is_conformant for judged in billfold.validate().statements]
        [True]
        """
        from billfold.reports.conformance import judge_conformance

        return judge_conformance(self.database, as_filter(which))

    def verify(
        self,
        *,
        source: bool = True,
        on_verdict: Callable[[Verdict], None] = lambda _verdict: None,
        **which: Unpack[Which],
    ) -> list[Verdict]:
        """Prove from the ground up that what is published is true; a verdict for each statement, the oldest first.

        `source` also fetches the source files and compares them. Raises UsageError for an unknown statement.

        >>> [verdict.is_true for verdict in billfold.verify(client="acme")]
        [True]
        """
        from billfold.verification import verify

        return verify(
            settings=self.settings,
            database=self.database,
            client=which.get("client"),
            export=which.get("export"),
            period=as_period(which.get("month")),
            statement_id=which.get("statement"),
            with_source=source,
            on_verdict=on_verdict,
        )

    def export(
        self,
        target: str | Path | BinaryIO,
        *,
        month: Month | None = None,
        until: Month | None = None,
        client: str | None = None,
        statement: int | None = None,
        file_format: FileFormat | str | None = None,
        overwrite: bool = False,
    ) -> ExportReport:
        """Write the charges of a month, of several up to `until`, or of one statement as FOCUS 1.2: CSV or Parquet.

        A file appears when it is complete; its name decides the format, a stream gets CSV. Raises UsageError where
        neither month nor statement is given, and for a file that exists unless `overwrite`.

        >>> billfold.export(folder / "may.parquet", month="2026-05").months
        ('2026-05',)
        """
        from billfold.reports.export import export_charges
        from billfold.selection import FileFormat

        first, last = as_period(month), as_period(until)
        if first is None and statement is None:
            raise UsageError("which month?", advice="use --month YYYY-MM, or --statement ID")
        if last and first is None:
            raise UsageError("--until needs --month, the first of the months")
        path = Path(target) if isinstance(target, str | Path) else None
        if file_format is None:
            file_format = _guess_format(path) if path else FileFormat.CSV
        return export_charges(
            self.database,
            target if path is None else path,  # type: ignore[arg-type]
            file_format=as_member(FileFormat, file_format, "format") or FileFormat.CSV,
            first=first,
            last=last or first,
            client=client,
            statement=statement,
            overwrite=overwrite,
        )

    def sql(self, query: str) -> AbstractContextManager[QueryResult]:
        """Run one SQL statement as the role that may only read, within the limits of the settings.

        Rows arrive as they are taken, inside the `with` block; exact numbers and instants are text. Raises QueryError
        for what PostgreSQL rejects, and ConfigurationError where no reader is configured.

        >>> with billfold.sql("SELECT count(*) AS deliveries FROM billing_deliveries") as result:
        ...     print(result.columns, list(result.rows))
        ('deliveries',) [(1,)]
        """
        from billfold.store.query import run_query

        settings = self.settings
        return run_query(
            self.database, query, timeout_seconds=settings.sql_timeout_seconds, max_rows=settings.sql_max_rows
        )

    def doctor(
        self, client: str | None = None, *, on_probe: Callable[[Probe], None] = lambda _probe: None
    ) -> tuple[Probe, ...]:
        """Check everything an ingest needs, of one client or of all enabled ones, and how to fix what is missing.

        `on_probe` is called with each as it is found. Nothing is ingested or changed. Raises UsageError for an unknown
        client; what cannot be reached is a failed probe.

        >>> [probe.state for probe in billfold.doctor("acme") if probe.name == "postgresql"]
        [<ProbeState.OK: 'ok'>]
        """
        from billfold.doctor import run_doctor
        from billfold.store.database import open_database

        given = None if self._is_own else self.database
        return run_doctor(
            settings=self.settings,
            client_id=client,
            on_probe=on_probe,
            open_store=(lambda _settings: given) if given else open_database,
        )


def _guess_format(path: Path) -> str:
    """The format that a file's name ends with."""
    ending = path.suffix.lower().removeprefix(".")
    if ending not in ("csv", "parquet"):
        raise UsageError(f"{str(path)!r} ends with neither .csv nor .parquet", advice="choose one with --format")
    return ending
