"""What a verification reads in PostgreSQL: one statement in one snapshot; everything it writes is temporary.

Functions named `find_…` return the first difference, None if there is none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa

from billfold.dimensions import Dimension
from billfold.errors import UsageError
from billfold.model import Client, CostBasis, PublicationKind, Totals
from billfold.period import BillingPeriod
from billfold.sql import read_queries
from billfold.store.database import BulkConnection, Database, connect, connect_bulk
from billfold.store.deliveries.partitions import partitions

# The key of a daily cost, and its amounts.
_DAY_COLUMNS = (
    "charge_date billing_account_key sub_account_key service_key region_key charge_key tag_set_key billing_currency"
    " billing_period"
).split()
# The tables of daily costs, and the column by which each distinguishes sets of tags.
_DAILY_TABLES = (("billing_daily_cost", "NULL::integer"), ("billing_daily_tag_cost", "tag_set_key"))
_AMOUNTS = ("billed_cost", "effective_cost", "list_cost", "contracted_cost", "charge_count")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedStatement:
    """A statement that is to be verified."""

    statement_id: int
    client_id: str
    export_name: str
    billing_period: BillingPeriod


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldStatement:
    """What the control tables say about a statement in the snapshot.

    `files` are (key, ETag, rows read) of its current delivery.
    """

    client: Client
    bucket: str
    currency: str
    row_count: int
    hash_version: int
    mapping_version: int | None
    cost_basis: CostBasis | None
    publication_id: int | None
    delivery_id: UUID | None
    files: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedPublication:
    """What a publication says it did.

    `is_whole`: neither the rows that it added nor the state after it are pruned; `is_remembered`: nor are the rows that
    it withdrew. `restored_publication_id` is set for a rollback or an undo, unless that left an empty statement.
    """

    publication_id: int
    number: int
    kind: PublicationKind
    published_at: datetime
    restored_publication_id: int | None
    rows_before: int
    rows_added: int
    rows_removed: int
    charges_before: int
    billed_before: dict[str, Decimal]
    after: Totals
    is_whole: bool
    is_remembered: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One place where a stored value is not what it should be; `row` names it in words."""

    row: str
    column: str
    expected: str | None
    found: str | None

    def __str__(self) -> str:
        return f"{self.row}: column {self.column}: expected {_format(self.expected)}, found {_format(self.found)}"


def list_statements(
    database: Database,
    *,
    client: str | None,
    export: str | None,
    period: BillingPeriod | None,
    statement_id: int | None,
) -> list[VerifiedStatement]:
    """The statements that match these filters, the oldest month first.

    Raises UsageError if there is no statement of `statement_id`.
    """
    with connect(database.conninfo) as connection:
        rows = connection.execute(
            read_queries("billfold.store.verification", "charges")["list_statements"].encode(),
            {
                "client": client,
                "export": export,
                "period": period.starts_on if period else None,
                "statement_id": statement_id,
            },
        ).fetchall()
    if statement_id is not None and not rows:
        raise UsageError(f"there is no such statement {statement_id}", advice="`billfold statements` lists them")
    return [
        VerifiedStatement(
            statement_id=row[0], client_id=row[1], export_name=row[2], billing_period=BillingPeriod(row[3])
        )
        for row in rows
    ]


