"""Every Parquet file is read by pyarrow as well: what DuckDB loads is what both of them read, within the limits."""

from __future__ import annotations

import io
import struct
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from billfold.errors import MalformedFileError, SourceLimitError
from billfold.settings import Settings
from billfold.transform.columns import SourceColumn
from billfold.transform.parquet_proof import ParquetColumn, read_with_pyarrow, require_agreement
from billfold.transform.parse import parse
from billfold.transform.session import open_session
from tests.at_length import rounds
from tests.bills.damaged_parquet import try_damaged
from tests.bills.parsed import FOCUS_ROW, unpack_all

ROWS = 6
# 2026-05-03 10:20:30 and a fraction of nine digits.
NANOSECONDS = 1_777_803_630_123_456_789


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_session(tmp_path_factory.mktemp("session"), memory_limit_mb=256, threads=2) as opened:
        yield opened


def as_table(rows: int = ROWS, **columns: pa.Array) -> pa.Table:
    return pa.table({name: pa.array([value] * rows) for name, value in FOCUS_ROW.items()} | columns)


def as_file(table: pa.Table, **options: Any) -> bytes:
    stream = io.BytesIO()
    parquet.write_table(table, stream, **options)
    return stream.getvalue()


def load(
    session: duckdb.DuckDBPyConnection, folder: Path, settings: Settings, content: bytes, *headers: str
) -> list[tuple[str | None, ...]]:
    """The texts of these columns as they are loaded, in the file's order."""
    session.execute("DROP TABLE IF EXISTS source_rows_0")
    files = unpack_all(folder, [content], settings)
    shape = parse(session, files, max_unpacked_bytes=settings.max_unpacked_bytes)[0]
    names = {column.header: column.sql_name for column in shape.columns}
    chosen = ", ".join(names[header] for header in headers) or "NULL"
    return session.execute(f"SELECT {chosen} FROM {shape.table} ORDER BY rowid").fetchall()


def text(content: object, rows: int = ROWS) -> pa.Array:
    return pa.array([content] * rows)


MAPS = pa.array(
    [[("a", "1"), ("b", "2")], None, [], [("c", None)], [("a", "x")], [("é", "")]], pa.map_(pa.string(), pa.string())
)
MONEY = pa.array([0.1, -0.0, 1e-7, None, 1e300, 123456.789])


@pytest.mark.parametrize("codec", ["snappy", "gzip", "zstd", "none", "brotli", "lz4"])
def test_files_of_every_codec_are_read(
    session: duckdb.DuckDBPyConnection, tmp_path: Path, settings: Settings, codec: str
) -> None:
    content = as_file(as_table(ListCost=MONEY), compression=codec, row_group_size=4, write_page_checksum=True)

    costs = load(session, tmp_path, settings, content, "ListCost")

    assert {cost for (cost,) in costs} == {"0.1", "-0.0", "1e-07", None, "1e+300", "123456.789"}


@pytest.mark.parametrize(
    "options",
    [
        {"row_group_size": 700},
        {"data_page_size": 2_000, "dictionary_pagesize_limit": 4_000},
        {"use_dictionary": False, "data_page_version": "2.0"},
        {
            "use_dictionary": False,
            "column_encoding": {"ServiceName": "DELTA_BYTE_ARRAY", "ListCost": "BYTE_STREAM_SPLIT"},
        },
    ],
    ids=["row groups", "full dictionaries", "no dictionaries", "delta encodings"],
)
def test_files_are_read_however_their_pages_are_laid_out(
    session: duckdb.DuckDBPyConnection, tmp_path: Path, settings: Settings, options: dict[str, Any]
) -> None:
    tags = pa.array([[("k", str(place))] if place % 7 else None for place in range(5_000)], MAPS.type)
    ids = pa.array([f"arn:{place * 7919}" for place in range(5_000)])
    costs = pa.array([place * 0.1 for place in range(5_000)])
    content = as_file(as_table(5_000, Tags=tags, ResourceId=ids, ListCost=costs), **options)

    loaded = load(session, tmp_path, settings, content, "ResourceId")

    assert {name for (name,) in loaded} == set(ids.to_pylist())


