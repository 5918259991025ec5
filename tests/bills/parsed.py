"""Files parsed without a database: what a parser refuses is tested at the parser."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as parquet

from billfold.aws import unpack
from billfold.model import SourceObject, SpooledFile, UnpackedFile
from billfold.settings import Settings
from billfold.transform import Bill, open_bill

FOCUS_ROW = {
    "BilledCost": "1.5",
    "EffectiveCost": "1.5",
    "ListCost": "1.5",
    "ContractedCost": "1.5",
    "BillingCurrency": "USD",
    "BillingAccountId": "111122223333",
    "SubAccountId": "444455556666",
    "BillingPeriodStart": "2026-05-01T00:00:00Z",
    "BillingPeriodEnd": "2026-06-01T00:00:00Z",
    "ChargePeriodStart": "2026-05-03T00:00:00Z",
    "ChargePeriodEnd": "2026-05-04T00:00:00Z",
    "ChargeCategory": "Usage",
    "ChargeDescription": "one",
    "ServiceCategory": "Compute",
    "ServiceName": "Amazon Elastic Compute Cloud",
}


class Parse(Protocol):
    """The bill of these files, named file-0, file-1, …, until the next call; raises what parsing raises."""

    def __call__(self, *contents: bytes) -> Bill: ...


def unpack_all(folder: Path, contents: Iterable[bytes], settings: Settings) -> list[UnpackedFile]:
    """These contents as unpacked files in the folder, named file-0, file-1, …"""
    files = []
    for number, content in enumerate(contents):
        path = folder / f"{number:05d}"
        path.write_bytes(content)
        source = SourceObject(
            bucket="b",
            key=f"file-{number}",
            etag="e",
            size_bytes=len(content),
            modified_at=datetime(2026, 5, 5, tzinfo=UTC),
        )
        files.append(unpack(SpooledFile(source=source, path=path, sha256=""), folder, settings))
    return files


@contextmanager
def parsed(settings: Settings, *contents: bytes) -> Iterator[Bill]:
    """The bill of these files, named file-0, file-1, …; raises what parsing raises."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        files = unpack_all(folder, contents, settings)
        with open_bill(folder, memory_limit_mb=256, threads=2) as bill:
            bill.parse(files, max_unpacked_bytes=settings.max_unpacked_bytes)
            yield bill


def as_parquet(row: Mapping[str, Any], *, rows: int = 1, **columns: pa.Array) -> bytes:
    """Equal rows of texts as Parquet; `columns` replace or add to the columns of the same names."""
    found: dict[str, pa.Array] = {name: pa.array([value] * rows) for name, value in row.items()}
    stream = io.BytesIO()
    parquet.write_table(pa.table({**found, **columns}), stream)
    return stream.getvalue()
