"""From a parsed bill to a publication in five steps: compare, land, map, reconcile, publish.

Everything that a reader can see changes in one transaction on the bulk loader's connection. Mapping needs only short
transactions of its own (for new dimension members), so that of a large bill runs in a second thread while PostgreSQL
loads the raw rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypedDict

from billfold.bills import overlap, split_cost, standalone
from billfold.bills.drift import find_drift
from billfold.bills.findings import find_remarkable
from billfold.bills.mapping import MappedBill, map_bill
from billfold.bills.plan import PublicationPlan
from billfold.bills.reconcile import Worth, carry, find_loss, reconcile
from billfold.model import PublicationKind, Totals
from billfold.store.database import BulkConnection, Database, connect_bulk
from billfold.store.deliveries import hold, landing, publications, sums
from billfold.store.deliveries.counting import Form
from billfold.store.deliveries.ledger import sum_held_undiscounted
from billfold.transform.compare import Comparison
from billfold.transform.identify import HASH_VERSION
from billfold.transform.landing import LandingFile
from billfold.transform.mapping import MAPPING_VERSION

# A small delta loads faster into the index of a large statement if it is sorted. Sorting holds whole rows in memory,
# some KB each, and a month that changes entirely is written all over the index anyway.
MAX_ORDERED_ROWS = 20_000
# Up to this many line items, mapping beside landing gains less than the second connection costs.
MAX_SERIAL_ROWS = 1_000
# Up to this many line items are mapped while PostgreSQL loads the raw rows; beyond, doing both at once needs too much
# of DuckDB's memory.
MAX_PARALLEL_ROWS = 1_500_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedBill:
    """What a publication did: the totals of the source and of the tables, what changed, and the findings.

    `affected` are the other statements whose checks may now give other results.
    """

    source: Totals
    after: Totals
    comparison: Comparison
    findings: tuple[str, ...]
    affected: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnchangedBill:
    """Exactly the current line items: nothing was written. `findings` are what only this delivery shows."""

    comparison: Comparison
    columns: Mapping[str, str]
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBill:
    """A bill that would leave too little of the current one: nothing was written. `reason` names what would be left."""

    reason: str
    source: Totals
    comparison: Comparison
    columns: Mapping[str, str]
    findings: tuple[str, ...]


class _Place(TypedDict):
    statement_id: int
    publication_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _OpenPublication:
    """The publishing transaction while it is open: its plan, its connection and what is known so far."""

    plan: PublicationPlan
    bulk: BulkConnection
    comparison: Comparison
    columns: Mapping[str, str]
    publication_id: int
    before: overlap.Before

    @property
    def place(self) -> _Place:
        """What the publication's rows are marked by."""
        return {"statement_id": self.plan.prior.statement.statement_id, "publication_id": self.publication_id}


def publish_bill(plan: PublicationPlan, database: Database) -> PublishedBill | UnchangedBill | HeldBill:
    """Make the plan's bill the statement's current one, or leave the current one as it is.

    Raises ReconciliationError if rows or money disagree with the source, RunConflictError if another worker published
    the statement meanwhile, and StoreError.
    """
    with connect_bulk(database.conninfo) as bulk, ThreadPoolExecutor(max_workers=1) as mapper:
        comparison = compare(plan, bulk)
        columns = plan.bill.describe_columns()
        drift = find_drift(plan.prior.columns, columns)
        if plan.is_needless(comparison):
            return UnchangedBill(comparison=comparison, columns=columns, findings=drift)
        mapping = _start_mapping(plan, bulk, comparison, mapper)
        opened = _open(plan, bulk, comparison, columns)
        land(opened)
        mapped = mapping.result()
        loss = _find_loss(opened, mapped)
        remarks = [*plan.remarks, f"published {plan.let_through}, although it {loss}"] if loss else plan.remarks
        remarkable = find_remarkable(plan.bill, mapped, plan.prior.statement.currency)
        if loss and plan.let_through is None:
            bulk.rollback()
            return HeldBill(
                reason=loss,
                source=mapped.ledger.totals,
                comparison=comparison,
                columns=columns,
                findings=(*plan.remarks, *remarkable, *drift),
            )
        findings = (*remarks, *remarkable, *drift, *land_charges(opened, mapped))
        after = reconcile_landed(opened, mapped)
        return publish(opened, mapped, after, findings)


