"""From a parsed bill to a publication: compare, land, map, reconcile, publish.

Everything that a reader could see is one transaction on the bulk loader's connection. Mapping needs only short ones of
its own (new dimension members), so it goes on in a second thread while PostgreSQL takes in the raw rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

from billfold.bills import adoption, overlap, split_cost
from billfold.bills.discounts import find_remarkable_discounts, find_unproved
from billfold.bills.drift import find_drift
from billfold.bills.reconcile import Worth, carry, find_loss, reconcile
from billfold.model import Client, CostBasis, Ledger, PublicationKind, Totals
from billfold.store.database import BulkConnection, Database, connect_bulk
from billfold.store.deliveries import hold, publish
from billfold.store.deliveries.counting import Form
from billfold.store.deliveries.ledger import sum_held_undiscounted, sum_ledger
from billfold.store.deliveries.statements import CurrentStatement
from billfold.transform import Bill
from billfold.transform.compare import Comparison
from billfold.transform.identify import HASH_VERSION
from billfold.transform.landing import LandingFile
from billfold.transform.mapping import MAPPING_VERSION

# A delta goes faster into the index of a large statement when it comes in order. Ordering carries whole rows through
# memory, some KB each, and a month that changes altogether is written all over the index anyway.
MOST_ORDERED_ROWS = 20_000
# Up to so many line items are mapped while PostgreSQL takes the raw rows in; of more, both at once need too much of
# DuckDB's memory.
MOST_ROWS_BESIDE = 1_500_000
# A residual of Savings Plans up to a cent is rounding; more is worth telling.
RESIDUAL_TOLERANCE = Decimal("0.01")


@dataclass(slots=True)
class Timings:
    """How long each stage took, in seconds; stages may overlap."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[stage] = time.monotonic() - started


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedBill:
    """What a publication did: what the source says, what the tables hold now, what moved and what is worth telling.

    `affected` are other statements of which the checks may find something else now.
    """

    source: Totals
    after: Totals
    comparison: Comparison
    findings: tuple[str, ...]
    affected: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class UnchangedBill:
    """The very line items that stand: nothing was written. `findings` are what only this delivery tells."""

    comparison: Comparison
    columns: Mapping[str, str]
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBill:
    """A bill that would leave too little of what stands: nothing was written. `reason` names what would be left."""

    reason: str
    source: Totals
    comparison: Comparison
    columns: Mapping[str, str]
    findings: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What stands before a delivery is published, as its claim saw it.

    `residuals` are the Adjustment charges that the statement holds, `columns` those of the bill that came before,
    `standalone` the statements of single files that the delivery's manifest takes over.
    """

    statement: CurrentStatement
    residuals: Mapping[UUID, Decimal]
    columns: Mapping[str, str]
    standalone: Sequence[CurrentStatement] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedBill:
    """What mapping a bill gave: its cost basis, whether all charges were made anew, and its money."""

    basis: CostBasis
    remap: bool
    ledger: Ledger

    @property
    def unproved(self) -> Mapping[str, Decimal]:
        """By currency how far the billed cost is from the gross cost less the discounts; nothing where it is proved."""
        return find_unproved(self.basis, self.ledger)


def publish_bill(
    bill: Bill,
    standing: Standing,
    *,
    database: Database,
    client: Client,
    delivery_id: UUID,
    files: Sequence[LandingFile],
    least_percent: int,
    let_through: str | None,
    may_stay: bool,
    confirm: Callable[[], None],
    remarks: Sequence[str],
    timings: Timings,
) -> PublishedBill | UnchangedBill | HeldBill:
    """Make this bill the statement's current one, or leave the old one as it was.

    Where `may_stay` and nothing is new and nothing gone, it is what stands already: equal rows have equal money, so
    there is nothing to publish. When less than `least_percent` of the old bill would be left, it is held, unless
    somebody has let it through (`by force`, `by release`). `confirm` is asked under the lock of the client's
    publications, and raises where something that concerns the delivery was published meanwhile. `remarks` join the
    delivery's findings. Raises ReconciliationError when rows or money do not agree; RunConflictError when the statement
    was published by another worker meanwhile; and StoreError.
    """
    statement = standing.statement
    period = statement.billing_period
    is_first = statement.publication_id is None
    with connect_bulk(database.conninfo) as bulk, ThreadPoolExecutor(max_workers=1) as beside:
        with timings.measure("compare"):
            comparison = _compare(bulk, bill, statement)
        columns = bill.describe_columns()
        drift = find_drift(standing.columns, columns)
        if may_stay and comparison.is_unchanged and not standing.standalone:
            return UnchangedBill(comparison=comparison, columns=columns, findings=drift)
        publication_id = publish.begin_publication(
            bulk, statement_id=statement.statement_id, expected_publication_id=statement.publication_id
        )
        place = {"statement_id": statement.statement_id, "publication_id": publication_id}
        before = overlap.find_before(bulk, statement.statement_id)
        mapping = beside.submit(map_bill, bill, bulk, client.client_id, standing, timings)
        if sum(comparison.rows_read_by_file.values()) > MOST_ROWS_BESIDE:
            wait([mapping])
        with timings.measure("land"):
            if comparison.rows_added:
                in_order = not is_first and comparison.rows_added <= MOST_ORDERED_ROWS
                rows = bill.read_raw_rows(files, billing_period=period.starts_on, in_order=in_order, **place)
                publish.land_rows(bulk, period, rows, row_count=comparison.rows_added)
        mapped = mapping.result()
        source = mapped.ledger.totals
        if loss := _find_loss(bulk, standing, comparison, mapped.ledger, least_percent=least_percent):
            if let_through is None:
                bulk.rollback()
                findings = (*remarks, *find_remarkable(bill, mapped, statement.currency), *drift)
                return HeldBill(reason=loss, source=source, comparison=comparison, columns=columns, findings=findings)
            remarks = (*remarks, f"published {let_through}, although it {loss}")
        with timings.measure("charge"):
            has_withdrawals = mapped.remap or bill.has_withdrawals()
            if has_withdrawals:
                publish.withdraw(bulk, period, bill.read_removed_rows(), all_charges=mapped.remap, **place)
            publish.land_charges(bulk, period, bill.read_charges(billing_period=period.starts_on, **place))
            split_findings = split_cost.publish(
                bulk, bill, period, has_withdrawals=has_withdrawals, all_workloads=mapped.remap, **place
            )
            publish.roll_up(bulk, period, is_first=is_first, **place)
        with timings.measure("reconcile"):
            added, removed = publish.sum_landed(
                bulk, period, currency=statement.currency, columns=bill.money_columns(), source=source, **place
            )
            _check_counts(comparison, added, removed)
            after = carry(statement.totals, added, removed)
            reconcile(source, after)
        findings = (*remarks, *find_remarkable(bill, mapped, statement.currency), *drift)
        publish.lock_bucket(bulk, client_id=client.client_id)
        confirm()
        emptied = adoption.empty(bulk, standing.standalone)
        settled = overlap.settle(
            bulk,
            statement.statement_id,
            before=before,
            delivery_id=delivery_id,
            form=Form(export_format=bill.export_format, hash_version=HASH_VERSION, columns=frozenset(columns)),
        )
        findings = (*findings, *split_findings, *settled.findings)
        moment = publish.take_moment(
            bulk,
            [statement.statement_id, *(each.statement_id for each in standing.standalone), *settled.switched],
        )
        adoption.record(bulk, emptied, moment=moment)
        overlap.record(bulk, settled, moment=moment)
        for each in (statement, *standing.standalone):
            hold.end_holds(bulk, statement_id=each.statement_id, delivery_id=delivery_id)
        publish.finish_publication(
            bulk,
            publish.Publication(
                **place,
                published_at=moment,
                kind=PublicationKind.DELIVERY,
                delivery_id=delivery_id,
                cost_basis=mapped.basis,
                hash_version=HASH_VERSION,
                mapping_version=MAPPING_VERSION,
                before=statement.totals,
                after=after,
                rows_added=comparison.rows_added,
                rows_removed=comparison.rows_removed,
                left_out=mapped.ledger.left_out,
                unproved=mapped.unproved,
                undiscounted=mapped.ledger.undiscounted,
            ),
            publish.Arrival(
                billing_period=period,
                export_format=bill.export_format,
                rows_read=source.row_count,
                findings=findings,
                columns=columns,
                timings=timings.seconds,
                files=tuple(_count_file(comparison, file) for file in files),
            ),
        )
    return PublishedBill(
        source=source, after=after, comparison=comparison, findings=findings, affected=settled.affected
    )


def _find_loss(
    bulk: BulkConnection, standing: Standing, comparison: Comparison, ledger: Ledger, *, least_percent: int
) -> str | None:
    """What the bill would lose of what the statement holds, and the standalone files whose rows go too."""
    if not comparison.rows_removed and not standing.standalone:
        # Everything stays: what is added loses nothing, whatever its sign.
        return None
    before = [
        Worth(
            row_count=each.totals.row_count,
            undiscounted=sum_held_undiscounted(bulk, each.statement_id)
            if each.undiscounted is None
            else each.undiscounted,
            billed=each.totals.billed,
        )
        for each in (standing.statement, *standing.standalone)
    ]
    after = Worth(row_count=ledger.totals.row_count, undiscounted=ledger.undiscounted, billed=ledger.totals.billed)
    return find_loss(before, after, least_percent=least_percent)


def _compare(bulk: BulkConnection, bill: Bill, statement: CurrentStatement) -> Comparison:
    if statement.publication_id is None:
        return bill.compare(None)
    with publish.stream_current_rows(bulk, statement.billing_period, statement_id=statement.statement_id) as rows:
        return bill.compare(rows)


def map_bill(
    bill: Bill, bulk: BulkConnection, client_id: str, standing: Standing, timings: Timings, *, anew: bool = False
) -> MappedBill:
    """Charges and dimension keys of the added line items; of all, where basis or mapping are another, or if `anew`.

    New members are committed on a connection beside `bulk`, whose transaction may be going on in another thread.
    """
    statement = standing.statement
    with timings.measure("map"), bulk.beside() as beside:
        basis = bill.choose_cost_basis()
        known = (statement.cost_basis, statement.mapping_version)
        remap = anew or (statement.publication_id is not None and known != (basis, MAPPING_VERSION))
        bill.prepare_mapping(basis=basis, currency=statement.currency, remap=remap)
        ledger = sum_ledger(beside, bill.read_ledger())
        held = {} if remap else standing.residuals
        due = {residual.row_hash: residual for residual in ledger.residuals}
        bill.add_residuals(
            [residual for row_hash, residual in due.items() if held.get(row_hash) != residual.cost],
            period=statement.billing_period,
        )
        bill.withdraw_residuals(
            [row_hash for row_hash, cost in held.items() if row_hash not in due or due[row_hash].cost != cost]
        )
        for dimension in bill.find_dimensions():
            members = bill.read_members(dimension, client_id=client_id)
            bill.keep_keys(dimension, publish.ensure_members(beside, dimension, members))
        return MappedBill(basis=basis, remap=remap, ledger=ledger)


def _check_counts(comparison: Comparison, added: Totals, removed: Totals) -> None:
    """What was landed and what was withdrawn is what the comparison said."""
    reconcile(Totals(row_count=comparison.rows_added), Totals(row_count=added.row_count))
    reconcile(Totals(row_count=comparison.rows_removed), Totals(row_count=removed.row_count))


def _count_file(comparison: Comparison, file: LandingFile) -> publish.FileCounts:
    return publish.FileCounts(
        file_number=file.file_number,
        ingestion_run_id=file.ingestion_run_id,
        rows_read=comparison.rows_read_by_file.get(file.file_number, 0),
        rows_inserted=comparison.rows_added_by_file.get(file.file_number, 0),
    )


def find_remarkable(bill: Bill, mapped: MappedBill, currency: str) -> Iterator[str]:
    """What an operator should know of a bill that was published all the same."""
    ledger = mapped.ledger
    if bill.lacks_currency():
        yield f"the export has no currency column: {currency} is assumed"
    yield from bill.find_odd_values(basis=mapped.basis, currency=currency)
    for name, count in ledger.unknown_types.items():
        yield f"{count} line items of the unknown type {name!r} are charged as Adjustment"
    if ledger.covered_rows_without_share:
        yield (
            f"{ledger.covered_rows_without_share} line items covered by a commitment name no effective cost:"
            " theirs counts as 0"
        )
    if ledger.rows_billed_as_effective:
        yield f"{ledger.rows_billed_as_effective} rows name no EffectiveCost: their BilledCost stands in"
    for code, gross in ledger.totals.gross.items():
        if mapped.basis is CostBasis.NET and gross and not ledger.totals.net.get(code):
            yield f"the net costs in {code} add up to 0, the gross costs to {gross:f}: the net costs were billed"
    yield from find_remarkable_discounts(mapped.basis, ledger)
    if ledger.overdrawn_rows:
        yield f"{ledger.overdrawn_rows} commitment fees say that more was used than committed: nothing counts as unused"
    yield from split_cost.find_costs_of_split_rows(ledger)
    for residual in ledger.residuals:
        if abs(residual.cost) > RESIDUAL_TOLERANCE:
            yield (
                f"Savings Plan covered usage and negations of payer {residual.billing_account_id} leave"
                f" {residual.cost:f} {residual.billing_currency} over, charged as Adjustment"
            )
