"""Parquet files with seeded damage, and the promise about them: refused in one line, or read alike by both readers."""

from __future__ import annotations

import io
import random
import struct
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as parquet

from billfold.errors import BillfoldError
from billfold.model import SourceObject, UnpackedFile
from billfold.transform.parse import parse
from billfold.transform.shape import Shape
from tests.bills.parsed import FOCUS_ROW

_ROWS = 40
_MAX_TEXT_BYTES = 10_000_000
_CODECS = ("snappy", "none", "gzip", "zstd")


def try_damaged(seed: int, folder: Path, session: duckdb.DuckDBPyConnection) -> tuple[str, list[str]]:
    """One damaged file, parsed: `accepted` or the code of its refusal, and a line for each broken promise."""
    chosen = random.Random(seed)
    path = folder / "damaged.parquet"
    path.write_bytes(_damage(_sample(chosen.randrange(8)), chosen))
    source = SourceObject(
        bucket="b",
        key="damaged",
        etag="e",
        size_bytes=path.stat().st_size,
        modified_at=datetime(2026, 5, 5, tzinfo=UTC),
    )
    file = UnpackedFile(source=source, path=path, kind="parquet", packed_sha256="", size_bytes=source.size_bytes)
    session.execute("DROP TABLE IF EXISTS source_rows_0")
    try:
        shape = parse(session, [file], max_unpacked_bytes=_MAX_TEXT_BYTES)[0]
    except BillfoldError as error:
        lines = str(error).splitlines()
        return error.error_code, [f"seed {seed}: refused in {len(lines)} lines"] if len(lines) != 1 else []
    except Exception as error:
        return "internal", [f"seed {seed}: {type(error).__name__} {error}"]
    loaded = session.execute(f"SELECT * EXCLUDE (file_number) FROM {shape.table}").fetchall()
    return "accepted", [f"seed {seed}: {each}" for each in _differences(path, shape, loaded)]


def _differences(path: Path, shape: Shape, loaded: list[tuple[str | None, ...]]) -> list[str]:
    """How pyarrow's plain reading of the whole file differs from the loaded rows, compared value by value."""
    table = parquet.read_table(path, page_checksum_verification=True)
    broken = [] if table.num_rows == len(loaded) else [f"{table.num_rows} rows and {len(loaded)}"]
    for place, column in enumerate(shape.columns):
        values = table.column(place)
        if pa.types.is_float64(values.type):
            # NaN is a missing number, or is refused by the checks that follow.
            ours = sorted(
                struct.pack("d", value) for value in values.to_pylist() if value is not None and value == value
            )
            numbers = [float(text) for row in loaded if (text := row[place]) is not None]
            theirs = sorted(struct.pack("d", number) for number in numbers if number == number)
        elif pa.types.is_decimal(values.type) or pa.types.is_string(values.type):
            ours = sorted(
                format(value, "f" if pa.types.is_decimal(values.type) else "").encode()
                for value in values.to_pylist()
                if value not in (None, "")
            )
            theirs = sorted((row[place] or "").encode() for row in loaded if row[place] is not None)
        else:
            continue
        if ours != theirs:
            broken.append(f"column {column.header} differs")
    return broken


@cache
def _sample(number: int) -> bytes:
    """A small FOCUS file: each number has a codec, a size of row groups and a version of data pages of its own."""
    columns = {name: pa.array([value] * _ROWS) for name, value in FOCUS_ROW.items()} | {
        "BilledCost": pa.array([place * 0.37 for place in range(_ROWS)]),
        "ListCost": pa.array([(place % 3) * 1.25 for place in range(_ROWS)]),
        "EffectiveCost": pa.array([None if place % 7 == 0 else place for place in range(_ROWS)], pa.decimal128(18, 6)),
        "Tags": pa.array([[("a", str(place))] for place in range(_ROWS)], pa.map_(pa.string(), pa.string())),
        "ResourceId": pa.array([f"i-{place:06d}" for place in range(_ROWS)]),
        "ChargePeriodStart": pa.array([1_777_766_400_000] * _ROWS, pa.timestamp("ms")),
    }
    stream = io.BytesIO()
    parquet.write_table(
        pa.table(columns),
        stream,
        compression=_CODECS[number % 4],
        row_group_size=(15, 100)[number % 2],
        data_page_version=("1.0", "2.0")[number // 4],
        # Without the schema of Arrow, damage reaches the rows more often.
        store_schema=False,
    )
    return stream.getvalue()


def _damage(content: bytes, chosen: random.Random) -> bytes:
    damaged = bytearray(content)
    footer_starts_at = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    start, end = (4, footer_starts_at) if chosen.random() < 0.75 else (footer_starts_at, len(content) - 4)
    kind = chosen.choice(("bits", "bits", "bits", "byte", "cut", "doubled"))
    place = chosen.randrange(start, end)
    length = chosen.randrange(1, 40)
    if kind == "bits":
        for _ in range(chosen.choice((1, 1, 2, 8))):
            damaged[chosen.randrange(start, end)] ^= 1 << chosen.randrange(8)
    elif kind == "byte":
        damaged[place] = chosen.choice((0, 127, 128, 255, chosen.randrange(256)))
    elif kind == "cut":
        del damaged[place : min(end, place + length)]
    else:
        damaged[place:place] = damaged[place : min(end, place + length)]
    return bytes(damaged)