def compare(plan: PublicationPlan, bulk: BulkConnection) -> Comparison:
    """Which line items the bill adds to the current ones, and which it removes."""
    statement = plan.prior.statement
    with plan.timings.measure("compare"):
        if plan.is_first:
            return plan.bill.compare(None)
        with landing.stream_current_rows(bulk, statement.billing_period, statement_id=statement.statement_id) as rows:
            return plan.bill.compare(rows)


def land(opened: _OpenPublication) -> None:
    """Load the raw rows of the added line items."""
    plan, comparison = opened.plan, opened.comparison
    period = plan.prior.statement.billing_period
    with plan.timings.measure("land"):
        if comparison.rows_added:
            in_order = not plan.is_first and comparison.rows_added <= MAX_ORDERED_ROWS
            rows = plan.bill.read_raw_rows(
                plan.files, billing_period=period.starts_on, in_order=in_order, **opened.place
            )
            landing.land_rows(opened.bulk, period, rows, row_count=comparison.rows_added)


def land_charges(opened: _OpenPublication, mapped: MappedBill) -> tuple[str, ...]:
    """Withdraw what the bill no longer holds, load the mapped charges and update the daily costs; returns findings."""
    plan, bulk, place = opened.plan, opened.bulk, opened.place
    bill, period = plan.bill, plan.prior.statement.billing_period
    with plan.timings.measure("charge"):
        has_withdrawals = mapped.remap or bill.has_withdrawals()
        if has_withdrawals:
            landing.withdraw(bulk, period, bill.read_removed_rows(), all_charges=mapped.remap, **place)
        landing.land_charges(bulk, period, bill.read_charges(billing_period=period.starts_on, **place))
        findings = split_cost.publish(
            bulk, bill, period, has_withdrawals=has_withdrawals, all_workloads=mapped.remap, **place
        )
        landing.roll_up(bulk, period, is_first=plan.is_first, **place)
    return findings


def reconcile_landed(opened: _OpenPublication, mapped: MappedBill) -> Totals:
    """The totals that the statement holds now, read back from the tables and equal to the source's.

    Raises ReconciliationError if they are not.
    """
    plan, bulk, comparison, source = opened.plan, opened.bulk, opened.comparison, mapped.ledger.totals
    statement = plan.prior.statement
    with plan.timings.measure("reconcile"):
        added, removed = sums.sum_landed(
            bulk,
            statement.billing_period,
            currency=statement.currency,
            columns=plan.bill.money_columns(),
            source=source,
            **opened.place,
        )
        # What was landed and withdrawn is what the comparison said.
        reconcile(Totals(row_count=comparison.rows_added), Totals(row_count=added.row_count))
        reconcile(Totals(row_count=comparison.rows_removed), Totals(row_count=removed.row_count))
        after = carry(statement.totals, added, removed)
        reconcile(source, after)
    return after


def publish(opened: _OpenPublication, mapped: MappedBill, after: Totals, findings: tuple[str, ...]) -> PublishedBill:
    """Decide which statements of the bill count, write the publication, and commit everything at once."""
    plan, bulk = opened.plan, opened.bulk
    statement, taken_over = plan.prior.statement, plan.prior.standalone
    publications.lock_bucket(bulk, client_id=plan.client.client_id)
    plan.confirm()
    emptied = standalone.empty(bulk, taken_over)
    recount = overlap.recount(
        bulk,
        statement.statement_id,
        before=opened.before,
        delivery_id=plan.delivery_id,
        form=Form(export_format=plan.bill.export_format, hash_version=HASH_VERSION, columns=frozenset(opened.columns)),
    )
    findings = (*findings, *recount.findings)
    changed = [statement.statement_id, *(each.statement_id for each in taken_over), *recount.switched]
    moment = publications.take_moment(bulk, changed)
    standalone.record(bulk, emptied, moment=moment)
    overlap.record(bulk, recount, moment=moment)
    for each in (statement, *taken_over):
        hold.end_holds(bulk, statement_id=each.statement_id, delivery_id=plan.delivery_id)
    publications.finish_publication(
        bulk, _describe_publication(opened, mapped, after, moment), _describe_arrival(opened, mapped, findings)
    )
    return PublishedBill(
        source=mapped.ledger.totals,
        after=after,
        comparison=opened.comparison,
        findings=findings,
        affected=recount.affected,
    )


