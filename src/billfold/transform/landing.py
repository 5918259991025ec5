"""Land: the added line items and their charges as Arrow streams, with the columns of their tables in PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

import duckdb
import pyarrow as pa

from billfold.model import SourceObject
from billfold.transform.members import Filled, join_keys
from billfold.transform.session import json_key, quote
from billfold.transform.shape import Shape

# Rows in one Arrow batch: with 2 KB of JSON a row this keeps a batch near 20 MB.
RAW_BATCH_ROWS = 10_000
CHARGE_BATCH_ROWS = 50_000

# Columns of `charge` that are sent as they are: money and quantities as text, which PostgreSQL makes NUMERIC.
_CHARGE_COLUMNS = (
    "row_hash occurrence part charge_period_start charge_period_end billing_currency billed_cost billed_cost_more"
    " effective_cost effective_cost_less effective_cost_more effective_net effective_gross is_return list_cost"
    " list_cost_more list_unit_price contracted_cost contracted_cost_more contracted_unit_price"
    " contracted_rate has_unit_price pricing_quantity pricing_quantity_less consumed_quantity"
    " commitment_discount_quantity commitment_discount_rate"
    " invoice_id pricing_currency pricing_currency_effective_cost pricing_currency_list_unit_price"
    " pricing_currency_contracted_unit_price capacity_reservation_id capacity_reservation_status discounts"
).split()

# The same for workloads, which go to billing_split_cost.
_WORKLOAD_COLUMNS = (
    "row_hash occurrence part charge_period_start charge_period_end billing_currency parent_resource_id split_cost"
    " unused_cost public_on_demand_split_cost public_on_demand_unused_cost split_usage actual_usage reserved_usage"
    " split_usage_ratio"
).split()


@dataclass(frozen=True, slots=True, kw_only=True)
class LandingFile:
    """The file that raw rows come from, for their source columns."""

    file_number: int
    ingestion_run_id: UUID
    source: SourceObject


def read_raw_rows(
    session: duckdb.DuckDBPyConnection,
    shapes: Sequence[Shape],
    files: Sequence[LandingFile],
    *,
    statement_id: int,
    billing_period: date,
    publication_id: int,
    in_order: bool,
) -> pa.RecordBatchReader:
    """The added line items as rows of raw_aws_billing_rows; `in_order` of their row_hash, like their index."""
    selects = " UNION ALL ".join(_select_raw(shape, files) for shape in shapes)
    order = " ORDER BY row_hash" if in_order else ""
    rows = session.sql(
        f"SELECT {statement_id}::INTEGER AS statement_id, DATE '{billing_period}' AS billing_period,"
        f" {publication_id}::BIGINT AS added_by, * FROM ({selects}){order}"
    ).to_arrow_reader(RAW_BATCH_ROWS)
    return _typed_json(rows, "row_data")


def read_charges(
    session: duckdb.DuckDBPyConnection, filled: Filled, *, statement_id: int, billing_period: date, publication_id: int
) -> pa.RecordBatchReader:
    """The charges with their dimension keys as rows of the staging table."""
    key_columns, joins = join_keys(filled)
    # DuckDB's booleans are bytes in Arrow, which the loader cannot take.
    columns = ", ".join(
        f"charge.{name}::SMALLINT AS {name}" if name in ("has_unit_price", "is_return") else f"charge.{name}"
        for name in _CHARGE_COLUMNS
    )
    return session.sql(
        f"SELECT {statement_id}::INTEGER AS statement_id, DATE '{billing_period}' AS billing_period,"
        f" {publication_id}::BIGINT AS added_by, {columns}, {key_columns} FROM charge {joins}"
        " WHERE charge.is_workload IS NOT TRUE"
    ).to_arrow_reader(CHARGE_BATCH_ROWS)


def has_workloads(session: duckdb.DuckDBPyConnection) -> bool:
    """Whether any of the mapped line items is a workload of split cost allocation."""
    return bool(session.execute("SELECT 1 FROM charge WHERE is_workload LIMIT 1").fetchall())


def read_workloads(
    session: duckdb.DuckDBPyConnection, filled: Filled, *, statement_id: int, billing_period: date, publication_id: int
) -> pa.RecordBatchReader:
    """The workloads of split cost allocation with their dimension keys as rows of their staging table."""
    key_columns, joins = join_keys(filled)
    columns = ", ".join(f"charge.{name}" for name in _WORKLOAD_COLUMNS)
    return session.sql(
        f"SELECT {statement_id}::INTEGER AS statement_id, DATE '{billing_period}' AS billing_period,"
        f" {publication_id}::BIGINT AS added_by, {columns}, {key_columns} FROM charge {joins}"
        " WHERE charge.is_workload"
    ).to_arrow_reader(CHARGE_BATCH_ROWS)


def _typed_json(rows: pa.RecordBatchReader, name: str) -> pa.RecordBatchReader:
    """The stream with one text column typed as JSON, without a copy: PostgreSQL parses it when it is loaded."""
    position = rows.schema.get_field_index(name)
    json_type = pa.json_(pa.string())
    schema = rows.schema.set(position, pa.field(name, json_type))

    def typed() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            columns = batch.columns
            columns[position] = pa.ExtensionArray.from_storage(json_type, columns[position])
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, typed())


def _select_raw(shape: Shape, files: Sequence[LandingFile]) -> str:
    """Each row as JSON under its source headers, empty columns left out."""
    members = ", ".join(
        f"{quote(',' + json_key(column.header) + ':')} || to_json(source.{column.sql_name})" for column in shape.columns
    )
    numbers = {file.file_number for file in shape.files}
    values = ", ".join(
        f"({file.file_number}::SMALLINT, '{file.ingestion_run_id}'::UUID, {quote(file.source.bucket)},"
        f" {quote(file.source.key)}, {quote(file.source.etag)})"
        for file in files
        if file.file_number in numbers
    )
    return (
        "SELECT file.ingestion_run_id, file.source_bucket, file.source_s3_key, file.source_etag, added.row_hash,"
        f" added.occurrence, '{{' || substr(concat({members}), 2) || '}}' AS row_data"
        f" FROM {shape.table} AS source"
        f" JOIN added_row AS added ON added.row = source.rowid AND added.shape = {shape.number}"
        f" JOIN (VALUES {values}) AS file (file_number, ingestion_run_id, source_bucket, source_s3_key, source_etag)"
        " ON file.file_number = source.file_number"
    )
