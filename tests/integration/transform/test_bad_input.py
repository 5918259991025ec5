"""A source that cannot be read leaves a failed run; odd but valid input lands to the last decimal."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from billfold.aws import LocalAws
from billfold.model import DeliveryState
from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, described, line_item, write_bill, write_delivery, write_object
from tests.bills.refusals import (
    FOCUS_ROW,
    GOOD,
    SECOND_FILE,
    assert_next_good_delivery_works,
    assert_refused,
    parquet_bill,
    parquet_file,
)
from tests.services import NewDatabase, make_shared_landing


def test_a_bad_restatement_leaves_the_old_bill(landing: Landing) -> None:
    write_bill(landing.root, GOOD)
    landing.ingest()
    write_bill(landing.root, [*GOOD, line_item(cost="x")], revision=2)

    outcome = landing.ingest()

    assert outcome.state is DeliveryState.FAILED
    assert landing.billed() == {"USD": Decimal("3.75")}
    assert landing.broken_rules() == []


def test_a_file_refused_once_is_refused_again_and_its_attempts_are_counted(landing: Landing) -> None:
    write_bill(landing.root, [line_item(cost="x")])
    landing.ingest()

    again = landing.ingest()

    assert again.state is DeliveryState.FAILED
    assert landing.query("SELECT status, attempts FROM billing_ingestion_runs") == [("failed", 2)]


def test_a_manifest_that_names_missing_files_is_refused_and_the_complete_one_works(landing: Landing) -> None:
    manifest = write_bill(landing.root, GOOD[:1], GOOD[1:])
    (landing.root / SECOND_FILE).unlink()

    outcome = landing.ingest(manifest)

    assert outcome.state is DeliveryState.FAILED
    assert outcome.exit_error is not None
    assert outcome.exit_error.error_code == "manifest"
    assert "names 1 of 2 files" in str(outcome.exit_error)
    assert SECOND_FILE in str(outcome.exit_error)
    assert_refused(landing, "manifest", str(outcome.exit_error))
    assert_next_good_delivery_works(landing)


def test_a_manifest_that_is_no_json_is_refused_beside_a_good_export(landing: Landing) -> None:
    write_bill(landing.root, GOOD)
    write_object(landing.root, "exports/other/metadata/BILLING_PERIOD=2026-05/other-Manifest.json", b"{broken")

    outcomes = landing.ingest_all()

    assert [outcome.state for outcome in outcomes] == [DeliveryState.FAILED, DeliveryState.PUBLISHED]
    assert outcomes[0].exit_error is not None
    assert outcomes[0].exit_error.error_code == "manifest"


def test_one_bad_statement_does_not_stop_the_others(landing: Landing) -> None:
    write_bill(landing.root, [line_item(cost="x")], export_path="exports/bad")
    write_bill(landing.root, GOOD, export_path="exports/good")

    outcomes = landing.ingest_all()

    assert {o.export_name: o.state for o in outcomes} == {
        "bad": DeliveryState.FAILED,
        "good": DeliveryState.PUBLISHED,
    }
    assert landing.billed() == {"USD": Decimal("3.75")}


def test_a_folder_without_a_bill_leaves_a_failed_run(landing: Landing) -> None:
    outcome = landing.ingest()

    assert outcome.exit_error is not None
    assert outcome.exit_error.error_code == "source_not_found"
    assert "\n" not in str(outcome.exit_error)
    assert_refused(landing, "source_not_found", str(outcome.exit_error))
    assert_next_good_delivery_works(landing)


def test_a_wrong_bucket_leaves_a_failed_run(landing: Landing, aws: LocalAws) -> None:
    there = landing.with_settings(endpoint_url=aws.endpoint_url, region="us-east-1")

    outcome = there.ingest("s3://no-such-bucket/exports/acme/")

    assert outcome.exit_error is not None
    assert outcome.exit_error.error_code == "source_not_found"
    assert "no-such-bucket" in str(outcome.exit_error)
    assert_refused(landing, "source_not_found", str(outcome.exit_error))
    assert_next_good_delivery_works(landing)


def test_a_standalone_file_of_two_months_is_refused(landing: Landing) -> None:
    path = write_object(
        landing.root, "bill.csv", as_csv([GOOD[0], line_item(bill_billing_period_start_date="2026-06-01T00:00:00Z")])
    )

    outcome = landing.ingest(path)

    assert "bill.csv, line 3, column bill_billing_period_start_date" in str(outcome.exit_error)
    assert_refused(landing, "invalid_value", str(outcome.exit_error))


def test_a_standalone_file_of_two_months_is_found_without_period_columns(landing: Landing) -> None:
    items = [
        {name: value for name, value in item.items() if name != "bill_billing_period_start_date"}
        for item in (GOOD[0], line_item(line_item_usage_start_date="2026-06-02T00:00:00Z"))
    ]
    path = write_object(landing.root, "bill.csv", as_csv(items))

    outcome = landing.ingest(path)

    assert "bill.csv, line 3, column line_item_usage_start_date" in str(outcome.exit_error)
    assert_refused(landing, "invalid_value", str(outcome.exit_error))


def test_an_unknown_line_item_type_is_charged_as_adjustment_and_told(landing: Landing) -> None:
    write_bill(landing.root, [*GOOD, line_item("MysteryFee", "7.5"), line_item("MysteryFee", "0.5")])

    outcome = landing.ingest()

    assert outcome.billed_cost == {"USD": Decimal("11.75")}
    assert landing.query(
        'SELECT "ChargeFrequency", "PricingCategory", sum("BilledCost"), sum("EffectiveCost")'
        " FROM focus_cost_and_usage WHERE \"ChargeCategory\" = 'Adjustment' GROUP BY 1, 2"
    ) == [("One-Time", "Other", Decimal(8), Decimal(8))]
    assert outcome.findings == ("2 line items of the unknown type 'MysteryFee' are charged as Adjustment",)
    assert landing.value("SELECT findings FROM billing_deliveries") == list(outcome.findings)


def test_a_raw_row_is_what_aws_wrote_with_unknown_columns_and_without_empty_ones(landing: Landing) -> None:
    items = [
        line_item(line_item_tax_type="", resource_tags='{"user_env":"prod"}', pricing_term="None"),
        line_item(cost="2", line_item_quantum_flux="0.7", brand_new='é "x"\n2'),
    ]
    write_bill(landing.root, items)

    outcome = landing.ingest()

    assert outcome.state is DeliveryState.PUBLISHED
    cost = "row_data ->> 'line_item_unblended_cost'"
    assert landing.query(f"SELECT row_data FROM raw_aws_billing_rows ORDER BY {cost}") == [
        ({name: value for name, value in item.items() if value},) for item in items
    ]


ODD_COSTS = {
    "forty digits": "1234567890123456789012345678901234567890.12",
    "thirty decimals": "0.000000000000000000000000000001",
    "a small exponent": "4.3333E-6",
    "a large exponent": "1.5e3",
    "a sign": "+2.50",
    "no leading zero": "-.5",
    "a bare point": "3.",
    "many zeros": "0000.100000000000000000000000000000000000000000",
    "minus zero": "-0.0",
}


def test_costs_of_any_length_land_to_the_last_decimal(landing: Landing) -> None:
    write_bill(landing.root, described(*ODD_COSTS.values()))

    outcome = landing.ingest()

    found = landing.query('SELECT "ChargeDescription", "BilledCost", "EffectiveCost" FROM focus_cost_and_usage')
    wanted = [(f"item {n}", Decimal(c), Decimal(c)) for n, c in enumerate(ODD_COSTS.values(), start=1)]
    assert outcome.exit_error is None
    assert sorted(found) == sorted(wanted)
    assert landing.broken_rules() == []


CAFE = line_item(line_item_line_item_description="Café")
START = datetime(2026, 5, 3, 4, tzinfo=UTC)
MANY_DIGITS = [Decimal("123456789012345678901234567890.123456789012345"), Decimal("-0.000000000000001")]
COSTS = [Decimal(cost) for cost in ("-3", "0.1", "0.2", "1234.5678")]
PARQUET_FILES: dict[str, bytes] = {
    "doubles": parquet_bill(pa.array(COSTS).cast(pa.float64())),
    "decimals of many digits": parquet_bill(pa.array(COSTS).cast(pa.decimal128(38, 10))),
    "decimals of few digits": parquet_bill(pa.array(COSTS).cast(pa.decimal128(10, 4))),
    "texts": parquet_bill(pa.array([str(cost) for cost in COSTS])),
    "tiny doubles": parquet_bill(pa.array([4.3333e-06, 1e-07, 5e-324])),
    "decimals of more than 38 digits": parquet_bill(pa.array(MANY_DIGITS, pa.decimal256(45, 15))),
    "texts without their annotation": parquet_file(
        {name: pa.array([value.encode()], pa.binary()) for name, value in CAFE.items()}
    ),
    "times in nanoseconds": parquet_file(
        {
            **{name: pa.array([value]) for name, value in line_item().items()},
            "line_item_usage_start_date": pa.array([START], pa.timestamp("ns", tz="UTC")),
        }
    ),
}


@pytest.fixture(scope="module")
def parquet_landing(new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory) -> Landing:
    """One delivery of all Parquet files."""
    landing = make_shared_landing(new_database, tmp_path_factory)
    write_delivery(landing.root, *PARQUET_FILES.values(), ending="snappy.parquet")
    assert landing.ingest().exit_error is None
    assert landing.broken_rules() == []
    return landing


def _landed(landing: Landing, name: str, column: str) -> list[Any]:
    """A column of the charges, or of the raw rows, of a Parquet file, in the order of costs."""
    found = landing.query(
        f"SELECT {column} FROM billing_usage_fact JOIN raw_aws_billing_rows"
        " USING (statement_id, row_hash, occurrence) WHERE source_s3_key LIKE %s ORDER BY billed_cost",
        f"%-{list(PARQUET_FILES).index(name) + 1:05}.snappy.parquet",
    )
    return [value for (value,) in found]


@pytest.mark.parametrize("kind", ["doubles", "decimals of many digits", "decimals of few digits", "texts"])
def test_parquet_costs_land_as_the_shortest_decimal(parquet_landing: Landing, kind: str) -> None:
    assert _landed(parquet_landing, kind, "billed_cost") == COSTS


def test_tiny_parquet_doubles_land_as_the_shortest_decimal(parquet_landing: Landing) -> None:
    wanted = [Decimal("5e-324"), Decimal("0.0000001"), Decimal("0.0000043333")]

    assert _landed(parquet_landing, "tiny doubles", "billed_cost") == wanted


def test_parquet_decimals_of_more_than_38_digits_land_to_the_last_one(parquet_landing: Landing) -> None:
    assert _landed(parquet_landing, "decimals of more than 38 digits", "billed_cost") == MANY_DIGITS[::-1]


def test_parquet_texts_without_their_annotation_are_texts(parquet_landing: Landing) -> None:
    assert _landed(parquet_landing, "texts without their annotation", "row_data") == [CAFE]


def test_parquet_times_in_nanoseconds_are_times(parquet_landing: Landing) -> None:
    assert _landed(parquet_landing, "times in nanoseconds", "charge_period_start") == [START]
    assert _landed(parquet_landing, "times in nanoseconds", "row_data") == [line_item()]


def test_focus_without_effective_cost_takes_what_was_billed(landing: Landing) -> None:
    write_delivery(landing.root, as_csv([{n: v for n, v in FOCUS_ROW.items() if n != "EffectiveCost"}]))

    outcome = landing.ingest()

    [charge] = landing.charges()
    assert outcome.findings == ("1 rows name no EffectiveCost: their BilledCost stands in",)
    assert charge["EffectiveCost"] == charge["BilledCost"] == Decimal("1.5")


def _zip(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("acme-1.csv", content)
    return stream.getvalue()


ODD_FILES: dict[str, bytes] = {
    "a plain CSV": as_csv(GOOD),
    "a gzip of two members": gzip.compress(as_csv(GOOD)[:100], mtime=0) + gzip.compress(as_csv(GOOD)[100:], mtime=0),
    "a zip": _zip(as_csv(GOOD)),
    "a byte order mark": b"\xef\xbb\xbf" + as_csv(GOOD),
    "a byte order mark before a quoted header": b"\xef\xbb\xbf"
    + as_csv(GOOD).replace(b"bill_payer_account_id", b'"bill_payer_account_id"', 1),
    "CRLF line ends": as_csv(GOOD, line_end="\r\n"),
    "no line end at the end": as_csv(GOOD).rstrip(b"\n"),
    "the word None in columns of numbers": as_csv(
        [
            {
                **item,
                "savings_plan_savings_plan_effective_cost": "None",
                "line_item_net_unblended_cost": "None",
                "pricing_public_on_demand_rate": "None",
                "line_item_usage_amount": "None",
            }
            for item in GOOD
        ]
    ),
    "a quoted header": as_csv(GOOD).replace(b"line_item_unblended_cost", b'"line_item_unblended_cost"', 1),
    "a quoted line break in the header": as_csv([{**item, "resource_tags_user_odd\nkey": "x"} for item in GOOD]),
    "a long line": as_csv([{**GOOD[0], "product": json.dumps({"k": "v" * 1_000_000})}, GOOD[1]]),
}


@pytest.fixture(scope="module")
def costs_by_file(shared_landing: Landing) -> dict[str, list[Decimal]]:
    """The billed costs of each odd file's charges: all are the files of one delivery."""
    manifest = write_delivery(shared_landing.root, *ODD_FILES.values())
    assert shared_landing.ingest(manifest).exit_error is None
    assert shared_landing.broken_rules() == []
    found: dict[str, list[Decimal]] = {name: [] for name in ODD_FILES}
    for key, cost in shared_landing.query(
        "SELECT source_s3_key, billed_cost FROM billing_usage_fact JOIN raw_aws_billing_rows"
        " USING (statement_id, row_hash, occurrence) ORDER BY billed_cost"
    ):
        number = int(key.removesuffix(".csv.gz")[-5:])
        found[list(ODD_FILES)[number - 1]].append(cost)
    return found


