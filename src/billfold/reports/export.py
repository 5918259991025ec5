"""Export: charges as a file of FOCUS 1.2 columns for other tools, exact and as of one moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import MAX_PREC, Context, Decimal
from pathlib import Path
from typing import BinaryIO

import pyarrow.parquet as parquet

from billfold.errors import ReconciliationError, UsageError
from billfold.period import BillingPeriod
from billfold.reports.whole_file import write_whole
from billfold.selection import FileFormat
from billfold.store.database import Database
from billfold.store.reports.export import ChargesSnapshot, ExportedStatement, open_charges

_EXACT = Context(prec=MAX_PREC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written: charges of these statements and months, and their exact billed cost by currency."""

    file_format: FileFormat
    statement_ids: tuple[int, ...]
    months: tuple[str, ...]
    charge_count: int
    billed_cost: dict[str, Decimal]


def export_charges(
    database: Database,
    target: Path | BinaryIO,
    *,
    file_format: FileFormat,
    first: BillingPeriod | None,
    last: BillingPeriod | None,
    client: str | None = None,
    statement: int | None = None,
    overwrite: bool = False,
) -> ExportReport:
    """Write the charges of the counted statements of some months under the columns of `focus_cost_and_usage`.

    Maps are JSON text. CSV: null is an empty field, instants are ISO 8601 in UTC. Parquet: instants are UTC, numbers
    DECIMAL(38, scale) with the scale that the values need, or text if 38 digits are too few. A file gets
    its name only when it is complete. Raises UsageError where nothing is counted or the target cannot be written,
    and ReconciliationError if the charges are not those of the publications.
    """
    with open_charges(database) as snapshot:
        statements = _choose(snapshot, client=client, statement=statement, first=first, last=last)
        if isinstance(target, Path):
            with write_whole(target, overwrite=overwrite) as stream:
                _write(snapshot, statements, stream, file_format)
        else:
            _write_through(snapshot, statements, target, file_format)
    return ExportReport(
        file_format=file_format,
        statement_ids=tuple(chosen.statement_id for chosen in statements),
        months=tuple(dict.fromkeys(chosen.billing_period for chosen in statements)),
        charge_count=_count(statements),
        billed_cost=_sum_billed(statements),
    )


def _choose(
    snapshot: ChargesSnapshot,
    *,
    client: str | None,
    statement: int | None,
    first: BillingPeriod | None,
    last: BillingPeriod | None,
) -> list[ExportedStatement]:
    if first and last and first > last:
        raise UsageError(f"no month is from {first} to {last}")
    found = snapshot.list_statements(
        client=client,
        statement=statement,
        first=first.starts_on if first else None,
        last=last.starts_on if last else None,
    )
    counted = [candidate for candidate in found if candidate.counted]
    if not counted:
        raise UsageError(
            "no statement that fits is counted" if found else "no statement fits",
            advice="`billfold statements` lists them",
        )
    return counted


def _write_through(
    snapshot: ChargesSnapshot, statements: Sequence[ExportedStatement], target: BinaryIO, file_format: FileFormat
) -> None:
    try:
        _write(snapshot, statements, target, file_format)
        target.flush()
    except BrokenPipeError:
        # The reader closed the pipe.
        raise
    except OSError as error:
        raise UsageError(f"standard output cannot be written: {error.strerror or error}") from error


def _write(
    snapshot: ChargesSnapshot, statements: Sequence[ExportedStatement], target: BinaryIO, file_format: FileFormat
) -> None:
    statement_ids = [statement.statement_id for statement in statements]
    if file_format is FileFormat.CSV:
        written = snapshot.copy_csv(statement_ids, target)
    else:
        written = _write_parquet(snapshot, statement_ids, target)
    if written != _count(statements):
        raise ReconciliationError(
            f"the view has {written} charges, the publications {_count(statements)}",
            advice="run: billfold verify",
        )


def _write_parquet(snapshot: ChargesSnapshot, statement_ids: Sequence[int], target: BinaryIO) -> int:
    schema = snapshot.describe(statement_ids)
    written = 0
    with (
        parquet.ParquetWriter(target, schema, compression="snappy") as writer,
        snapshot.stream(statement_ids, schema) as batches,
    ):
        for batch in batches:
            writer.write_batch(batch)
            written += batch.num_rows
    return written


def _count(statements: Sequence[ExportedStatement]) -> int:
    return sum(statement.charge_count for statement in statements)


def _sum_billed(statements: Sequence[ExportedStatement]) -> dict[str, Decimal]:
    sums: dict[str, Decimal] = {}
    for statement in statements:
        for currency, cost in statement.billed_cost.items():
            sums[currency] = _EXACT.add(sums.get(currency, Decimal(0)), Decimal(cost))
    return dict(sorted(sums.items()))
