"""Exported files: FOCUS columns, exact, whole or not there, and the same bill when they are ingested again."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from billfold.errors import ReconciliationError, StoreError, UsageError
from billfold.model import Client
from billfold.period import BillingPeriod
from billfold.reports.export import ExportReport, export_charges
from billfold.selection import FileFormat
from billfold.store.database import connect
from billfold.transform.sample_bill import SampleBill, write_sample_bill
from tests.bills.landing import Landing
from tests.bills.line_items import PAYER, PLAN, line_item, write_bill
from tests.bills.parsed import FOCUS_ROW
from tests.services import CopyDatabase

MAY, JUNE, JULY = (BillingPeriod(date(2026, month, 1)) for month in (5, 6, 7))
SAMPLES = [
    ("focus10", "2024-09", FileFormat.PARQUET),
    ("focus12", "2026-05", FileFormat.CSV),
]
TOTALS = """
    SELECT count(*), sum(billed_cost), sum(effective_cost), sum(list_cost), sum(contracted_cost)
    FROM billing_usage_fact JOIN billing_statements USING (statement_id) WHERE client_id = %s"""


def export(
    landing: Landing,
    target: Path,
    file_format: FileFormat = FileFormat.CSV,
    *,
    first: BillingPeriod | None = MAY,
    last: BillingPeriod | None = MAY,
    statement: int | None = None,
    client: str | None = None,
    overwrite: bool = False,
) -> ExportReport:
    return export_charges(
        landing.database,
        target,
        file_format=file_format,
        first=first,
        last=last,
        client=client,
        statement=statement,
        overwrite=overwrite,
    )


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream, strict=True))


def in_june(cost: str, **columns: str) -> dict[str, str]:
    return line_item(
        cost=cost,
        bill_billing_period_start_date="2026-06-01T00:00:00Z",
        line_item_usage_start_date="2026-06-03T04:00:00Z",
        line_item_usage_end_date="2026-06-03T05:00:00Z",
        **columns,
    )


@pytest.fixture(scope="module")
def landed_may(shared_landing: Landing) -> Landing:
    """Three charges of May: one tagged, one identical to another, one with a hostile description. It stays so."""
    hostile = 'a "quoted", \\ and\r\nbroken line'
    write_bill(
        shared_landing.root,
        [
            line_item(cost="1.50", resource_tags='{"user_env": "a\\"b"}', line_item_line_item_description="1"),
            line_item(cost="0.000000000000000000001", line_item_line_item_description="2"),
            line_item(cost="0.000000000000000000001", line_item_line_item_description="2"),
            line_item(cost="3E+2", line_item_line_item_description=hostile),
        ],
    )
    shared_landing.ingest()
    return shared_landing


@pytest.fixture
def may(landed_may: Landing, copy_database: CopyDatabase, tmp_path: Path) -> Landing:
    """The same for a test that changes it."""
    return replace(landed_may, database=copy_database(landed_may.database), root=tmp_path / "bucket")


def assert_comes_back(landing: Landing, folder: Path, period: BillingPeriod, *file_formats: FileFormat) -> None:
    """As each format, ingested as another client's file, the bill has the same charges under all FOCUS columns."""
    for file_format in file_formats:
        file, copy = folder / f"bill.{file_format}", f"copy-{file_format}"
        report = export(landing, file, file_format, first=period, last=period, client="acme")
        outcome = replace(landing, client=Client(client_id=copy)).ingest(file)

        assert outcome.exit_error is None
        assert landing.query(TOTALS, copy) == landing.query(TOTALS, "acme")
        assert report.charge_count == outcome.rows_read == landing.query(TOTALS, "acme")[0][0]
        assert report.billed_cost == outcome.billed_cost
        one, other = (
            "SELECT to_jsonb(focus) - ARRAY['x_ClientId', 'x_StatementId'] FROM focus_cost_and_usage AS focus"
            f" WHERE \"x_ClientId\" = '{client}'"
            for client in ("acme", copy)
        )
        assert landing.query(f"({one} EXCEPT ALL {other}) UNION ALL ({other} EXCEPT ALL {one})") == []


@pytest.mark.parametrize(("sample", "month", "file_format"), SAMPLES)
def test_an_exported_bill_that_is_ingested_again_is_the_same_bill(
    landing: Landing, shared_samples: Path, tmp_path: Path, sample: str, month: str, file_format: FileFormat
) -> None:
    landing.ingest(shared_samples / sample)

    assert_comes_back(landing, tmp_path, BillingPeriod(date.fromisoformat(f"{month}-01")), file_format)


def test_a_bill_of_every_line_item_type_comes_back_from_its_export(landing: Landing, tmp_path: Path) -> None:
    bill = SampleBill(payer_account_id=PAYER, period=MAY, line_item_count=150, seed=4)
    landing.ingest(write_sample_bill(bill, landing.root))

    assert_comes_back(landing, tmp_path, MAY, *FileFormat)


