"""A source that cannot be read leaves a failed run; odd but valid input lands to the last decimal."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from typing import Any

import pyarrow as pa
import pytest

from billfold.aws import LocalAws
from billfold.model import DeliveryOutcome, DeliveryState
from tests.bills.landing import Landing
from tests.bills.line_items import as_csv, line_item, write_bill, write_delivery, write_object
from tests.bills.refusals import (
    FOCUS_ROW,
    GOOD,
    SECOND_FILE,
    assert_next_good_delivery_works,
    assert_nothing_landed,
    assert_refused,
    parquet_bill,
    parquet_file,
)
from tests.services import NewDatabase, make_shared_landing


def test_bad_statements_stop_no_other_and_are_refused_again(landing: Landing) -> None:
    write_bill(landing.root, [line_item(cost="x")], export_path="exports/bad")
    write_object(landing.root, "exports/broken/metadata/BILLING_PERIOD=2026-05/broken-Manifest.json", b"{broken")
    write_bill(landing.root, GOOD, export_path="exports/good")

    outcomes = landing.ingest_all()

    assert [(outcome.state, outcome.exit_error and outcome.exit_error.error_code) for outcome in outcomes] == [
        (DeliveryState.FAILED, "manifest"),
        (DeliveryState.FAILED, "invalid_value"),
        (DeliveryState.PUBLISHED, None),
    ]
    assert landing.billed() == {"USD": Decimal("3.75")}

    write_bill(landing.root, [*GOOD, line_item(cost="x")], export_path="exports/good", revision=2)
    again = landing.ingest_all()

    assert [outcome.state for outcome in again] == [DeliveryState.FAILED] * 3
    attempts = "SELECT status, attempts FROM billing_ingestion_runs WHERE source_s3_key LIKE '%%/bad-00001%%'"
    assert landing.query(attempts) == [("failed", 2)]
    # The old bill stands.
    assert landing.billed() == {"USD": Decimal("3.75")}
    assert landing.broken_rules() == []


def test_no_bill_and_half_of_one_are_refused_and_the_complete_one_works(landing: Landing) -> None:
    nothing = landing.ingest()

    assert nothing.exit_error is not None
    assert nothing.exit_error.error_code == "source_not_found"
    assert "\n" not in str(nothing.exit_error)
    assert_refused(landing, "source_not_found", str(nothing.exit_error))

    manifest = write_bill(landing.root, GOOD[:1], GOOD[1:])
    (landing.root / SECOND_FILE).unlink()
    half = landing.ingest(manifest)

    assert half.state is DeliveryState.FAILED
    assert half.exit_error is not None
    assert half.exit_error.error_code == "manifest"
    assert "names 1 of 2 files" in str(half.exit_error)
    assert SECOND_FILE in str(half.exit_error)
    failed = "SELECT error_message FROM billing_ingestion_runs WHERE status = 'failed' AND error_code = 'manifest'"
    assert landing.query(failed) == [(str(half.exit_error),)]
    assert_nothing_landed(landing)
    assert_next_good_delivery_works(landing)


def test_a_wrong_bucket_leaves_a_failed_run(landing: Landing, aws: LocalAws) -> None:
    there = landing.with_settings(endpoint_url=aws.endpoint_url, region="us-east-1")

    outcome = there.ingest("s3://no-such-bucket/exports/acme/")

    assert outcome.exit_error is not None
    assert outcome.exit_error.error_code == "source_not_found"
    assert "no-such-bucket" in str(outcome.exit_error)
    assert_refused(landing, "source_not_found", str(outcome.exit_error))


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


MAP_COLUMNS = ("resource_tags", "cost_category", "product")
NO_MAPS = ["no json", "[1, 2]", '{"a":', '"text"', '{"a":"\\ud800"}', "NaN", '{"user_a":"b"}']
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
# The line items of one bill; the tests tell them apart by their product.
ODD_ITEMS: dict[str, list[dict[str, str]]] = {
    "unknown types": [line_item("MysteryFee", "7.5"), line_item("MysteryFee", "0.5")],
    "raw rows": [
        line_item(line_item_tax_type="", resource_tags='{"user_env":"prod"}', pricing_term="None"),
        line_item(cost="2", line_item_quantum_flux="0.7", brand_new='é "x"\n2'),
    ],
    "costs": [line_item(cost=cost, line_item_line_item_description=name) for name, cost in ODD_COSTS.items()],
    "no maps": [line_item(**{column: text}) for column in MAP_COLUMNS for text in NO_MAPS],
    "tags in two cases": [
        line_item(cost="1", **{"resourceTags/user:Env": "upper"}),
        line_item(cost="2", **{"resourceTags/user:Env": "upper", "resourceTags/user:env": "lower"}),
    ],
}


@pytest.fixture(scope="module")
def odd_outcome(shared_landing: Landing) -> DeliveryOutcome:
    """All odd line items landed in one bill, whose name does not tell that it is packed."""
    items = [{**item, "line_item_product_code": name} for name, items in ODD_ITEMS.items() for item in items]
    headers = dict.fromkeys(name for item in items for name in item)
    content = gzip.compress(as_csv(items, headers), mtime=0)
    manifest = write_delivery(shared_landing.root, content, export_path="exports/odd", ending="csv")
    outcome = shared_landing.ingest(manifest)
    assert outcome.exit_error is None
    with localcontext(prec=100):
        assert outcome.billed_cost == {"USD": sum(Decimal(item["line_item_unblended_cost"]) for item in items)}
    assert shared_landing.broken_rules() == []
    return outcome


def test_an_unknown_line_item_type_is_charged_as_adjustment_and_told(
    shared_landing: Landing, odd_outcome: DeliveryOutcome
) -> None:
    assert shared_landing.query(
        'SELECT "ChargeFrequency", "PricingCategory", sum("BilledCost"), sum("EffectiveCost")'
        " FROM focus_cost_and_usage WHERE \"ChargeCategory\" = 'Adjustment' GROUP BY 1, 2"
    ) == [("One-Time", "Other", Decimal(8), Decimal(8))]
    assert odd_outcome.findings == ("2 line items of the unknown type 'MysteryFee' are charged as Adjustment",)
    assert shared_landing.value(
        "SELECT findings FROM billing_deliveries WHERE delivery_id = %s", odd_outcome.delivery_id
    ) == list(odd_outcome.findings)


def test_a_raw_row_is_what_aws_wrote_with_unknown_columns_and_without_empty_ones(
    shared_landing: Landing, odd_outcome: DeliveryOutcome
) -> None:
    assert _raw_rows(shared_landing, "raw rows") == [
        {name: value for name, value in {**item, "line_item_product_code": "raw rows"}.items() if value}
        for item in ODD_ITEMS["raw rows"]
    ]


def test_costs_of_any_length_land_to_the_last_decimal(shared_landing: Landing, odd_outcome: DeliveryOutcome) -> None:
    found = shared_landing.query(
        'SELECT "ChargeDescription", "BilledCost", "EffectiveCost" FROM focus_cost_and_usage'
        " WHERE \"x_ServiceCode\" = 'costs'"
    )

    assert sorted(found) == sorted((name, Decimal(cost), Decimal(cost)) for name, cost in ODD_COSTS.items())


@pytest.mark.parametrize("column", MAP_COLUMNS)
def test_a_map_that_is_no_json_object_costs_no_line_item(
    shared_landing: Landing, odd_outcome: DeliveryOutcome, column: str
) -> None:
    assert sorted(row[column] for row in _raw_rows(shared_landing, "no maps") if column in row) == sorted(NO_MAPS)


def test_tags_that_differ_only_in_case_are_both_kept(shared_landing: Landing, odd_outcome: DeliveryOutcome) -> None:
    tags = shared_landing.query(
        'SELECT "Tags" FROM focus_cost_and_usage WHERE "x_ServiceCode" = \'tags in two cases\' ORDER BY "BilledCost"'
    )

    assert tags == [({"Env": "upper"},), ({"Env": "upper", "env": "lower"},)]
    _, row = _raw_rows(shared_landing, "tags in two cases")
    assert (row["resourceTags/user:Env"], row["resourceTags/user:env"]) == ("upper", "lower")


def _raw_rows(landing: Landing, part: str) -> list[dict[str, str]]:
    """The raw rows of a part of the odd line items, in the order of their costs."""
    rows = landing.query(
        "SELECT row_data FROM raw_aws_billing_rows WHERE row_data ->> 'line_item_product_code' = %s"
        " ORDER BY (row_data ->> 'line_item_unblended_cost')::numeric",
        part,
    )
    return [row for (row,) in rows]


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


def test_focus_without_effective_cost_takes_what_was_billed_and_a_literal_null_is_no_value(landing: Landing) -> None:
    nulls = {**FOCUS_ROW, "SubAccountId": "NULL", "Tags": "NULL", "ConsumedQuantity": "NULL", "BilledCost": "2"}
    without = {name: value for name, value in FOCUS_ROW.items() if name != "EffectiveCost"}
    write_delivery(landing.root, as_csv([without]), as_csv([nulls]))

    outcome = landing.ingest()

    charge, charge_of_nulls = landing.charges()
    assert outcome.findings == ("1 rows name no EffectiveCost: their BilledCost stands in",)
    assert charge["EffectiveCost"] == charge["BilledCost"] == Decimal("1.5")
    for name in ("SubAccountId", "Tags", "ConsumedQuantity"):
        assert charge_of_nulls[name] is None
    assert all("SubAccountId" not in row for (row,) in landing.query("SELECT row_data FROM raw_aws_billing_rows"))


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
        " USING (statement_id, row_hash, occurrence) WHERE source_s3_key LIKE 'exports/acme/%' ORDER BY billed_cost"
    ):
        number = int(key.removesuffix(".csv.gz")[-5:])
        found[list(ODD_FILES)[number - 1]].append(cost)
    return found


@pytest.mark.parametrize("name", ODD_FILES)
def test_an_odd_file_lands_as_the_plain_one_does(costs_by_file: dict[str, list[Decimal]], name: str) -> None:
    assert costs_by_file[name] == [Decimal("1.25"), Decimal("2.5")]


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
