"""Current rows: raw rows match their hashes and totals, charges match the raw rows that they come from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa

from billfold.errors import InputError
from billfold.model import Ledger, Totals
from billfold.store.database import connect_bulk
from billfold.store.deliveries.ledger import sum_ledger
from billfold.store.verification.charges import Difference, RecordedPublication, Snapshot
from billfold.store.verification.split_costs import SplitCosts
from billfold.transform import Bill, open_bill
from billfold.transform.identify import HASH_VERSION
from billfold.transform.mapping import MAPPING_VERSION
from billfold.verification.split import prove_split_mapping, skip_split_mapping
from billfold.verification.verdict import Proofs, Subject, compare_charges, compare_totals, format_totals


def prove_landed(proofs: Proofs, snapshot: Snapshot, subject: Subject) -> None:
    """Raw rows match their hashes and totals, charges match the raw rows."""
    held, recorded, settings = subject.held, subject.recorded, subject.settings
    is_mapped_today = held.mapping_version in (None, MAPPING_VERSION)
    folder = subject.folder / "landed"
    folder.mkdir()
    with open_bill(folder, memory_limit_mb=settings.memory_limit_mb, threads=settings.threads) as bill:
        try:
            with snapshot.stream_rows() as rows:
                bill.load_landed(rows)
        except InputError as error:
            proofs.add("raw_totals", [str(error)], "")
            for name in ("raw_hashes", "dimension_members", "charges_mapped"):
                proofs.skip(name, "the raw rows cannot be read")
            skip_split_mapping(proofs, SplitCosts(snapshot), "the raw rows cannot be read")
            _prove_charges(proofs, snapshot, recorded)
            return
        if held.hash_version == HASH_VERSION:
            _prove_hashes(proofs, snapshot, bill, recorded)
        else:
            proofs.skip("raw_hashes", f"hashed by version {held.hash_version}, this is version {HASH_VERSION}")
        bill.identify_as_landed()
        _spool(bill.read_pairs(), subject.pairs)
        basis = held.cost_basis or bill.choose_cost_basis()
        bill.prepare_mapping(basis=basis, currency=held.currency, remap=True)
        with connect_bulk(subject.database.conninfo) as beside:
            ledger = sum_ledger(beside, bill.read_ledger())
        _prove_raw_totals(proofs, ledger, recorded, is_mapped_today=is_mapped_today)
        _prove_charges(proofs, snapshot, recorded)
        if not is_mapped_today:
            reason = f"mapped by version {held.mapping_version}, this is version {MAPPING_VERSION}"
            for name in ("dimension_members", "charges_mapped"):
                proofs.skip(name, reason)
            skip_split_mapping(proofs, SplitCosts(snapshot), reason)
        elif basis is not bill.choose_cost_basis():
            difference = f"billing_statements: column cost_basis: expected {bill.choose_cost_basis()}, found {basis}"
            proofs.add("charges_mapped", [difference], "")
        else:
            _prove_mapping(proofs, snapshot, subject, bill, ledger)
    # The source files need the space next.
    shutil.rmtree(folder)


def _prove_hashes(proofs: Proofs, snapshot: Snapshot, bill: Bill, recorded: RecordedPublication) -> None:
    found = bill.find_misidentified()
    difference = None
    if found:
        row_hash, occurrence, column, expected, value = found
        difference = Difference(
            row=snapshot.name_row(row_hash, occurrence), column=column, expected=expected, found=value
        )
    proofs.add_first("raw_hashes", difference, f"{recorded.after.row_count} rows match their hashes")


def _prove_raw_totals(proofs: Proofs, ledger: Ledger, recorded: RecordedPublication, *, is_mapped_today: bool) -> None:
    # The mapping decides what is billed: another version may decide otherwise.
    billed = ledger.totals.billed if is_mapped_today else recorded.after.billed
    found = Totals(
        row_count=ledger.totals.row_count,
        charge_count=recorded.after.charge_count,
        gross=ledger.totals.gross,
        net=ledger.totals.net,
        billed=billed,
    )
    proofs.add("raw_totals", compare_totals(recorded.after, found), format_totals(recorded.after))


def _prove_charges(proofs: Proofs, snapshot: Snapshot, recorded: RecordedPublication) -> None:
    charged = snapshot.sum_charges()
    proofs.add("charge_totals", compare_charges(recorded.after, charged), f"{charged.charge_count} charges")
    proofs.add_first("charge_rows", snapshot.find_charge_without_row(), "every charge has its raw row")
    proofs.add_first("dimension_keys", snapshot.find_unknown_key(), "every key has its dimension member")


def _prove_mapping(proofs: Proofs, snapshot: Snapshot, subject: Subject, bill: Bill, ledger: Ledger) -> None:
    """The charges recomputed from the raw rows, and their members, equal the stored ones."""
    bill.add_residuals(ledger.residuals, period=subject.statement.billing_period)
    snapshot.expect_no_charges()
    differences = compute_charges(snapshot, subject, bill)
    proofs.add("dimension_members", differences, "every member has the values of its charges")
    proofs.add_first("charges_mapped", snapshot.find_charge_difference(), "mapping the raw rows gives the charges")
    prove_split_mapping(proofs, SplitCosts(snapshot), subject, bill)


def compute_charges(snapshot: Snapshot, subject: Subject, bill: Bill) -> list[str]:
    """Compute the bill's charges beside the stored ones; returns the members that are missing or differ."""
    statement = subject.statement
    differences = []
    for dimension in bill.find_dimensions():
        members = bill.read_members(dimension, client_id=statement.client_id)
        keys, difference = snapshot.find_members(dimension, members)
        bill.keep_keys(dimension, keys)
        if difference:
            differences.append(str(difference))
    snapshot.compute_charges(
        bill.read_charges(
            statement_id=statement.statement_id,
            billing_period=statement.billing_period.starts_on,
            publication_id=subject.recorded.publication_id,
        )
    )
    return differences


def _spool(rows: pa.RecordBatchReader, path: Path) -> None:
    """Keep a stream on disk: its session ends before that of its reader begins."""
    with path.open("wb") as file, pa.ipc.new_stream(file, rows.schema) as stream:
        for batch in rows:
            stream.write_batch(batch)