def test_a_file_without_rows_is_an_empty_bill(
    session: duckdb.DuckDBPyConnection, tmp_path: Path, settings: Settings
) -> None:
    assert load(session, tmp_path, settings, as_file(as_table().slice(0, 0))) == []


def test_columns_that_the_second_reader_cannot_compare_do_not_refuse_a_file(
    session: duckdb.DuckDBPyConnection, tmp_path: Path, settings: Settings
) -> None:
    content = as_file(
        as_table(
            time=pa.array([1] * ROWS, pa.time64("us")),
            half=pa.array([1.5] * ROWS, pa.float16()),
            fixed=pa.array([b"xy"] * ROWS, pa.binary(2)),
            id=pa.array([uuid.UUID(int=7).bytes] * ROWS, pa.uuid()),
            nothing=pa.nulls(ROWS),
            deep=pa.array([[[("a", ["x"])]]] * ROWS, pa.list_(pa.map_(pa.string(), pa.list_(pa.string())))),
            times=pa.array([[("a", 1)]] * ROWS, pa.map_(pa.string(), pa.timestamp("ms"))),
        )
    )

    assert len(load(session, tmp_path, settings, content)) == ROWS


def test_values_of_every_kind_are_the_same_for_both_readers(
    session: duckdb.DuckDBPyConnection, tmp_path: Path, settings: Settings
) -> None:
    columns = {
        "Abc": text("1"),
        "abc": text("2"),
        "a.b": text("3"),
        "a": text({"b": "4"}),
        "bytes": pa.array(["é\n".encode()] * ROWS),
        "large": pa.array(["x"] * ROWS, pa.large_string()),
        "json": pa.array(['{"a": 1}'] * ROWS).cast(pa.json_()),
        "u64": pa.array([2**64 - 1] * ROWS, pa.uint64()),
        "f32": pa.array([1.1] * ROWS, pa.float32()),
        "day": pa.array([20_000] * ROWS, pa.date32()),
        "narrow": pa.array([Decimal("-1.123456789")] * ROWS, pa.decimal128(18, 9)),
        "wide": pa.array([Decimal("1.00000000000000000000000000001")] * ROWS, pa.decimal256(60, 29)),
        "list": text(["x", None]),
        "numbers": pa.array([[("a", 0.1)]] * ROWS, pa.map_(pa.string(), pa.float64())),
        "nan": pa.array([float("nan")] * ROWS),
        "SubAccountId": pa.array([1234] * ROWS),
        "far": pa.array([253_402_214_400_000_000] * ROWS, pa.timestamp("us")),
    }
    content = as_file(as_table(**columns, Tags=MAPS), row_group_size=4)

    loaded = load(session, tmp_path, settings, content, *columns)

    assert set(loaded) == {
        (
            "1", "2", "3", '{"b":"4"}', "é\n", "x", '{"a": 1}', "18446744073709551615", "1.1", "2024-10-04",
            "-1.123456789", "1.00000000000000000000000000001", '["x",null]', '{"a":"0.1"}', None, "000000001234",
            "9999-12-31T00:00:00.000Z",
        )
    }  # fmt: skip


