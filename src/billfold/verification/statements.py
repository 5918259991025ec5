"""One statement after the other: all of its checks, in one snapshot of the database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from billfold.model import PublicationKind, Totals
from billfold.period import BillingPeriod
from billfold.settings import Settings
from billfold.store.database import Database
from billfold.store.verification.charges import (
    HeldStatement,
    SaidPublication,
    VerifiedStatement,
    list_statements,
    open_snapshot,
)
from billfold.store.verification.history import History
from billfold.store.verification.split_costs import SplitCosts
from billfold.verification.files import check_files
from billfold.verification.history import check_days, check_history
from billfold.verification.landed import check_landed
from billfold.verification.origin import check_origin
from billfold.verification.source import check_source
from billfold.verification.split import check_split_history, check_split_totals
from billfold.verification.verdict import Check, Findings, Subject, Verdict, compare_totals
from billfold.verification.withdrawn import check_withdrawn
from billfold.work_folder import work_folder


def verify(
    *,
    settings: Settings,
    database: Database,
    client: str | None = None,
    export: str | None = None,
    period: BillingPeriod | None = None,
    statement_id: int | None = None,
    with_source: bool = True,
    tell: Callable[[Verdict], None] = lambda _verdict: None,
) -> list[Verdict]:
    """Check the statements that these filters let through, the oldest month first; `tell` hears each as it is done.

    Raises UsageError where there is no statement of `statement_id`, and StoreError.
    """
    statements = list_statements(database, client=client, export=export, period=period, statement_id=statement_id)
    verdicts = []
    for statement in statements:
        verdict = Verdict(
            statement_id=statement.statement_id,
            client_id=statement.client_id,
            export_name=statement.export_name,
            billing_period=str(statement.billing_period),
            checks=_check(statement, settings, database, with_source=with_source),
        )
        tell(verdict)
        verdicts.append(verdict)
    return verdicts


def _check(
    statement: VerifiedStatement, settings: Settings, database: Database, *, with_source: bool
) -> tuple[Check, ...]:
    findings = Findings()
    with work_folder(settings, "verify") as folder:
        with open_snapshot(database, statement) as snapshot:
            held = snapshot.read_statement()
            publications = snapshot.list_publications()
            subject = Subject(
                statement=statement,
                held=held,
                said=_find_current(findings, held, publications),
                settings=settings,
                database=database,
                folder=folder,
            )
            if not snapshot.has_partitions():
                findings.tell("raw_totals", compare_totals(subject.said.after, Totals()), "nothing was ever landed")
                return tuple(findings.checks)
            check_landed(findings, snapshot, subject)
            check_origin(findings, snapshot, subject)
            history = History(snapshot)
            check_history(findings, history, publications)
            check_withdrawn(findings, snapshot, history, subject)
            check_days(findings, snapshot, publications)
            split = SplitCosts(snapshot)
            check_split_totals(findings, split)
            check_split_history(findings, split, publications)
        check_files(findings, subject)
        if with_source:
            check_source(findings, subject)
        else:
            findings.skip("source_rows", "not asked for")
    return tuple(findings.checks)


def _find_current(findings: Findings, held: HeldStatement, publications: Sequence[SaidPublication]) -> SaidPublication:
    """The publication that stands, which must be the last one; an empty one where nothing was published."""
    last = publications[-1] if publications else None
    differences = []
    if (last.publication_id if last else None) != held.publication_id:
        differences.append(
            f"billing_statements: column current_publication_id: expected {last.publication_id if last else 'nothing'},"
            f" found {held.publication_id}"
        )
    if last and last.after.row_count != held.row_count:
        differences.append(
            f"billing_statements: column row_count: expected {last.after.row_count}, found {held.row_count}"
        )
    findings.tell("statement", differences, f"publication {last.number} stands" if last else "nothing is published")
    return last or _NOTHING_SAID


_NOTHING_SAID = SaidPublication(
    publication_id=0,
    number=0,
    kind=PublicationKind.DELIVERY,
    published_at=datetime.min.replace(tzinfo=UTC),
    restored_publication_id=None,
    rows_before=0,
    rows_added=0,
    rows_removed=0,
    charges_before=0,
    billed_before={},
    after=Totals(),
    is_whole=True,
    is_remembered=True,
)