@pytest.mark.parametrize("file_format", FileFormat)
def test_the_columns_are_the_views_with_added_ones_last(
    landed_may: Landing, tmp_path: Path, file_format: FileFormat
) -> None:
    file = tmp_path / f"may.{file_format}"

    export(landed_may, file, file_format)

    names = list(read_csv(file)[0]) if file_format is FileFormat.CSV else parquet.read_schema(file).names
    of_view = [
        name
        for (name,) in landed_may.query(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'focus_cost_and_usage'::regclass AND attnum > 0"
            " AND NOT attisdropped ORDER BY attnum"
        )
    ]
    assert names == sorted(of_view, key=lambda name: name.startswith("x_"))


def test_csv_is_exact_plain_and_tells_nothing_from_empty(landed_may: Landing, tmp_path: Path) -> None:
    report = export(landed_may, tmp_path / "may.csv")

    rows = {row["ChargeDescription"]: row for row in read_csv(tmp_path / "may.csv")}
    assert report.charge_count == 4
    assert report.billed_cost == {"USD": Decimal("301.500000000000000000002")}
    assert rows["1"]["BilledCost"] == "1.5"
    assert rows["2"]["BilledCost"] == "0.000000000000000000001"
    assert rows['a "quoted", \\ and\r\nbroken line']["BilledCost"] == "300"
    assert rows["1"]["ChargePeriodStart"] == "2026-05-03T04:00:00Z"
    assert rows["1"]["BillingPeriodEnd"] == "2026-06-01T00:00:00Z"
    assert json.loads(rows["1"]["Tags"]) == {"env": 'a"b'}
    assert rows["1"]["CommitmentDiscountId"] == ""
    assert '""' not in next(line for line in (tmp_path / "may.csv").read_text().splitlines()[1:] if ",2," in line)


def test_a_fraction_of_a_second_is_kept(may: Landing, tmp_path: Path) -> None:
    may.execute("UPDATE billing_usage_fact SET charge_period_end = '2026-05-03 04:59:59.250+00'")

    export(may, tmp_path / "may.csv")

    assert {row["ChargePeriodEnd"] for row in read_csv(tmp_path / "may.csv")} == {"2026-05-03T04:59:59.25Z"}


def test_parquet_has_decimals_of_the_needed_scale_and_instants_in_utc(landed_may: Landing, tmp_path: Path) -> None:
    export(landed_may, tmp_path / "may.parquet", FileFormat.PARQUET)

    table = parquet.read_table(tmp_path / "may.parquet")
    assert table.schema.field("BilledCost").type == pa.decimal128(38, 21)
    assert table.schema.field("ChargePeriodStart").type == pa.timestamp("us", "UTC")
    assert table.schema.field("Tags").type == pa.string()
    assert sum(table["BilledCost"].to_pylist()) == Decimal("301.500000000000000000002")
    assert set(table["ChargePeriodStart"].to_pylist()) == {datetime(2026, 5, 3, 4, tzinfo=UTC)}
    assert sorted(table["CommitmentDiscountId"].to_pylist(), key=str) == [None] * 4


# By column: what two charges cost, and the type that holds both.
DIGITS = {
    "BilledCost": ("0." + "0" * 37 + "1", "0", pa.decimal128(38, 38)),
    "EffectiveCost": ("1" + "0" * 37, "0", pa.decimal128(38, 0)),
    "ListCost": ("1" + "0" * 38, "0", pa.string()),
    # Neither alone, but both together need more than 38 digits.
    "ContractedCost": ("1" + "0" * 19, "0." + "0" * 18 + "1", pa.string()),
}


def test_a_column_is_text_where_38_digits_do_not_hold_it(landing: Landing, tmp_path: Path) -> None:
    rows = [{**FOCUS_ROW, **{name: values[which] for name, values in DIGITS.items()}} for which in (0, 1)]
    write_bill(landing.root, rows)
    landing.ingest()

    export(landing, tmp_path / "may.parquet", FileFormat.PARQUET)

    table = parquet.read_table(tmp_path / "may.parquet")
    for name, (*costs, kind) in DIGITS.items():
        assert table[name].type == kind, name
        assert sorted(Decimal(value) for value in table[name].to_pylist()) == sorted(map(Decimal, costs)), name


