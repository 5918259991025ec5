"""Split cost allocation: it sums to zero after every publication, and comes from raw rows and charges."""

from __future__ import annotations

from collections.abc import Sequence

from billfold.store.verification.charges import RecordedPublication
from billfold.store.verification.split_costs import SplitCosts
from billfold.transform import Bill
from billfold.verification.verdict import Proofs, Subject


def prove_split_totals(proofs: Proofs, split: SplitCosts) -> None:
    """Current rows sum to zero for each parent, and come from charges and raw rows."""
    if not split.are_there():
        proofs.add("split_totals", (), "no split cost allocation")
        return
    found = split.find_sum() or split.find_parent() or split.find_without_row() or split.find_unknown_key()
    proofs.add_first("split_totals", found, "workloads cost what their parents do, to the last decimal")


def prove_split_mapping(proofs: Proofs, split: SplitCosts, subject: Subject, bill: Bill) -> None:
    """Mapping the raw rows again, whose charges are proved, gives the stored split costs."""
    if not bill.has_workloads() and not split.are_there():
        proofs.add("split_mapped", (), "no split cost allocation")
        return
    split.expect_none()
    compute_split(split, subject, bill, with_parents=True)
    proofs.add_first("split_mapped", split.find_difference(), "mapping the raw rows gives the split costs")


def skip_split_mapping(proofs: Proofs, split: SplitCosts, reason: str) -> None:
    """Skip the proof because the raw rows cannot be mapped again; without split costs nothing is skipped."""
    if split.are_there():
        proofs.skip("split_mapped", reason)
    else:
        proofs.add("split_mapped", (), "no split cost allocation")


def prove_split_history(proofs: Proofs, split: SplitCosts, publications: Sequence[RecordedPublication]) -> None:
    """Every publication that is not pruned left zero for each parent; versions of a row follow each other."""
    if not split.are_there():
        proofs.add("split_history", (), "no split cost allocation")
        return
    forgotten = [each.publication_id for each in publications if not each.is_remembered]
    found = (
        split.find_stranger()
        or split.find_move(after_publication_id=max(forgotten, default=0))
        or split.find_out_of_order()
        or split.find_without_version()
    )
    proofs.add_first("split_history", found, "split costs sum to zero after each publication")


def compute_split(split: SplitCosts, subject: Subject, bill: Bill, *, with_parents: bool) -> None:
    """Compute the bill's split costs beside the stored ones; its members are known already."""
    split.compute(
        bill.read_workloads(
            statement_id=subject.statement.statement_id,
            billing_period=subject.statement.billing_period.starts_on,
            publication_id=subject.recorded.publication_id,
        ),
        publication_id=subject.recorded.publication_id,
        with_parents=with_parents,
    )
