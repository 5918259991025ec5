"""Withdrawn rows: raw rows match their hashes, charges match the raw rows that they came from."""

from __future__ import annotations

import shutil

from billfold.errors import InputError
from billfold.store.verification.charges import Difference, Snapshot
from billfold.store.verification.history import History
from billfold.store.verification.split_costs import SplitCosts
from billfold.transform import Bill, open_bill
from billfold.transform.identify import HASH_VERSION
from billfold.transform.mapping import MAPPING_VERSION
from billfold.verification.landed import compute_charges
from billfold.verification.split import compute_split
from billfold.verification.verdict import Proofs, Subject


def prove_withdrawn(proofs: Proofs, snapshot: Snapshot, history: History, subject: Subject) -> None:
    """Withdrawn raw rows match their hashes, and mapping them gives the withdrawn charges.

    Pruning never removes a raw row before its charges, so pruned history leaves nothing that cannot be proved.
    """
    proofs.add_first(
        "history_versions", history.find_charge_without_version(), "every withdrawn charge had its raw row"
    )
    if not history.has_withdrawn():
        for name in ("history_hashes", "history_mapped"):
            proofs.add(name, (), "no withdrawn rows are kept")
        return
    settings, folder = subject.settings, subject.folder / "withdrawn"
    folder.mkdir()
    with open_bill(folder, memory_limit_mb=settings.memory_limit_mb, threads=settings.threads) as bill:
        try:
            with history.stream_rows() as rows:
                family_count = bill.load_withdrawn(rows)
        except InputError as error:
            proofs.add("history_hashes", [str(error)], "")
            proofs.skip("history_mapped", "the withdrawn rows cannot be read")
            return
        _prove_hashes(proofs, history, bill, family_count)
        _prove_mapping(proofs, snapshot, history, subject, bill, family_count)
    # The source files need the space next.
    shutil.rmtree(folder)


def _prove_hashes(proofs: Proofs, history: History, bill: Bill, family_count: int) -> None:
    others = [version for version in history.list_hash_versions() if version != HASH_VERSION]
    if others:
        proofs.skip("history_hashes", f"hashed by version {others[0]} too, this is version {HASH_VERSION}")
        return
    differences = []
    for number in range(family_count):
        bill.take_family(number)
        if found := bill.find_changed():
            row_hash, _, column, expected, value = found
            name = history.name_row(row_hash)
            differences.append(str(Difference(row=name, column=column, expected=expected, found=value)))
    proofs.add("history_hashes", differences, "withdrawn rows match their hashes")


def _prove_mapping(
    proofs: Proofs, snapshot: Snapshot, history: History, subject: Subject, bill: Bill, family_count: int
) -> None:
    """The withdrawn charges that the current mapping made, on each of their cost bases."""
    differences = []
    split = SplitCosts(snapshot)
    for basis in history.list_bases(mapping_version=MAPPING_VERSION):
        snapshot.expect_no_charges()
        split.expect_none()
        residuals = history.list_residuals(basis, mapping_version=MAPPING_VERSION)
        for number in range(family_count):
            bill.take_family(number)
            bill.identify_once()
            bill.prepare_mapping(basis=basis, currency=subject.held.currency, remap=True)
            if number == 0:
                bill.add_residuals(residuals, period=subject.statement.billing_period)
            differences += compute_charges(snapshot, subject, bill)
            if bill.has_workloads():
                compute_split(split, subject, bill, with_parents=False)
        if found := split.find_withdrawn_difference(basis, mapping_version=MAPPING_VERSION):
            differences.append(str(found))
        if found := history.find_charge_difference(basis, mapping_version=MAPPING_VERSION):
            differences.append(str(found))
    left_out = history.count_other_mappings(mapping_version=MAPPING_VERSION)
    proofs.add(
        "history_mapped",
        differences,
        "mapping the withdrawn rows gives their charges"
        + (f", except {left_out} that another version of the mapping made" if left_out else ""),
    )