def test_required_columns_and_int96_times_are_read(
    session: duckdb.DuckDBPyConnection, tmp_path: Path, settings: Settings
) -> None:
    table = as_table(ChargePeriodStart=pa.array([NANOSECONDS // 1000] * ROWS, pa.timestamp("us")))
    required = table.cast(pa.schema([field.with_nullable(False) for field in table.schema]))

    loaded = load(
        session, tmp_path, settings, as_file(required, use_deprecated_int96_timestamps=True), "ChargePeriodStart"
    )

    assert set(loaded) == {("2026-05-03T10:20:30.123456Z",)}


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_times_keep_their_microseconds_and_nanoseconds_and_others_their_three_decimals(
    session: duckdb.DuckDBPyConnection, tmp_path: Path, settings: Settings, zone: str | None
) -> None:
    columns = {
        "ms": pa.array([NANOSECONDS // 10**6] * ROWS, pa.timestamp("ms", zone)),
        "us": pa.array([NANOSECONDS // 10**3] * ROWS, pa.timestamp("us", zone)),
        "ns": pa.array([NANOSECONDS] * ROWS, pa.timestamp("ns", zone)),
        "whole": pa.array([NANOSECONDS // 10**9 * 10**6] * ROWS, pa.timestamp("us", zone)),
        "whole_ns": pa.array([NANOSECONDS // 10**9 * 10**9] * ROWS, pa.timestamp("ns", zone)),
        "last": pa.array([-1] * ROWS, pa.timestamp("ns", zone)),
    }

    loaded = load(session, tmp_path, settings, as_file(as_table(**columns)), *columns)

    assert set(loaded) == {
        (
            "2026-05-03T10:20:30.123Z",
            "2026-05-03T10:20:30.123456Z",
            "2026-05-03T10:20:30.123456789Z",
            "2026-05-03T10:20:30.000Z",
            "2026-05-03T10:20:30.000Z",
            "1969-12-31T23:59:59.999999999Z",
        )
    }


def test_a_page_whose_checksum_is_wrong_refuses_the_file(
    session: duckdb.DuckDBPyConnection, tmp_path: Path, settings: Settings
) -> None:
    content = as_file(
        as_table(BilledCost=pa.array([12.5] * ROWS)), use_dictionary=False, compression="none", write_page_checksum=True
    )
    # The page holds the six costs; its header and the footer hold the smallest and the largest of them.
    page = struct.pack("6d", *[12.5] * ROWS)
    assert content.count(page) == 1
    damaged = content.replace(page, struct.pack("6d", 13.5, *[12.5] * (ROWS - 1)))

    with pytest.raises(MalformedFileError, match="file-0: the rows cannot be read") as refused:
        load(session, tmp_path, settings, damaged)

    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("column", "other"),
    [
        ("cost", pa.array([1.0, 2.0, 3.0000000000000004])),
        ("cost", pa.array([1.0, 3.0, 2.0])),
        ("tags", pa.array([[("a", "1")], None, [("a", "2")]], MAPS.type)),
    ],
    ids=["one bit", "swapped rows", "a tag"],
)
def test_readers_that_differ_refuse_the_file_and_name_the_column(
    session: duckdb.DuckDBPyConnection, tmp_path: Path, column: str, other: pa.Array
) -> None:
    table = pa.table(
        {"id": ["x", "y", "z"], "cost": [1.0, 2.0, 3.0], "tags": pa.array([[("a", "1")], None, None], MAPS.type)}
    )
    place = table.schema.get_field_index(column)
    ours, theirs = tmp_path / "ours.parquet", tmp_path / "theirs.parquet"
    parquet.write_table(table, ours)
    parquet.write_table(table.set_column(place, column, other), theirs)
    types = ["VARCHAR", "DOUBLE", "MAP(VARCHAR, VARCHAR)"]
    columns = [
        ParquetColumn(
            column=SourceColumn(position=number, header=name, canonical=name),
            type_name=type_name,
            text=f"c{number}::VARCHAR",
        )
        for number, (name, type_name) in enumerate(zip(table.column_names, types, strict=True))
    ]
    scan = f"read_parquet('{theirs}') AS source (c0, c1, c2)"
    loaded = f"(SELECT c0, c1::VARCHAR AS c1 FROM {scan})"
    proof = read_with_pyarrow(session, ours, columns, key="ours", limit_bytes=None)

    with pytest.raises(MalformedFileError, match="values disagree") as refused:
        require_agreement(session, proof, loaded=loaded, scan=scan)
    with pytest.raises(MalformedFileError, match="row counts disagree: pyarrow read 3 rows, DuckDB 2"):
        require_agreement(session, proof, loaded=f"{loaded} WHERE c0 <> 'x'", scan=scan)

    # Swapped rows leave every sum of a column as it was: all columns of a row are hashed together.
    assert refused.value.column == (None if other.to_pylist() == [1.0, 3.0, 2.0] else column)


def test_text_that_is_larger_than_the_limit_refuses_the_file_before_anything_is_written(
    session: duckdb.DuckDBPyConnection, tmp_path: Path, settings: Settings
) -> None:
    limited = settings.model_copy(update={"max_unpacked_bytes": 5_000_000})
    content = as_file(as_table(10_000, ChargeDescription=text("x" * 1000, 10_000)), compression="zstd")
    nested = as_file(as_table(200, Tags=pa.array([[("a", "x" * 100_000)]] * 200, MAPS.type)), compression="zstd")
    hollow = as_file(as_table(400_000, **{name: pa.nulls(400_000, pa.string()) for name in FOCUS_ROW}))

    for packed in (content, nested, hollow):
        assert len(packed) < 1_000_000
        with pytest.raises(SourceLimitError, match=r"file-0, unpacked, .* 5000000 bytes.*BILLFOLD_MAX_UNPACKED_BYTES"):
            load(session, tmp_path, limited, packed)
    assert not session.execute("FROM duckdb_tables() WHERE table_name = 'source_rows_0'").fetchall()


def test_the_limit_counts_text_and_not_what_it_takes_in_the_file(
    session: duckdb.DuckDBPyConnection, tmp_path: Path, settings: Settings
) -> None:
    content = as_file(as_table(1_000, ChargeDescription=text("x" * 1000, 1_000)))
    text_bytes = 1_000 * (sum(map(len, FOCUS_ROW.values())) - len("one") + 1000 + len(FOCUS_ROW))

    enough = settings.model_copy(update={"max_unpacked_bytes": text_bytes})
    too_little = settings.model_copy(update={"max_unpacked_bytes": text_bytes - 1})

    assert len(load(session, tmp_path, enough, content)) == 1_000
    with pytest.raises(SourceLimitError):
        load(session, tmp_path, too_little, content)


def test_a_value_that_no_csv_could_hold_refuses_the_file(
    session: duckdb.DuckDBPyConnection, tmp_path: Path, settings: Settings
) -> None:
    content = as_file(as_table(ChargeDescription=text("x" * 2_000_001)))

    with pytest.raises(MalformedFileError, match="a value is longer than 2000000 bytes"):
        load(session, tmp_path, settings, content)


def test_footers_beyond_their_limits_are_refused(
    session: duckdb.DuckDBPyConnection, tmp_path: Path, settings: Settings
) -> None:
    wide = as_file(pa.table({f"c{number}": [1] for number in range(10_001)}))
    deep_type: pa.DataType = pa.string()
    for _ in range(100):
        deep_type = pa.struct([("a", deep_type)])
    deep = as_file(as_table(deep=pa.nulls(ROWS, deep_type)), store_schema=False)
    good = as_file(as_table())

    with pytest.raises(MalformedFileError, match="has 10001 columns, more than 10000"):
        load(session, tmp_path, settings, wide)
    with pytest.raises(MalformedFileError, match="the Parquet footer cannot be read"):
        load(session, tmp_path, settings, deep)
    with pytest.raises(MalformedFileError, match="the Parquet footer has 500000000 bytes"):
        load(session, tmp_path, settings, good[:-8] + (500_000_000).to_bytes(4, "little") + b"PAR1")


@pytest.mark.at_length
def test_damaged_files_are_refused_in_one_line_or_read_alike(
    session: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    outcomes = [try_damaged(seed, tmp_path, session) for seed in range(rounds(20, in_soak=40))]

    assert [line for _, broken in outcomes for line in broken] == []
    assert {"accepted", "malformed_file"} <= {outcome for outcome, _ in outcomes}
