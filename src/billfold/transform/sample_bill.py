"""Sample bills: generated, deterministic CUR 2.0 deliveries with every line item type, laid out as AWS does.

The demo, the tests and the benchmark use the same bills. `sql/sample_bill.sql` says what is in them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import duckdb

from billfold import interruption
from billfold.period import BillingPeriod
from billfold.sql import read_script
from billfold.transform.session import quote

# The columns of a CUR 2.0 export with resources and split cost data chosen, in the order of the AWS data dictionary.
CUR2_COLUMNS = """
    bill_bill_type bill_billing_entity bill_billing_period_end_date bill_billing_period_start_date bill_invoice_id
    bill_invoicing_entity bill_payer_account_id bill_payer_account_name cost_category discount
    discount_bundled_discount discount_total_discount identity_line_item_id identity_time_interval
    line_item_availability_zone line_item_blended_cost line_item_blended_rate line_item_currency_code
    line_item_legal_entity line_item_line_item_description line_item_line_item_type line_item_net_unblended_cost
    line_item_net_unblended_rate line_item_normalization_factor line_item_normalized_usage_amount
    line_item_operation line_item_product_code line_item_resource_id line_item_tax_type line_item_unblended_cost
    line_item_unblended_rate line_item_usage_account_id line_item_usage_account_name line_item_usage_amount
    line_item_usage_end_date line_item_usage_start_date line_item_usage_type pricing_currency
    pricing_lease_contract_length pricing_offering_class pricing_public_on_demand_cost pricing_public_on_demand_rate
    pricing_purchase_option pricing_rate_code pricing_rate_id pricing_term pricing_unit product product_comment
    product_fee_code product_fee_description product_from_location product_from_location_type
    product_from_region_code product_instance_family product_instance_type product_instancesku product_location
    product_location_type product_operation product_pricing_unit product_product_family product_region_code
    product_servicecode product_sku product_to_location product_to_location_type product_to_region_code
    product_usagetype reservation_amortized_upfront_cost_for_usage
    reservation_amortized_upfront_fee_for_billing_period reservation_availability_zone reservation_effective_cost
    reservation_end_time reservation_modification_status reservation_net_amortized_upfront_cost_for_usage
    reservation_net_amortized_upfront_fee_for_billing_period reservation_net_effective_cost
    reservation_net_recurring_fee_for_usage reservation_net_unused_amortized_upfront_fee_for_billing_period
    reservation_net_unused_recurring_fee reservation_net_upfront_value reservation_normalized_units_per_reservation
    reservation_number_of_reservations reservation_recurring_fee_for_usage reservation_reservation_a_r_n
    reservation_start_time reservation_subscription_id reservation_total_reserved_normalized_units
    reservation_total_reserved_units reservation_units_per_reservation
    reservation_unused_amortized_upfront_fee_for_billing_period reservation_unused_normalized_unit_quantity
    reservation_unused_quantity reservation_unused_recurring_fee reservation_upfront_value resource_tags
    savings_plan_amortized_upfront_commitment_for_billing_period savings_plan_end_time
    savings_plan_instance_type_family savings_plan_net_amortized_upfront_commitment_for_billing_period
    savings_plan_net_recurring_commitment_for_billing_period savings_plan_net_savings_plan_effective_cost
    savings_plan_offering_type savings_plan_payment_option savings_plan_purchase_term
    savings_plan_recurring_commitment_for_billing_period savings_plan_region savings_plan_savings_plan_a_r_n
    savings_plan_savings_plan_effective_cost savings_plan_savings_plan_rate savings_plan_start_time
    savings_plan_total_commitment_to_date savings_plan_used_commitment tags line_item_iam_principal
    split_line_item_actual_usage split_line_item_net_split_cost split_line_item_net_unused_cost
    split_line_item_parent_resource_id split_line_item_public_on_demand_split_cost
    split_line_item_public_on_demand_unused_cost split_line_item_reserved_usage split_line_item_split_cost
    split_line_item_split_usage split_line_item_split_usage_ratio split_line_item_unused_cost
    line_item_user_identifier capacity_reservation_capacity_reservation_arn
    capacity_reservation_capacity_reservation_status capacity_reservation_capacity_reservation_type