def test_months_clients_and_statements_choose_what_is_exported(may: Landing, tmp_path: Path) -> None:
    plan = {"savings_plan_savings_plan_a_r_n": PLAN, "savings_plan_savings_plan_effective_cost": "0.25"}
    covered = in_june("0.4", line_item_line_item_type="SavingsPlanCoveredUsage", **plan)
    negation = in_june("-0.4", line_item_line_item_type="SavingsPlanNegation", **plan)
    write_bill(may.root, [in_june("7"), covered, negation], period="2026-06")
    replace(may, client=Client(client_id="other")).ingest(
        write_bill(may.root / "other", [line_item(cost="50")], export_path="exports/other")
    )
    may.ingest_all()
    file = tmp_path / "out.csv"

    def costs(**wanted: object) -> list[str]:
        report = export(may, file, overwrite=True, **wanted)  # type: ignore[arg-type]
        rows = read_csv(file)
        assert report.charge_count == len(rows)
        return sorted(row["BilledCost"] for row in rows if len(row["BilledCost"]) < 10)

    assert costs() == ["1.5", "300", "50"]
    assert costs(client="acme") == ["1.5", "300"]
    assert costs(last=JUNE) == ["0", "1.5", "300", "50", "7"]
    assert costs(first=JUNE, last=JULY) == ["0", "7"]
    [row] = [row for row in read_csv(file) if row["BilledCost"] == "0"]
    assert (row["EffectiveCost"], row["CommitmentDiscountStatus"]) == ("0.25", "Used")
    statement = may.value("SELECT statement_id FROM billing_statements WHERE client_id = 'other'")
    assert costs(first=None, last=None, statement=statement) == ["50"]


def test_what_is_not_counted_is_not_exported(may: Landing, tmp_path: Path) -> None:
    may.execute("UPDATE billing_statements SET counted = false")

    with pytest.raises(UsageError, match="no statement that fits is counted"):
        export(may, tmp_path / "may.csv")
    with pytest.raises(UsageError, match="no statement fits"):
        export(may, tmp_path / "may.csv", first=JULY, last=JULY)

    assert list(tmp_path.glob("*.csv")) == []


def test_an_empty_bill_is_a_header(landing: Landing, tmp_path: Path) -> None:
    write_bill(landing.root, [], headers=line_item())
    landing.ingest()

    for file_format in FileFormat:
        assert export(landing, tmp_path / f"may.{file_format}", file_format).charge_count == 0

    assert len((tmp_path / "may.csv").read_text().splitlines()) == 1
    assert parquet.read_table(tmp_path / "may.parquet").num_rows == 0


def test_a_file_that_is_there_is_replaced_only_when_it_is_asked_for(landed_may: Landing, tmp_path: Path) -> None:
    file = tmp_path / "may.csv"
    file.write_text("mine")

    with pytest.raises(UsageError, match="already exists"):
        export(landed_may, file)
    assert file.read_text() == "mine"

    export(landed_may, file, overwrite=True)
    assert len(read_csv(file)) == 4


@pytest.mark.parametrize("file_format", FileFormat)
def test_a_failure_half_way_leaves_what_stood_there_and_no_half_file(
    may: Landing, tmp_path: Path, file_format: FileFormat
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    file = folder / f"may.{file_format}"
    file.write_text("mine")
    # The publication says one charge more than the view gives.
    may.execute("UPDATE billing_publications SET charges_after = charges_after + 1")

    with pytest.raises(ReconciliationError, match="has 4 charges, the publications 5"):
        export(may, file, file_format, overwrite=True)

    assert file.read_text() == "mine"
    assert list(folder.iterdir()) == [file]


def test_a_place_that_cannot_be_written_to_is_told_in_one_line(landed_may: Landing, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written: No such file or directory"):
        export(landed_may, tmp_path / "nowhere" / "may.csv")
    with pytest.raises(UsageError, match="is not a file"):
        export(landed_may, tmp_path, overwrite=True)
    with pytest.raises(UsageError, match="is not a file"):
        export(landed_may, Path("/dev/null"), overwrite=True)


class Meanwhile(io.BytesIO):
    """A target that lets the bill change as soon as the first bytes arrive."""

    def __init__(self, landing: Landing) -> None:
        super().__init__()
        self._landing = landing
        self._is_first = True

    def write(self, data: object) -> int:
        if self._is_first:
            self._is_first = False
            with connect(self._landing.database.conninfo) as connection:
                connection.execute("DELETE FROM billing_usage_fact")
        return super().write(data)  # type: ignore[arg-type]


@pytest.mark.parametrize("file_format", FileFormat)
def test_an_export_is_of_one_moment(may: Landing, file_format: FileFormat) -> None:
    target = Meanwhile(may)

    report = export_charges(may.database, cast(BinaryIO, target), file_format=file_format, first=MAY, last=MAY)

    assert report.charge_count == 4
    assert may.count("billing_usage_fact") == 0
    target.seek(0)
    if file_format is FileFormat.PARQUET:
        assert parquet.read_table(target).num_rows == 4
    else:
        assert len(list(csv.DictReader(io.StringIO(target.read().decode(), newline="")))) == 4


def test_an_export_reads_as_the_reader_where_there_is_one(may: Landing, tmp_path: Path) -> None:
    may.execute("REVOKE SELECT ON focus_cost_and_usage FROM billfold_reader")

    with pytest.raises(StoreError, match="permission denied"):
        export(may, tmp_path / "may.parquet", FileFormat.PARQUET)

    assert list(tmp_path.glob("may*")) == []
