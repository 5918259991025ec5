"""Source: the current delivery's files, fetched again, against the raw rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from billfold.aws import Bucket, SilentProgress, fetch_delivery, open_bucket, unpack
from billfold.errors import InputError, SourceError
from billfold.model import CostBasis, Delivery, SourceObject, SpooledFile, Totals, UnpackedFile
from billfold.settings import Settings
from billfold.store.database import connect_bulk
from billfold.store.deliveries.ledger import sum_ledger
from billfold.store.verification.charges import HeldStatement, VerifiedStatement
from billfold.transform import open_bill
from billfold.transform.identify import HASH_VERSION
from billfold.transform.mapping import MAPPING_VERSION
from billfold.verification.verdict import Proofs, Subject, compare_number, compare_totals, format_totals


def prove_source(proofs: Proofs, subject: Subject) -> None:
    """The current delivery's files, fetched again, hold exactly the current raw rows and money."""
    statement, held, recorded, settings = subject.statement, subject.held, subject.recorded, subject.settings
    if held.delivery_id is None:
        proofs.skip("source_rows", "no delivery is current")
        return
    if held.hash_version != HASH_VERSION or not subject.pairs.exists():
        proofs.skip("source_rows", "the raw rows' identity is unknown")
        return
    is_default = held.client.client_id == settings.client and not held.client.is_registered
    client = settings.default_client() if is_default else held.client
    folder = subject.folder / "source"
    try:
        bucket = open_bucket(client, settings, held.bucket)
        delivery = _pin(bucket, statement, held)
        spooled = fetch_delivery(bucket, delivery, folder, settings, SilentProgress())
    except SourceError as error:
        proofs.skip("source_rows", f"can no longer be read: {error}")
        return
    with open_bill(folder, memory_limit_mb=settings.memory_limit_mb, threads=settings.threads) as bill:
        try:
            files = list(_unpack_all(spooled, folder, settings))
            bill.parse(files, max_unpacked_bytes=settings.max_unpacked_bytes)
        except InputError as error:
            proofs.add("source_rows", [str(error)], "")
            return
        bill.identify()
        with pa.memory_map(str(subject.pairs)) as stored, pa.ipc.open_stream(stored) as rows:
            comparison = bill.compare(rows)
        differences = []
        if found := bill.find_unmatched():
            row_hash, occurrence, file_number = found
            place = f"statement {statement.statement_id}, row_hash {row_hash}, occurrence {occurrence}"
            side = "raw row" if file_number is not None else "row in the files"
            of_file = f" of {delivery.files[file_number].key}" if file_number is not None else ""
            differences.append(
                f"{place}{of_file}: no such {side}"
                f" ({comparison.rows_added} only in the files, {comparison.rows_removed} only landed)"
            )
        for number, (key, _, rows_read) in enumerate(held.files):
            found_rows = comparison.rows_read_by_file.get(number, 0)
            differences.extend(compare_number(key, "rows_read", found_rows, rows_read))
        proofs.add("source_rows", differences, f"{comparison.rows_unchanged} rows of {len(delivery.files)} files")
        basis = held.cost_basis or CostBasis.GROSS
        bill.prepare_mapping(basis=basis, currency=held.currency, remap=False, with_charges=False)
        with connect_bulk(subject.database.conninfo) as bulk:
            source = sum_ledger(bulk, bill.read_ledger()).totals
        is_mapped_today = held.mapping_version == MAPPING_VERSION
        found_totals = Totals(
            row_count=source.row_count,
            charge_count=recorded.after.charge_count,
            gross=source.gross,
            net=source.net,
            billed=source.billed if is_mapped_today else recorded.after.billed,
        )
        proofs.add("source_totals", compare_totals(recorded.after, found_totals), format_totals(recorded.after))


def _pin(bucket: Bucket, statement: VerifiedStatement, held: HeldStatement) -> Delivery:
    """The current delivery's files as they are in the bucket; raises SourceError if one is another version."""
    files: list[SourceObject] = []
    for key, etag, _ in held.files:
        current = bucket.head(key)
        if current.etag != etag:
            raise SourceError(f"{key} is another version now")
        files.append(current)
    return Delivery(
        bucket=bucket.name,
        export_path=statement.export_name,
        export_name=statement.export_name,
        period=statement.billing_period,
        files=tuple(files),
        delivered_at=datetime.now(UTC),
    )


def _unpack_all(spooled: Sequence[SpooledFile], folder: Path, settings: Settings) -> Iterator[UnpackedFile]:
    for file in spooled:
        unpacked = unpack(file, folder, settings)
        if unpacked.path != file.path:
            file.path.unlink()
        yield unpacked