class Snapshot:
    """One statement as of one moment, unaffected by later publications."""

    def __init__(self, bulk: BulkConnection, statement: VerifiedStatement) -> None:
        self.bulk = self._bulk = bulk
        self.statement = self._statement = statement
        self.prefix = self._prefix = f"statement {statement.statement_id}"
        # There are two tables of daily costs: the query names one.
        names = {
            **partitions(statement.billing_period),
            "statement_id": statement.statement_id,
            "daily_table": "{daily_table}",
            "tag_set_key": "{tag_set_key}",
        }
        self._queries = {
            name: query.format(**names) if "{" in query else query
            for file in ("charges", "history", "split_costs")
            for name, query in read_queries("billfold.store.verification", file).items()
        }

    def has_partitions(self) -> bool:
        """Whether the month's tables are there."""
        [[is_there]] = self._bulk.query(self._queries["find_partitions"])
        return bool(is_there)

    def read_statement(self) -> HeldStatement:
        """The statement's own rows in the control tables."""
        [row] = self.query("read_statement")
        delivery_id = UUID(row[7]) if row[7] else None
        files = self._bulk.query(self._queries["list_files"], row[7]) if row[7] else []
        return HeldStatement(
            client=Client(
                client_id=self._statement.client_id,
                role_arn=row[8],
                external_id=row[9],
                region=row[10],
                bucket=row[11],
                prefix=row[12],
                account_id=row[13],
                currency=row[14],
                source_identity=row[15],
                kms_key_arn=row[16],
                is_registered=row[17],
                max_file_bytes=row[18],
            ),
            bucket=row[0],
            currency=row[1],
            row_count=row[2],
            hash_version=row[3],
            mapping_version=row[4],
            cost_basis=CostBasis(row[5]) if row[5] else None,
            publication_id=row[6],
            delivery_id=delivery_id,
            files=tuple((key, etag, rows_read) for key, etag, rows_read in files),
        )

    def list_publications(self) -> list[RecordedPublication]:
        """All publications of the statement, in their order."""
        return [
            RecordedPublication(
                publication_id=row[0],
                number=row[1],
                rows_before=row[2],
                rows_added=row[3],
                rows_removed=row[4],
                charges_before=row[6],
                billed_before=_money(row[8]),
                after=Totals(
                    row_count=row[5],
                    charge_count=row[7],
                    billed=_money(row[9]),
                    gross=_money(row[10]),
                    net=_money(row[11]),
                ),
                is_whole=row[12],
                is_remembered=row[13],
                kind=PublicationKind(row[14]),
                published_at=row[15],
                restored_publication_id=row[16],
            )
            for row in self.query("list_publications")
        ]

    @contextmanager
    def stream_rows(self) -> Iterator[pa.RecordBatchReader]:
        """The current raw rows (row_hash, occurrence, row_data as text), in bounded memory."""
        with self.stream("stream_rows") as rows:
            yield rows

    @contextmanager
    def stream(self, name: str) -> Iterator[pa.RecordBatchReader]:
        """The rows of a named query about this statement, in bounded memory."""
        with self._bulk.stream(self._queries[name]) as rows:
            yield rows

    def name_row(self, row_hash: str, occurrence: int) -> str:
        """A raw row as a difference names it, with the file that first brought it."""
        found = self._bulk.query(self._queries["find_row"], self._statement.statement_id, row_hash, occurrence)
        return self.name(row_hash, occurrence, None) + (f" of {found[0][0]}" if found else "")

    def sum_charges(self) -> Totals:
        """Count and billed cost of the current charges."""
        rows = self.query("sum_charges")
        return Totals(charge_count=sum(row[1] for row in rows), billed={row[0]: Decimal(row[2]) for row in rows})

    def find_charge_without_row(self) -> Difference | None:
        """A charge whose line item is not there, or came after it."""
        for row in self.query("find_charge_without_row"):
            return Difference(row=self.name(*row), column="row_hash", expected="a raw row", found=None)
        return None

    def find_unknown_key(self) -> Difference | None:
        """A charge, current or withdrawn, with a dimension key without a member."""
        for row_hash, occurrence, part, removed_by, column, key in self.query("find_unknown_key"):
            name = self.name(row_hash, occurrence, part, removed_by)
            return Difference(row=name, column=column, expected="a member's key", found=str(key))
        return None

    def find_members(
        self, dimension: Dimension, members: pa.RecordBatchReader
    ) -> tuple[pa.RecordBatchReader, Difference | None]:
        """member_hash (text) and key of the known members, and the first that is missing or has other values.

        Nothing is inserted.
        """
        names = (*(("client_id",) if dimension.of_client else ()), *dimension.attributes)
        types = {name: "json" if name in dimension.json_attributes else "text" for name in names}
        columns = ", ".join(f"{name} {type_name}" for name, type_name in types.items())
        self._bulk.execute(f"CREATE TEMP TABLE new_member (member_hash uuid, {columns}) ON COMMIT DROP")
        self._bulk.load("new_member", members, temporary=True)
        with self._bulk.stream(
            f"SELECT member_hash::text AS member_hash, {dimension.key} FROM {dimension.table}"
            " JOIN new_member USING (member_hash)"
        ) as stream:
            keys = stream.read_all()
        values = {name: f"wanted.{name}{'::jsonb' if types[name] == 'json' else ''}" for name in names}
        pairs = ", ".join(f"'{name}', {value}" for name, value in values.items())
        known = ", ".join(f"known.{name}" for name in names)
        found = self._bulk.query(
            f"SELECT member_hash::text, {dimension.key}, name, trim('\"' FROM value::text),"
            f" trim('\"' FROM (known -> name)::text) FROM (SELECT member_hash, known.{dimension.key},"
            f" to_jsonb(known) AS known, jsonb_build_object({pairs}) AS wanted"
            f" FROM new_member AS wanted LEFT JOIN {dimension.table} AS known USING (member_hash)"
            f" WHERE known.{dimension.key} IS NULL OR ROW({known}) IS DISTINCT FROM ROW({', '.join(values.values())})"
            " ORDER BY member_hash LIMIT 1) AS differing, jsonb_each(wanted) AS attribute (name, value)"
            " WHERE value IS DISTINCT FROM known -> name ORDER BY name LIMIT 1"
        )
        self._bulk.execute("DROP TABLE new_member")
        difference = None
        for member_hash, key, name, expected, value in found:
            difference = Difference(
                row=f"{dimension.table} {key if key is not None else member_hash}",
                column=name if key is not None else dimension.key,
                expected=expected if key is not None else "a member",
                found=value if key is not None else None,
            )
        return keys.to_reader(), difference

    def expect_no_charges(self) -> None:
        """Start over with an empty table of expected charges."""
        self._bulk.execute(self._queries["drop_expected"])
        self._bulk.execute(self._queries["create_expected"])

    def compute_charges(self, charges: pa.RecordBatchReader) -> None:
        """Compute expected charges into a temporary table, with the very query that lands charges."""
        landing = read_queries("billfold.store.deliveries", "charges")
        self._bulk.execute(landing["create_staging"])
        self._bulk.load("charge_staging", charges, temporary=True)
        self._bulk.execute(landing["insert_charges"].format(partition="expected_charge"))
        self._bulk.execute(self._queries["drop_staging"])
        self._bulk.execute(self._queries["analyze_expected"])

    def find_charge_difference(self) -> Difference | None:
        """A charge that differs from the computed one in any column, or that only one side has."""
        return self.describe_charge(self.query("find_charge_difference"))

    def describe_charge(self, rows: list[tuple[Any, ...]]) -> Difference | None:
        """The first of these charges (row_hash, occurrence, part, removed_by, then both sides) as a difference."""
        for row_hash, occurrence, part, removed_by, is_expected, is_held, column, expected, found in rows:
            name = self.name(row_hash, occurrence, part, removed_by)
            if is_expected and is_held:
                return Difference(row=name, column=column, expected=expected, found=found)
            return Difference(
                row=name,
                column="part",
                expected="a charge" if is_expected else "no charge",
                found="a charge" if is_held else "no charge",
            )
        return None

    def find_day_difference(self) -> Difference | None:
        """A key of the daily costs, with or without tags, that does not hold its charges' sums."""
        for table, tag_set_key in _DAILY_TABLES:
            query = self._queries["find_day_difference"].format(daily_table=table, tag_set_key=tag_set_key)
            for key, expected, found in self._bulk.query(query, self._statement.statement_id):
                return _day_difference(f"{self._prefix}, {table}", key, expected, found)
        return None

    def find_restatement_difference(self, *, after_publication_id: int) -> Difference | None:
        """A key of a restatement that is not what its publication added less what it withdrew."""
        query = self._queries["find_restatement_difference"]
        for row in self._bulk.query(query, self._statement.statement_id, after_publication_id):
            return _day_difference(f"{self._prefix}, billing_restatement of publication_id {row[0]}", *row[1:])
        return None

    def find_restatement_total(self) -> Difference | None:
        """A restatement that does not sum to the change of the statement's totals by its publication."""
        for publication_id, count, said_count, currency, cost, said_cost in self.query("find_restatement_total"):
            name = f"{self._prefix}, billing_restatement of publication_id {publication_id}"
            if Decimal(cost) != Decimal(said_cost):
                return Difference(row=f"{name}, {currency}", column="billed_cost", expected=said_cost, found=cost)
            return Difference(row=name, column="charge_count", expected=str(said_count), found=str(count))
        return None

    def query(self, name: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """The rows of a named query about this statement."""
        return self._bulk.query(self._queries[name], self._statement.statement_id, *parameters)

    def execute(self, name: str) -> None:
        """Run a named statement on temporary tables."""
        self._bulk.execute(self._queries[name])

    def name(self, row_hash: str, occurrence: int, part: int | None, removed_by: int | None = None) -> str:
        """A row, or a charge if it has a part, as a difference names it; `removed_by` if it is withdrawn."""
        name = f"{self._prefix}, row_hash {row_hash}, occurrence {occurrence}"
        name = name if part is None else f"{name}, part {part}"
        return name if removed_by is None else f"{name}, withdrawn by publication_id {removed_by}"


@contextmanager
def open_snapshot(database: Database, statement: VerifiedStatement) -> Iterator[Snapshot]:
    """A REPEATABLE READ transaction on the bulk loader's connection, rolled back at its end."""
    queries = read_queries("billfold.store.verification", "charges")
    with connect_bulk(database.conninfo) as bulk:
        bulk.execute(queries["begin"])
        bulk.query(queries["prefer_hashing"])
        yield Snapshot(bulk, statement)
        bulk.rollback()


def _day_difference(table: str, key: str, expected: str | None, found: str | None) -> Difference:
    """The first amount that differs between two sums of one key; all amounts of a missing side are null."""
    keys = json.loads(key)
    place = ", ".join(f"{name} {keys[name]}" for name in _DAY_COLUMNS if keys.get(name) is not None)
    wanted, held = _amounts(expected), _amounts(found)
    column = next(name for name in wanted if wanted[name] != held[name])
    return Difference(row=f"{table}: {place}", column=column, expected=_text(wanted[column]), found=_text(held[column]))


def _amounts(text: str | None) -> Mapping[str, Decimal | None]:
    values = json.loads(text or "{}", parse_float=Decimal, parse_int=Decimal)
    return {name: values.get(name) for name in _AMOUNTS}


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else format(amount, "f")


def _format(value: str | None) -> str:
    return "nothing" if value is None else value if len(value) <= 200 else f"{value[:200]}…"


def _money(text: str) -> dict[str, Decimal]:
    return {currency: Decimal(amount) for currency, amount in json.loads(text).items()}