def _open(
    plan: PublicationPlan, bulk: BulkConnection, comparison: Comparison, columns: Mapping[str, str]
) -> _OpenPublication:
    """Lock the statement and check that it was not published since it was compared."""
    statement = plan.prior.statement
    publication_id = publications.begin_publication(
        bulk, statement_id=statement.statement_id, expected_publication_id=statement.publication_id
    )
    return _OpenPublication(
        plan=plan,
        bulk=bulk,
        comparison=comparison,
        columns=columns,
        publication_id=publication_id,
        before=overlap.find_before(bulk, statement.statement_id),
    )


def _start_mapping(
    plan: PublicationPlan, bulk: BulkConnection, comparison: Comparison, mapper: ThreadPoolExecutor
) -> Future[MappedBill]:
    row_count = sum(comparison.rows_read_by_file.values())
    if row_count <= MAX_SERIAL_ROWS:
        # No publication is open yet.
        mapping = mapper.submit(map_bill, plan.bill, bulk, plan.client.client_id, plan.prior, plan.timings)
        mapping.result()
        return mapping
    mapping = mapper.submit(_map_beside, plan, bulk)
    if row_count > MAX_PARALLEL_ROWS:
        wait([mapping])
    return mapping


def _map_beside(plan: PublicationPlan, bulk: BulkConnection) -> MappedBill:
    """Map on a connection of its own, because the publishing transaction is open in the other thread."""
    with bulk.beside() as beside:
        return map_bill(plan.bill, beside, plan.client.client_id, plan.prior, plan.timings)


def _find_loss(opened: _OpenPublication, mapped: MappedBill) -> str | None:
    """What the bill would lose of the statement, and of the standalone files whose rows it takes over."""
    prior, ledger = opened.plan.prior, mapped.ledger
    if not opened.comparison.rows_removed and not prior.standalone:
        # Everything stays: what is added loses nothing, even if it is negative.
        return None
    before = [
        Worth(
            row_count=each.totals.row_count,
            undiscounted=sum_held_undiscounted(opened.bulk, each.statement_id)
            if each.undiscounted is None
            else each.undiscounted,
            billed=each.totals.billed,
        )
        for each in (prior.statement, *prior.standalone)
    ]
    after = Worth(row_count=ledger.totals.row_count, undiscounted=ledger.undiscounted, billed=ledger.totals.billed)
    return find_loss(before, after, min_percent=opened.plan.min_percent)


def _describe_publication(
    opened: _OpenPublication, mapped: MappedBill, after: Totals, moment: str
) -> publications.Publication:
    return publications.Publication(
        **opened.place,
        published_at=moment,
        kind=PublicationKind.DELIVERY,
        delivery_id=opened.plan.delivery_id,
        cost_basis=mapped.basis,
        hash_version=HASH_VERSION,
        mapping_version=MAPPING_VERSION,
        before=opened.plan.prior.statement.totals,
        after=after,
        rows_added=opened.comparison.rows_added,
        rows_removed=opened.comparison.rows_removed,
        left_out=mapped.ledger.left_out,
        unproved=mapped.unproved,
        undiscounted=mapped.ledger.undiscounted,
    )


def _describe_arrival(opened: _OpenPublication, mapped: MappedBill, findings: tuple[str, ...]) -> publications.Arrival:
    plan = opened.plan
    return publications.Arrival(
        billing_period=plan.prior.statement.billing_period,
        export_format=plan.bill.export_format,
        rows_read=mapped.ledger.totals.row_count,
        findings=findings,
        columns=opened.columns,
        timings=plan.timings.seconds,
        files=tuple(_count_file(opened.comparison, file) for file in plan.files),
    )


def _count_file(comparison: Comparison, file: LandingFile) -> publications.FileCounts:
    return publications.FileCounts(
        file_number=file.file_number,
        ingestion_run_id=file.ingestion_run_id,
        rows_read=comparison.rows_read_by_file.get(file.file_number, 0),
        rows_inserted=comparison.rows_added_by_file.get(file.file_number, 0),
    )
