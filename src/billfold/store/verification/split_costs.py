"""What a verification reads of a statement's split cost allocation, current and withdrawn."""

from __future__ import annotations

import pyarrow as pa

from billfold.model import CostBasis
from billfold.sql import read_queries
from billfold.store.deliveries import split_costs
from billfold.store.deliveries.partitions import partitions
from billfold.store.verification.charges import Difference, Snapshot


class SplitCosts:
    """A statement's split costs in a snapshot. `find_…` return the first difference, None if there is none."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        names = {**partitions(snapshot.statement.billing_period), "split": "expected_split"}
        self._landing = {
            name: query.format(**names)
            for name, query in read_queries("billfold.store.deliveries", "split_costs").items()
        }

    def are_there(self) -> bool:
        """Whether the statement has any, current or withdrawn and not pruned."""
        [[is_there]] = self._snapshot.query("has_split_costs")
        return bool(is_there)

    def find_sum(self) -> Difference | None:
        """A parent and charge period whose rows do not sum to zero."""
        for parent, starts_at, currency, cost in self._snapshot.query("find_split_sum"):
            place = f"{self._snapshot.prefix}, billing_split_cost of {parent} from {starts_at}, {currency}"
            return Difference(row=place, column="cost", expected="0 in all", found=cost)
        return None

    def find_parent(self) -> Difference | None:
        """A parent that is not a charge with the opposite sign."""
        for row_hash, occurrence, part, expected, found in self._snapshot.query("find_split_parent"):
            name = self._name(row_hash, occurrence, part)
            return Difference(row=name, column="cost", expected=expected or "a charge", found=found)
        return None

    def find_without_row(self) -> Difference | None:
        """A workload whose line item is not there, or came after it."""
        for row in self._snapshot.query("find_split_without_row"):
            return Difference(row=self._name(*row), column="row_hash", expected="a raw row", found=None)
        return None

    def find_unknown_key(self) -> Difference | None:
        """A dimension key, of a current or a withdrawn row, without a member."""
        for column, key in self._snapshot.query("find_split_key"):
            name = f"{self._snapshot.prefix}, billing_split_cost"
            return Difference(row=name, column=column, expected="a member's key", found=key)
        return None

    def expect_none(self) -> None:
        """Start over with an empty table of expected rows."""
        self._snapshot.execute("drop_expected_split")
        self._snapshot.execute("create_expected_split")

    def compute(self, workloads: pa.RecordBatchReader, *, publication_id: int, with_parents: bool) -> None:
        """Compute expected rows into a temporary table, with the very queries that publish split costs.

        Without parents there are only workloads, none of which costs anything.
        """
        bulk, statement_id = self._snapshot.bulk, self._snapshot.statement.statement_id
        split_costs.land_workloads(bulk, self._landing, workloads, statement_id=statement_id, with_parents=with_parents)
        if with_parents:
            split_costs.find_due(bulk, self._landing, statement_id=statement_id, publication_id=publication_id)
            bulk.execute(self._landing["insert_due"], statement_id)
        bulk.execute(self._landing["drop_split"])
        self._snapshot.execute("analyze_expected_split")

    def find_difference(self) -> Difference | None:
        """A row that differs from the computed one in any column, or that only one side has."""
        return self._describe(self._snapshot.describe_charge(self._snapshot.query("find_split_difference")))

    def find_withdrawn_difference(self, basis: CostBasis, *, mapping_version: int) -> Difference | None:
        """A withdrawn workload of this basis and mapping that differs from the computed one."""
        rows = self._snapshot.query("find_withdrawn_split_difference", str(basis), mapping_version)
        return self._describe(self._snapshot.describe_charge(rows))

    def find_move(self, *, after_publication_id: int) -> Difference | None:
        """A publication that left a parent and charge period with rows that do not sum to zero."""
        for publication_id, parent, starts_at, currency, cost in self._snapshot.query(
            "find_split_move", after_publication_id
        ):
            place = f"{self._snapshot.prefix}, billing_split_cost of {parent} from {starts_at}, {currency}"
            row = f"{place}, moved by publication_id {publication_id}"
            return Difference(row=row, column="cost", expected="0 in all", found=cost)
        return None

    def find_stranger(self) -> Difference | None:
        """A row that is marked by a publication of another statement, or of none."""
        for row_hash, occurrence, part, column, publication_id in self._snapshot.query("find_split_stranger"):
            name = self._name(row_hash, occurrence, part)
            return Difference(row=name, column=column, expected="a publication's", found=str(publication_id))
        return None

    def find_out_of_order(self) -> Difference | None:
        """A version of a row that is removed before it is added, or added before the previous one is removed."""
        for row_hash, occurrence, part, added_by, removed_by, next_added_by in self._snapshot.query(
            "find_split_out_of_order"
        ):
            name = self._name(row_hash, occurrence, part)
            if removed_by is not None and removed_by <= added_by:
                return Difference(
                    row=name, column="removed_by", expected=f"more than {added_by}", found=str(removed_by)
                )
            wanted = f"{removed_by} or more" if removed_by is not None else "one current version"
            return Difference(row=name, column="added_by", expected=wanted, found=str(next_added_by))
        return None

    def find_without_version(self) -> Difference | None:
        """A withdrawn workload that was current longer than any version of its line item."""
        for row_hash, occurrence, part, removed_by in self._snapshot.query("find_split_without_version"):
            name = self._name(row_hash, occurrence, part, removed_by)
            return Difference(row=name, column="row_hash", expected="a raw row that was current as long", found=None)
        return None

    def _name(self, row_hash: str, occurrence: int, part: int, removed_by: int | None = None) -> str:
        return f"split cost of {self._snapshot.name(row_hash, occurrence, part, removed_by)}"

    @staticmethod
    def _describe(found: Difference | None) -> Difference | None:
        if found is None:
            return None
        return Difference(
            row=f"split cost of {found.row}", column=found.column, expected=found.expected, found=found.found
        )