@pytest.mark.parametrize("name", ODD_FILES)
def test_an_odd_file_lands_as_the_plain_one_does(costs_by_file: dict[str, list[Decimal]], name: str) -> None:
    assert costs_by_file[name] == [Decimal("1.25"), Decimal("2.5")]


def test_tags_that_differ_only_in_case_are_both_kept(landing: Landing) -> None:
    legacy = {
        "bill/PayerAccountId": "111122223333",
        "bill/BillingPeriodStartDate": "2026-05-01T00:00:00Z",
        "lineItem/LineItemType": "Usage",
        "lineItem/UnblendedCost": "1.25",
        "lineItem/UsageStartDate": "2026-05-03T04:00:00Z",
        "lineItem/UsageAccountId": "444455556666",
        "resourceTags/user:Env": "upper",
        "resourceTags/user:env": "lower",
    }
    write_delivery(landing.root, as_csv([legacy, {**legacy, "resourceTags/user:env": ""}]))

    outcome = landing.ingest()

    tags = [tags for (tags,) in landing.query('SELECT "Tags" FROM focus_cost_and_usage ORDER BY "Tags"')]
    assert outcome.exit_error is None
    assert tags == [{"Env": "upper"}, {"Env": "upper", "env": "lower"}]
    assert landing.value("SELECT row_data FROM raw_aws_billing_rows WHERE row_data::text LIKE '%%lower%%'") == legacy


