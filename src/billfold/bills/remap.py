"""Remap: recompute a statement's charges from its raw rows with the current mapping, without AWS.

A remap is a publication of its own, in one transaction: all charges go to history and new ones replace them, while the
raw rows stay as they are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from functools import partial

import structlog

from billfold import interruption
from billfold.bills import overlap, split_cost
from billfold.bills.findings import find_remarkable
from billfold.bills.mapping import map_bill
from billfold.bills.plan import PriorState, Timings
from billfold.bills.reconcile import reconcile
from billfold.log import Event
from billfold.model import PublicationKind, Totals
from billfold.period import BillingPeriod
from billfold.quality import record_checks
from billfold.settings import Settings
from billfold.store.database import BulkConnection, Connection, Database, connect, connect_bulk
from billfold.store.deliveries import claims, landing, publications, records, statements, sums
from billfold.store.deliveries.statements import CurrentStatement
from billfold.store.verification.charges import VerifiedStatement, list_statements
from billfold.transform import Bill, open_bill
from billfold.transform.mapping import MAPPING_VERSION
from billfold.work_folder import work_folder

log = structlog.get_logger(__name__)


class RemapState(StrEnum):
    """How a remap ended: done, not needed because the charges are of the current mapping, or nothing to map."""

    REMAPPED = "remapped"
    CURRENT = "current"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True, kw_only=True)
class Remapping:
    """The result of a remap of one statement; costs are exact, by currency.

    `mapping_version_before` is the version that made the prior charges, None if there were none.
    """

    statement_id: int
    client_id: str
    export_name: str
    billing_period: str
    state: RemapState
    mapping_version_before: int | None
    mapping_version: int
    charges_before: int = 0
    charges: int = 0
    billed_cost: dict[str, Decimal]
    findings: tuple[str, ...] = ()
    duration_seconds: float = 0


def remap(
    *,
    settings: Settings,
    database: Database,
    client: str | None = None,
    export: str | None = None,
    period: BillingPeriod | None = None,
    statement_id: int | None = None,
    force: bool = False,
    on_remapped: Callable[[Remapping], None] = lambda _remapping: None,
) -> list[Remapping]:
    """Remap the statements whose charges an older mapping made, the oldest month first; with `force` all of them.

    `on_remapped` is called after each; an interruption leaves the finished ones done. Raises UsageError if there is no
    statement of `statement_id`, RunConflictError while another worker holds one, ReconciliationError if the new charges
    do not bill what the raw rows cost (then that statement is unchanged), and StoreError.
    """
    chosen = list_statements(database, client=client, export=export, period=period, statement_id=statement_id)
    remapped = []
    for statement in chosen:
        remapping = _remap(statement, settings, database, force=force)
        on_remapped(remapping)
        remapped.append(remapping)
    return remapped


def _remap(chosen: VerifiedStatement, settings: Settings, database: Database, *, force: bool) -> Remapping:
    started = time.monotonic()
    with connect(database.conninfo) as connection:
        statement = _claim(connection, chosen, settings)
        is_empty = statement.delivery_id is None
        if is_empty or (statement.mapping_version == MAPPING_VERSION and not force):
            return Remapping(
                statement_id=chosen.statement_id,
                client_id=chosen.client_id,
                export_name=chosen.export_name,
                billing_period=str(chosen.billing_period),
                state=RemapState.EMPTY if is_empty else RemapState.CURRENT,
                mapping_version_before=statement.mapping_version,
                mapping_version=MAPPING_VERSION,
                charges_before=statement.totals.charge_count,
                charges=statement.totals.charge_count,
                billed_cost=statement.totals.billed,
            )
        name = f"{chosen.export_name} {chosen.billing_period}"
        with (
            interruption.unfinished(
                partial(statements.say_whether_done, database.conninfo, statement, name, "remapped")
            ),
            work_folder(settings, "remap") as folder,
            open_bill(folder, memory_limit_mb=settings.memory_limit_mb, threads=settings.threads) as bill,
            connect_bulk(database.conninfo) as bulk,
        ):
            after, recount, findings = _publish(bill, bulk, chosen.client_id, statement)
            interruption.note(f"{name} is remapped")
        for checked in (chosen.statement_id, *sorted(recount.affected)):
            record_checks(database, statement_id=checked, connection=connection)
    remapping = Remapping(
        statement_id=chosen.statement_id,
        client_id=chosen.client_id,
        export_name=chosen.export_name,
        billing_period=str(chosen.billing_period),
        state=RemapState.REMAPPED,
        mapping_version_before=statement.mapping_version,
        mapping_version=MAPPING_VERSION,
        charges_before=statement.totals.charge_count,
        charges=after.charge_count,
        billed_cost=after.billed,
        findings=findings,
        duration_seconds=time.monotonic() - started,
    )
    log.info(
        Event.STATEMENT_REMAPPED,
        client=chosen.client_id,
        statement=name,
        mapping_version=MAPPING_VERSION,
        charges=after.charge_count,
    )
    return remapping


def _claim(connection: Connection, chosen: VerifiedStatement, settings: Settings) -> CurrentStatement:
    """Claim the statement, unless it is empty, and read it."""
    statement = statements.read_statement(connection, chosen.statement_id)
    if statement.delivery_id is None:
        return statement
    stored = records.find_delivery(connection, statement.delivery_id)
    claims.claim_stored(connection, stored, wait_seconds=settings.claim_wait_seconds)
    # It may have changed while the claim was waited for.
    return statements.read_statement(connection, chosen.statement_id)


def _publish(
    bill: Bill, bulk: BulkConnection, client_id: str, statement: CurrentStatement
) -> tuple[Totals, overlap.Recount, tuple[str, ...]]:
    """Publish the new charges; returns the new totals, what else changed, and the findings."""
    period = statement.billing_period
    with landing.stream_landed_rows(bulk, period, statement_id=statement.statement_id) as rows:
        bill.load_landed(rows)
    bill.identify_as_landed()
    prior = PriorState(statement=statement, residuals={}, columns={})
    mapped = map_bill(bill, bulk, client_id, prior, Timings(), all_charges=True)
    publication_id = publications.begin_publication(
        bulk, statement_id=statement.statement_id, expected_publication_id=statement.publication_id
    )
    place = {"statement_id": statement.statement_id, "publication_id": publication_id}
    before = overlap.find_before(bulk, statement.statement_id)
    landing.withdraw_charges(bulk, period, **place)
    landing.land_charges(bulk, period, bill.read_charges(billing_period=period.starts_on, **place))
    split_findings = split_cost.publish(bulk, bill, period, has_withdrawals=False, all_workloads=True, **place)
    landing.roll_up(bulk, period, is_first=False, **place)
    charged = sums.sum_charged(bulk, period, **place)
    after = Totals(
        row_count=statement.totals.row_count,
        charge_count=charged.charge_count,
        gross=statement.totals.gross,
        net=statement.totals.net,
        billed=charged.billed,
    )
    reconcile(mapped.ledger.totals, after)
    publications.lock_bucket(bulk, client_id=client_id)
    recount = overlap.recount(bulk, statement.statement_id, before=before)
    moment = publications.take_moment(bulk, [statement.statement_id, *recount.switched])
    overlap.record(bulk, recount, moment=moment)
    publications.finish_remap(
        bulk,
        publications.Publication(
            **place,
            published_at=moment,
            kind=PublicationKind.REMAP,
            delivery_id=statement.delivery_id,
            cost_basis=mapped.basis,
            hash_version=statement.hash_version,
            mapping_version=MAPPING_VERSION,
            before=statement.totals,
            after=after,
            rows_added=0,
            rows_removed=0,
            left_out=mapped.ledger.left_out,
            unproved=mapped.unproved,
            undiscounted=mapped.ledger.undiscounted,
        ),
    )
    findings = (*find_remarkable(bill, mapped, statement.currency), *split_findings, *recount.findings)
    return after, recount, findings