""".split()
MINIMUM_LINE_ITEMS = 100


class SampleFormat(StrEnum):
    """How the bill is written: as Data Exports writes CUR 2.0 (gzip CSV with JSON maps, Parquet with MAP columns)."""

    CSV = "csv"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleBill:
    """What to generate: the same request always gives the same bytes of money.

    `balanced` False makes one Savings Plan negation fall short by 0.125.

    A `revision` above 0 restates the bill of revision 0: its line items come in another order and under new ids, and
    about `changed_percent` of them, all on-demand usage, differ: most in their amount, and some are replaced by new
    ones. Each revision changes different line items. An `invoice_id` is in every line item, as in an invoiced month.
    """

    payer_account_id: str
    period: BillingPeriod
    line_item_count: int
    export_name: str = "sample"
    prefix: str = "exports"
    bucket: str = "sample-bucket"
    seed: int = 1
    balanced: bool = True
    file_count: int = 1
    sample_format: SampleFormat = SampleFormat.CSV
    revision: int = 0
    changed_percent: int = 0
    invoice_id: str | None = None

    def manifest_path(self, root: Path) -> Path:
        """The manifest's path in the bucket with this root; it is written last."""
        folder = root / self.prefix / self.export_name / "metadata" / f"BILLING_PERIOD={self.period}"
        return folder / f"{self.export_name}-Manifest.json"


def write_sample_bill(bill: SampleBill, root: Path) -> Path:
    """Write the delivery below `root`, the root of a bucket, data files first, and return the manifest's path."""
    assert bill.line_item_count >= MINIMUM_LINE_ITEMS
    assert bill.revision > 0 or bill.changed_percent == 0
    folder = f"{bill.prefix}/{bill.export_name}"
    period = f"BILLING_PERIOD={bill.period}"
    ending = "snappy.parquet" if bill.sample_format is SampleFormat.PARQUET else "csv.gz"
    keys = [
        f"{folder}/data/{period}/{bill.export_name}-{number:05d}.{ending}" for number in range(1, bill.file_count + 1)
    ]
    with duckdb.connect(config={"threads": "2"}) as session, interruption.stoppable(session.interrupt):
        session.execute(
            "CREATE TABLE sample_request AS SELECT $1::BIGINT AS seed, $2 AS payer_account_id,"
            " $3::TIMESTAMP AS month_start, $4::BIGINT AS line_item_count, $5::BOOLEAN AS balanced,"
            " $6::BIGINT AS revision, $7::BIGINT AS changed_percent, $8::VARCHAR AS invoice_id",
            [
                bill.seed,
                bill.payer_account_id,
                str(bill.period.starts_on),
                bill.line_item_count,
                bill.balanced,
                bill.revision,
                bill.changed_percent,
                bill.invoice_id,
            ],
        )
        session.execute(read_script("billfold.transform", "sample_bill"))
        for number, key in enumerate(keys):
            path = root / key
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_file(session, bill, number, path)
    manifest = bill.manifest_path(root)
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps(_manifest(bill, keys), indent=2))
    return manifest


def _write_file(session: duckdb.DuckDBPyConnection, bill: SampleBill, number: int, path: Path) -> None:
    types = {name: type_name for name, type_name, *_ in session.execute("DESCRIBE sample_line_items").fetchall()}
    render = _parquet_value if bill.sample_format is SampleFormat.PARQUET else _csv_value
    columns = ", ".join(f"{render(name, types.get(name))} AS {name}" for name in CUR2_COLUMNS)
    options = (
        "FORMAT parquet, COMPRESSION snappy"
        if bill.sample_format is SampleFormat.PARQUET
        else "FORMAT csv, HEADER, COMPRESSION gzip"
    )
    session.execute(
        f"COPY (SELECT {columns} FROM (SELECT *, row_number() OVER () AS row_number FROM sample_line_items)"
        f" WHERE row_number % {bill.file_count} = {number} ORDER BY row_number) TO {quote(str(path))} ({options})"
    )


def _csv_value(name: str, type_name: str | None) -> str:
    if type_name is None:
        return "NULL"
    if type_name.startswith("MAP"):
        return f"to_json({name})::VARCHAR"
    if type_name == "TIMESTAMP":
        return f"strftime({name}, '%Y-%m-%dT%H:%M:%S.%gZ')"
    return f"{name}::VARCHAR"


def _parquet_value(name: str, type_name: str | None) -> str:
    if type_name is None:
        return "NULL::VARCHAR"
    if type_name.startswith("DECIMAL"):
        return f"{name}::DOUBLE"
    return name


def _manifest(bill: SampleBill, keys: list[str]) -> dict[str, object]:
    """A manifest in the shape that Data Exports writes."""
    execution = hashlib.sha256(f"{bill}".encode()).hexdigest()
    return {
        "exportArn": f"arn:aws:bcm-data-exports:us-east-1:{bill.payer_account_id}:export/{bill.export_name}",
        "exportName": bill.export_name,
        "executionId": f"{execution[:8]}-{execution[8:12]}-4{execution[13:16]}-8{execution[17:20]}-{execution[20:32]}",
        "columns": [{"name": name} for name in CUR2_COLUMNS],
        "billingPeriod": {
            "start": f"{bill.period.starts_on}T00:00:00.000Z",
            "end": f"{bill.period.ends_on}T00:00:00.000Z",
        },
        "bucket": bill.bucket,
        "dataFiles": [f"s3://{bill.bucket}/{key}" for key in keys],
    }