def test_a_map_that_is_no_json_object_costs_no_line_item(landing: Landing) -> None:
    columns = ("resource_tags", "cost_category", "product")
    texts = ["no json", "[1, 2]", '{"a":', '"text"', '{"a":"\\ud800"}', "NaN", '{"user_a":"b"}']
    write_bill(landing.root, [item for n in columns for text in texts for item in described("1.25", **{n: text})])

    outcome = landing.ingest()

    assert outcome.exit_error is None
    assert landing.billed() == {"USD": 3 * Decimal("8.75")}
    for column in columns:
        kept = landing.query(
            f"SELECT row_data ->> '{column}' FROM raw_aws_billing_rows WHERE row_data ->> '{column}' <> ''"
        )
        assert sorted(value for (value,) in kept) == sorted(texts)
    assert landing.broken_rules() == []


def test_a_literal_null_in_focus_is_no_value(landing: Landing) -> None:
    write_delivery(
        landing.root, as_csv([{**FOCUS_ROW, "SubAccountId": "NULL", "Tags": "NULL", "ConsumedQuantity": "NULL"}])
    )

    outcome = landing.ingest()

    [charge] = landing.charges()
    assert outcome.exit_error is None
    assert (charge["SubAccountId"], charge["Tags"], charge["ConsumedQuantity"]) == (None, None, None)
    assert "SubAccountId" not in landing.value("SELECT row_data FROM raw_aws_billing_rows")


def test_the_name_of_a_file_does_not_tell_its_kind(landing: Landing, tmp_path: Path) -> None:
    write_delivery(landing.root, gzip.compress(as_csv(GOOD), mtime=0), ending="csv")

    outcome = landing.ingest()

    assert outcome.billed_cost == {"USD": Decimal("3.75")}


def test_a_path_that_does_not_exist_leaves_a_failed_run(landing: Landing) -> None:
    outcome = landing.ingest(landing.root / "nowhere.csv")

    assert outcome.exit_error is not None
    assert outcome.exit_error.error_code == "source_not_found"
    assert_refused(landing, "source_not_found", str(outcome.exit_error))


def test_a_broken_manifest_named_directly_leaves_a_failed_run(landing: Landing) -> None:
    manifest = write_object(landing.root, "exports/acme/metadata/BILLING_PERIOD=2026-05/acme-Manifest.json", b"{")

    outcome = landing.ingest(manifest)

    assert outcome.exit_error is not None
    assert_refused(landing, "manifest", str(outcome.exit_error))
