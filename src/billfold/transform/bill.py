"""One delivery's bill in DuckDB: the steps from files to streams for PostgreSQL, in the order of their calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from uuid import UUID

import duckdb
import pyarrow as pa

from billfold.dimensions import DIMENSIONS, Dimension
from billfold.model import CostBasis, ExportFormat, MoneyColumns, Residual, UnpackedFile
from billfold.period import BillingPeriod
from billfold.transform import column_types, compare, identify, landed, landing, line_items, mapping, members, refusals
from billfold.transform.account_ids import find_odd_ids
from billfold.transform.missing_costs import find_missing_costs
from billfold.transform.parse import parse
from billfold.transform.session import open_beside, open_session
from billfold.transform.shape import Shape, without_empty_columns

# Up to this size, writing the classified line items costs less than binding their view again for each query.
MAX_KEPT_ROWS = 10_000


class Bill:
    """A session and the shapes of its source rows. Steps raise InputError for values that no complete bill can have.

    After `compare`, mapping (from `choose_cost_basis` to `keep_keys`) and reading the raw rows may run in two
    threads: each has its own connection.
    """

    def __init__(self, session: duckdb.DuckDBPyConnection, mapper: duckdb.DuckDBPyConnection) -> None:
        self._session = session
        self._mapper = mapper
        # As the files have them, for what concerns the files; and without the columns that are empty in all rows.
        self._delivered: tuple[Shape, ...] = ()
        self._shapes: tuple[Shape, ...] = ()
        self._families: tuple[tuple[Shape, ...], ...] = ()
        self._has_current_rows = True
        self._filled: members.Filled = frozenset()

    @property
    def export_format(self) -> ExportFormat:
        return self._shapes[0].export_format

    def parse(self, files: Sequence[UnpackedFile], *, max_unpacked_bytes: int | None = None) -> None:
        """Load the files and refuse bad values; no file may hold more text than `max_unpacked_bytes`."""
        self._delivered = parse(self._session, files, max_unpacked_bytes=max_unpacked_bytes)
        refusals.refuse_bad_values(self._session, self._delivered)
        self._shapes = tuple(without_empty_columns(self._session, shape) for shape in self._delivered)

    def load_landed(self, rows: pa.RecordBatchReader) -> None:
        """Load landed rows (row_hash, occurrence, row_data as text) instead of files."""
        self._shapes = self._delivered = landed.load_landed(self._session, rows)

    def load_withdrawn(self, rows: pa.RecordBatchReader) -> int:
        """Load withdrawn rows, each with a number instead of its occurrence; returns the number of their families.

        `take_family` chooses the family for the next steps.
        """
        self._families = landed.load_families(self._session, rows, of_many=True)
        return len(self._families)

    def take_family(self, number: int) -> None:
        """Continue with this family of the withdrawn rows, counted from 0."""
        self._shapes = self._delivered = self._families[number]

    def find_changed(self) -> tuple[str, int, str, str, str] | None:
        """The first loaded row whose content has another hash than its own, in the form of `find_misidentified`."""
        return landed.find_changed(self._session, self._shapes)

    def identify_once(self) -> None:
        """Give one row of each landed hash its row_hash and the occurrence 1, and leave out the others."""
        landed.identify_once(self._session, self._shapes)

    def identify_as_landed(self) -> None:
        """Give every landed row its row_hash and occurrence in PostgreSQL."""
        landed.identify_as_landed(self._session, self._shapes)

    def find_misidentified(self) -> tuple[str, int, str, str, str] | None:
        """The first landed row whose content has another identity: its pair, column, expected and found value."""
        return landed.find_misidentified(self._session, self._shapes)

    def describe_columns(self) -> dict[str, str]:
        """Every header of the files with its type; empty without files."""
        return column_types.describe_types(self._session, self._delivered)

    def find_period(self, *, expected: BillingPeriod | None, fallback: date) -> BillingPeriod:
        """The billing period of all rows."""
        return refusals.find_period(self._session, self._delivered, expected=expected, fallback=fallback)

    def identify(self) -> None:
        """Give every line item its row_hash and occurrence."""
        identify.identify(self._session, self._shapes)

    def compare(self, current_rows: pa.RecordBatchReader | None) -> compare.Comparison:
        """Find the added, removed and unchanged line items."""
        self._has_current_rows = current_rows is not None
        return compare.compare(self._session, current_rows)

    def find_unmatched(self) -> tuple[str, int, int | None] | None:
        """After `compare`, the first line item that one side lacks: its pair, and its file's number, if any."""
        found = self._session.execute(
            "SELECT row_hash::VARCHAR, occurrence, file_number FROM ("
            " SELECT row_hash, occurrence, file_number FROM added_row"
            " UNION ALL SELECT row_hash, occurrence, NULL FROM removed_row) ORDER BY ALL LIMIT 1"
        ).fetchone()
        return (found[0], found[1], found[2]) if found else None

    def read_pairs(self) -> pa.RecordBatchReader:
        """The pairs (row_hash, occurrence) of all line items."""
        return self._session.sql("SELECT row_hash, occurrence FROM row_identity").to_arrow_reader(100_000)

    def choose_cost_basis(self) -> CostBasis:
        """Choose net or gross costs, once for the whole bill."""
        return mapping.choose_cost_basis(self._mapper, self._shapes)

    def prepare_mapping(self, *, basis: CostBasis, currency: str, remap: bool, with_charges: bool = True) -> None:
        """Map the added line items (all of them with `remap`) to charges; without those, only `read_ledger` follows."""
        mapping.prepare_mapping(
            self._mapper,
            self._shapes,
            basis=basis,
            currency=currency,
            all_rows=remap or not self._has_current_rows,
            keep_classified=self._count_rows() <= MAX_KEPT_ROWS,
            with_charges=with_charges,
        )

    def _count_rows(self) -> int:
        """The loaded rows, of all families."""
        tables = {shape.table for shapes in (self._shapes, *self._families) for shape in shapes}
        return sum(self._mapper.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0] for table in tables)

    def read_ledger(self) -> pa.RecordBatchReader:
        """The money of all line items, as text."""
        return mapping.read_ledger(self._mapper)

    def money_columns(self) -> MoneyColumns:
        """The headers that the landed JSON holds money under."""
        return MoneyColumns(
            gross=self._headers("line_item_unblended_cost", "BilledCost"),
            net=self._headers("line_item_net_unblended_cost"),
            currency=self._headers("line_item_currency_code", "BillingCurrency"),
        )

    def _headers(self, *canonical: str) -> tuple[str, ...]:
        found = (shape.find(name) for shape in self._shapes for name in canonical)
        return tuple(dict.fromkeys(column.header for column in found if column))

    def lacks_currency(self) -> bool:
        """Whether the export has no currency column."""
        return line_items.lacks_currency(self._delivered)

    def find_odd_values(self, *, basis: CostBasis, currency: str) -> Iterator[str]:
        """One sentence for each kind of value that is published but unusual."""
        yield from find_odd_ids(self._session, self._shapes, currency=currency)
        yield from find_missing_costs(self._session, self._shapes, basis=basis)

    def add_residuals(self, residuals: Sequence[Residual], *, period: BillingPeriod) -> None:
        """Charge the difference between covered Savings Plan usage and its negations."""
        mapping.add_residuals(self._mapper, residuals, period=period)

    def withdraw_residuals(self, row_hashes: Sequence[UUID]) -> None:
        """Withdraw Adjustment charges whose amount has changed."""
        mapping.withdraw_residuals(self._mapper, row_hashes)

    def has_withdrawals(self) -> bool:
        """Whether the statement loses any rows."""
        return bool(self._session.execute("SELECT count(*) FROM removed_row").fetchall()[0][0])

    def find_dimensions(self) -> Sequence[Dimension]:
        """The dimensions of which the charges name members; call it after `add_residuals`."""
        self._filled = members.find_filled(self._mapper)
        return [dimension for dimension in DIMENSIONS if members.is_named(dimension, self._filled)]

    def read_members(self, dimension: Dimension, *, client_id: str) -> pa.RecordBatchReader:
        """The members of a dimension that the charges name."""
        from_cur = self.export_format is not ExportFormat.FOCUS
        return members.read_members(self._mapper, dimension, self._filled, client_id=client_id, from_cur=from_cur)

    def keep_keys(self, dimension: Dimension, keys: pa.RecordBatchReader) -> None:
        """Keep the keys that PostgreSQL gave the members."""
        members.keep_keys(self._mapper, dimension, keys)

    def read_removed_rows(self) -> pa.RecordBatchReader:
        """The pairs (row_hash, occurrence) to withdraw."""
        return self._session.sql("SELECT row_hash, occurrence FROM removed_row").to_arrow_reader(100_000)

    def read_raw_rows(
        self,
        files: Sequence[landing.LandingFile],
        *,
        statement_id: int,
        billing_period: date,
        publication_id: int,
        in_order: bool,
    ) -> pa.RecordBatchReader:
        """The added line items as rows of the raw table."""
        return landing.read_raw_rows(
            self._session,
            self._shapes,
            files,
            statement_id=statement_id,
            billing_period=billing_period,
            publication_id=publication_id,
            in_order=in_order,
        )

    def read_charges(self, *, statement_id: int, billing_period: date, publication_id: int) -> pa.RecordBatchReader:
        """The charges with their dimension keys as rows of the staging table."""
        return landing.read_charges(
            self._session,
            self._filled,
            statement_id=statement_id,
            billing_period=billing_period,
            publication_id=publication_id,
        )

    def has_workloads(self) -> bool:
        """Whether any of the mapped line items is a workload of split cost allocation."""
        return landing.has_workloads(self._session)

    def read_workloads(self, *, statement_id: int, billing_period: date, publication_id: int) -> pa.RecordBatchReader:
        """The workloads with their dimension keys as rows of their staging table."""
        return landing.read_workloads(
            self._session,
            self._filled,
            statement_id=statement_id,
            billing_period=billing_period,
            publication_id=publication_id,
        )


@contextmanager
def open_bill(folder: Path, *, memory_limit_mb: int, threads: int) -> Iterator[Bill]:
    """A bill whose tables are in `folder` until the context ends."""
    with (
        open_session(folder, memory_limit_mb=memory_limit_mb, threads=threads) as session,
        open_beside(session) as mapper,
    ):
        yield Bill(session, mapper)
