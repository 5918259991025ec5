"""The columns of a delivery and their types: declared by Parquet, judged from a CSV's values."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from billfold.aws import LocalBucket, SilentProgress, fetch_delivery, resolve, unpack
from billfold.bills.drift import find_drift
from billfold.model import SourceObject, SpooledFile
from billfold.period import BillingPeriod
from billfold.settings import Settings
from billfold.transform import column_types
from billfold.transform.bill import Bill, open_bill
from billfold.transform.sample_bill import CUR2_COLUMNS, SampleBill, SampleFormat, write_sample_bill
from tests.bills.line_items import as_csv, line_item, write_object


@pytest.fixture
def bill(tmp_path: Path) -> Iterator[Bill]:
    (tmp_path / "session").mkdir()
    with open_bill(tmp_path / "session", memory_limit_mb=512, threads=2) as bill:
        yield bill


class Delivered:
    """Files on the disk, parsed as one delivery."""

    def __init__(self, folder: Path, settings: Settings, bill: Bill) -> None:
        self._folder = folder
        self._settings = settings
        self._bill = bill

    def describe(self, *contents: bytes) -> dict[str, str]:
        self._bill.parse(
            [unpack(self._spool(n, content), self._folder, self._settings) for n, content in enumerate(contents)]
        )
        return self._bill.describe_columns()

    def _spool(self, number: int, content: bytes) -> SpooledFile:
        path = write_object(self._folder, f"{number:05d}", content)
        source = SourceObject(
            bucket="b", key=path.name, etag="e", size_bytes=len(content), modified_at=datetime(2026, 5, 1, tzinfo=UTC)
        )
        return SpooledFile(source=source, path=path, sha256="")


@pytest.fixture
def delivered(tmp_path: Path, settings: Settings, bill: Bill) -> Delivered:
    return Delivered(tmp_path / "files", settings, bill)


def as_parquet(folder: Path, **columns: pa.Array) -> bytes:
    """One line item as Parquet, with these columns beside those that every line item has."""
    needed = {name: pa.array([value]) for name, value in line_item().items()}
    needed["line_item_unblended_cost"] = pa.array([1.25])
    path = folder / "one.parquet"
    parquet.write_table(pa.table(needed | columns), path)
    return path.read_bytes()


JUDGED = [
    (["1", "-0.5", "4.3333E-6", ".5", ""], "number"),
    (["111122223333"], "number"),
    (["123456789012345678901234567.123456789012"], "number"),
    (["2026-05-01T00:00:00Z", "2026-05-01T00:00:00.000Z", "2026-05-01", ""], "time"),
    (["2026-05-01T00:00:00Z/2026-05-01T01:00:00Z"], "text"),
    (["{}", '{"a":"1"}', ""], "map"),
    (['{"a":"1"', "{}"], "text"),
    (["[1]"], "text"),
    (["1", "None"], "text"),
    (["NaN"], "empty"),
    (["1", "nan"], "number"),
    (["Infinity"], "text"),
    (["1", "2026-05-01"], "text"),
    (["{}", "1"], "text"),
    (["2026-13-01"], "text"),
    (["true"], "text"),
    (["é"], "text"),
    (["", ""], "empty"),
]


def test_the_type_of_a_csvs_column_is_judged_from_its_values(delivered: Delivered) -> None:
    # Each case is a column, whose last value stands in all rows that follow.
    rows = [
        {f"column {number}": values[min(row, len(values) - 1)] for number, (values, _) in enumerate(JUDGED)}
        for row in range(max(len(values) for values, _ in JUDGED))
    ]

    described = delivered.describe(as_csv([line_item(**row) for row in rows]))

    for number, (values, kind) in enumerate(JUDGED):
        assert described[f"column {number}"] == kind, values


def test_every_header_is_described_as_aws_wrote_it(delivered: Delivered) -> None:
    item = line_item() | {"resource_tags_user_Env": "prod", "resource_tags_user_env": "{}", "Some Header": ""}

    described = delivered.describe(as_csv([item]))

    assert list(described) == list(item)
    assert described["line_item_unblended_cost"] == "number"
    assert described["line_item_usage_start_date"] == "time"
    assert [described[name] for name in list(item)[-3:]] == ["text", "map", "empty"]


def test_the_types_of_parquet_are_those_that_it_declares(delivered: Delivered, tmp_path: Path) -> None:
    columns: dict[str, Any] = {
        "amount": pa.array([Decimal("0.1")], pa.decimal128(18, 9)),
        "wide": pa.array([Decimal("0.1")], pa.decimal256(48, 18)),
        "wide_nowhere": pa.array([None], pa.decimal256(48, 18)),
        "tags": pa.array([[("a", "1")]], pa.map_(pa.string(), pa.string())),
        "discount": pa.array([[("a", 1.0)]], pa.map_(pa.string(), pa.float64())),
        "at": pa.array([datetime(2026, 5, 1)], pa.timestamp("ms")),
        "day": pa.array([date(2026, 5, 1)]),
        "count": pa.array([1], pa.int64()),
        "nothing": pa.array([None], pa.string()),
    }

    described = delivered.describe(as_parquet(tmp_path, **columns))

    assert described["line_item_unblended_cost"] == "double"
    assert {name: described[name] for name in columns} == {
        "amount": "decimal(18,9)",
        "wide": "decimal(48,18)",
        "wide_nowhere": "decimal(48,18)",
        "tags": "map(varchar, varchar)",
        "discount": "map(varchar, double)",
        "at": "timestamp",
        "day": "date",
        "count": "bigint",
        "nothing": "varchar",
    }


def test_the_types_of_differing_files_are_joined(delivered: Delivered, tmp_path: Path) -> None:
    first = [line_item(cost_center="1", note="", only_here="x")]
    second = [line_item(cost_center="one", note="{}")]

    described = delivered.describe(as_csv(first), as_csv(second), as_parquet(tmp_path, note=pa.array(["x"])))

    assert described["cost_center"] == "number | text"
    assert described["note"] == "map | varchar"
    assert described["only_here"] == "text"
    assert described["line_item_unblended_cost"] == "double | number"


def test_only_the_first_rows_are_judged(delivered: Delivered, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(column_types, "SAMPLE_ROWS", 2)
    items = [line_item(judged=value) for value in ("1", "2", "three")]

    assert delivered.describe(as_csv(items))["judged"] == "number"


def test_a_file_without_rows_has_columns_without_a_value(delivered: Delivered) -> None:
    described = delivered.describe(as_csv([], line_item()))

    assert described == dict.fromkeys(line_item(), "empty")


def test_a_delivery_without_files_has_no_columns(delivered: Delivered) -> None:
    assert delivered.describe() == {}


@pytest.mark.parametrize(
    ("tree", "cost", "start", "tags"),
    [
        ("legacy-cur", "lineItem/UnblendedCost number", "lineItem/UsageStartDate time", ""),
        ("cur2-csv", "line_item_unblended_cost number", "line_item_usage_start_date time", "resource_tags map"),
        ("cur2-parquet", "line_item_unblended_cost double", "line_item_usage_start_date timestamp", ""),
        ("focus12", "BilledCost number", "ChargePeriodStart time", "Tags map"),
        ("focus10", "BilledCost number", "ChargePeriodStart time", "Tags map"),
        ("noid-duplicates", "line_item_unblended_cost number", "line_item_usage_start_date time", ""),
    ],
)
def test_the_columns_of_the_samples_are_described(
    shared_samples: Path, tmp_path: Path, settings: Settings, bill: Bill, tree: str, cost: str, start: str, tags: str
) -> None:
    described = describe(bill, shared_samples / tree, tmp_path / "spool", settings)

    for expected in filter(None, (cost, start, tags)):
        header, kind = expected.split()
        assert described[header] == kind


def test_one_bill_as_csv_and_as_parquet_has_no_drift(tmp_path: Path, settings: Settings) -> None:
    described = []
    for sample_format in SampleFormat:
        folder = tmp_path / sample_format
        bill = SampleBill(
            payer_account_id="111122223333",
            period=BillingPeriod(date(2026, 5, 1)),
            line_item_count=100,
            sample_format=sample_format,
        )
        write_sample_bill(bill, folder / "bucket")
        with open_bill(folder, memory_limit_mb=512, threads=2) as opened:
            described.append(describe(opened, folder / "bucket", folder / "spool", settings))
    as_text, as_declared = described

    assert find_drift(as_text, as_declared) == ()
    assert find_drift(as_declared, as_text) == ()
    assert {"number", "time", "map", "text", "empty"} == set(as_text.values())
    assert len(as_text) == len(as_declared) == len(CUR2_COLUMNS)


def describe(bill: Bill, root: Path, spool: Path, settings: Settings) -> dict[str, str]:
    """The columns of the only delivery below a folder."""
    bucket = LocalBucket(root, settings)
    [delivery] = resolve(bucket, "")
    spooled = fetch_delivery(bucket, delivery, spool, settings, SilentProgress())
    bill.parse([unpack(file, spool, settings) for file in spooled])
    return bill.describe_columns()
