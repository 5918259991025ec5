"""One statement after the other: all of its proofs, in one snapshot of the database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from billfold.model import PublicationKind, Totals
from billfold.period import BillingPeriod
from billfold.settings import Settings
from billfold.store.database import Database
from billfold.store.verification.charges import (
    HeldStatement,
    RecordedPublication,
    VerifiedStatement,
    list_statements,
    open_snapshot,
)
from billfold.store.verification.history import History
from billfold.store.verification.split_costs import SplitCosts
from billfold.verification.files import prove_files
from billfold.verification.history import prove_days, prove_history
from billfold.verification.landed import prove_landed
from billfold.verification.origin import prove_origin
from billfold.verification.source import prove_source
from billfold.verification.split import prove_split_history, prove_split_totals
from billfold.verification.verdict import Proof, Proofs, Subject, Verdict, compare_totals
from billfold.verification.withdrawn import prove_withdrawn
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
    on_verdict: Callable[[Verdict], None] = lambda _verdict: None,
) -> list[Verdict]:
    """Prove the statements that match these filters, the oldest month first; `on_verdict` is called after each.

    Raises UsageError if there is no statement of `statement_id`, and StoreError.
    """
    statements = list_statements(database, client=client, export=export, period=period, statement_id=statement_id)
    verdicts = []
    for statement in statements:
        verdict = Verdict(
            statement_id=statement.statement_id,
            client_id=statement.client_id,
            export_name=statement.export_name,
            billing_period=str(statement.billing_period),
            proofs=_prove(statement, settings, database, with_source=with_source),
        )
        on_verdict(verdict)
        verdicts.append(verdict)
    return verdicts


def _prove(
    statement: VerifiedStatement, settings: Settings, database: Database, *, with_source: bool
) -> tuple[Proof, ...]:
    proofs = Proofs()
    with work_folder(settings, "verify") as folder:
        with open_snapshot(database, statement) as snapshot:
            held = snapshot.read_statement()
            publications = snapshot.list_publications()
            subject = Subject(
                statement=statement,
                held=held,
                recorded=_find_current(proofs, held, publications),
                settings=settings,
                database=database,
                folder=folder,
            )
            if not snapshot.has_partitions():
                proofs.add("raw_totals", compare_totals(subject.recorded.after, Totals()), "nothing was ever published")
                return tuple(proofs.made)
            prove_landed(proofs, snapshot, subject)
            prove_origin(proofs, snapshot, subject)
            history = History(snapshot)
            prove_history(proofs, history, publications)
            prove_withdrawn(proofs, snapshot, history, subject)
            prove_days(proofs, snapshot, publications)
            split = SplitCosts(snapshot)
            prove_split_totals(proofs, split)
            prove_split_history(proofs, split, publications)
        prove_files(proofs, subject)
        if with_source:
            prove_source(proofs, subject)
        else:
            proofs.skip("source_rows", "not requested")
    return tuple(proofs.made)


def _find_current(
    proofs: Proofs, held: HeldStatement, publications: Sequence[RecordedPublication]
) -> RecordedPublication:
    """The current publication, which must be the last one; an empty one if nothing was published."""
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
    proofs.add("statement", differences, f"publication {last.number} is current" if last else "nothing is published")
    return last or _NOTHING_PUBLISHED


_NOTHING_PUBLISHED = RecordedPublication(
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
