"""What a verification reads of a statement's history: what its publications did, and what they withdrew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal

import pyarrow as pa

from billfold.model import CostBasis, Residual, Totals
from billfold.store.verification.charges import Difference, Snapshot


class History:
    """The history of a snapshot's statement. Functions `find_…` return the first difference, None if there is none."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def count_moved_rows(self) -> dict[int, tuple[int, int]]:
        """Rows added and withdrawn by publication, as the rows are marked."""
        return {row[0]: (row[1], row[2]) for row in self._snapshot.query("count_moved_rows")}

    def sum_charges_as_of(self) -> dict[int, Totals]:
        """Count and billed cost of the charges after each publication, from the first one that moved any."""
        totals: dict[int, Totals] = {}
        for publication_id, currency, count, cost, _ in self._snapshot.query("sum_charges_as_of"):
            known = totals.get(publication_id, Totals())
            totals[publication_id] = Totals(
                charge_count=known.charge_count + count, billed={**known.billed, currency: Decimal(cost)}
            )
        return totals

    def find_out_of_order(self) -> Difference | None:
        """A version of a row or charge that is removed before it is added, or added before the last one is removed."""
        for kind in ("row", "charge"):
            for row in self._snapshot.query(f"find_{kind}_out_of_order"):
                added_by, removed_by, next_added_by = row[3:]
                name = self._snapshot.name(*row[:3])
                if removed_by is not None and removed_by <= added_by:
                    return Difference(
                        row=name, column="removed_by", expected=f"more than {added_by}", found=str(removed_by)
                    )
                return Difference(
                    row=name,
                    column="added_by",
                    expected=f"{removed_by} or more" if removed_by is not None else "one current version",
                    found=str(next_added_by),
                )
        return None

    def sum_rows_as_of(self) -> dict[int, Totals]:
        """Gross and net cost of the raw rows after each publication, from their JSON."""
        totals: dict[int, Totals] = {}
        for publication_id, currency, gross, net in self._snapshot.query("sum_rows_as_of"):
            known = totals.get(publication_id, Totals())
            totals[publication_id] = Totals(
                gross={**known.gross, currency: Decimal(gross)}, net={**known.net, currency: Decimal(net)}
            )
        return totals

    def has_withdrawn(self) -> bool:
        """Whether any withdrawn rows are kept."""
        [[is_there]] = self._snapshot.query("has_withdrawn")
        return bool(is_there)

    def find_charge_without_version(self) -> Difference | None:
        """A withdrawn charge that was current longer than any version of its line item."""
        for row in self._snapshot.query("find_charge_without_version"):
            name = self._snapshot.name(*row)
            return Difference(row=name, column="row_hash", expected="a raw row that was current as long", found=None)
        return None

    def list_hash_versions(self) -> list[int]:
        """The versions of the hash by which withdrawn rows are named."""
        return [version for (version,) in self._snapshot.query("list_hash_versions")]

    @contextmanager
    def stream_rows(self) -> Iterator[pa.RecordBatchReader]:
        """The rows that withdrawn charges come from (row_hash, a number in place of occurrence, row_data as text)."""
        with self._snapshot.stream("stream_withdrawn") as rows:
            yield rows

    def name_row(self, row_hash: str) -> str:
        """A withdrawn row as a difference names it, with the file that first brought it; one of its versions."""
        for occurrence, removed_by, key in self._snapshot.query("find_versions", row_hash):
            return (
                self._snapshot.name(row_hash, occurrence, None) + f" of {key}, withdrawn by publication_id {removed_by}"
            )
        return f"row_hash {row_hash} under a withdrawn charge"

    def list_bases(self, *, mapping_version: int) -> list[CostBasis]:
        """The cost bases that withdrawn charges were made on by this version of the mapping."""
        return [CostBasis(basis) for (basis,) in self._snapshot.query("list_bases", mapping_version)]

    def count_other_mappings(self, *, mapping_version: int) -> int:
        """How many withdrawn charges another version of the mapping made."""
        [[count]] = self._snapshot.query("count_other_mappings", mapping_version)
        return int(count)

    def list_residuals(self, basis: CostBasis, *, mapping_version: int) -> Sequence[Residual]:
        """What Savings Plans left over, as the withdrawn charges of this basis and mapping say."""
        return [
            Residual(billing_account_id=payer, billing_currency=currency, cost=Decimal(cost))
            for payer, currency, cost in self._snapshot.query("list_withdrawn_residuals", str(basis), mapping_version)
        ]

    def find_charge_difference(self, basis: CostBasis, *, mapping_version: int) -> Difference | None:
        """A withdrawn charge of this basis and mapping that differs from the one that the snapshot computed."""
        rows = self._snapshot.query("find_withdrawn_difference", str(basis), mapping_version)
        return self._snapshot.describe_charge(rows)
