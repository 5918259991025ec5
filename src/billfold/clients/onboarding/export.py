"""An AWS Data Export and its bucket, as resources of a CloudFormation template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from billfold.errors import UsageError
from billfold.model import Client, ExportTable, TimeGranularity

# AWS creates Data Exports only in this region, and a template's bucket is in the region of its deployment.
EXPORT_REGION = "us-east-1"
# Both write deliveries, as AWS's own policy for such buckets says (AWS: "Setting up an Amazon S3 bucket for data
# exports"); the second is the older name, which checks an export when it is created.
_WRITERS = ("bcm-data-exports.amazonaws.com", "billingreports.amazonaws.com")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportContents:
    """The contents of an export, named after AWS's table configurations of CUR 2.0; of FOCUS only the time granularity.

    AWS: "Table configurations can't be changed after an export is created", so everything is on by default.
    """

    time_granularity: TimeGranularity = TimeGranularity.HOURLY
    resources: bool = True
    split_cost_allocation_data: bool = True
    capacity_reservation_data: bool = True
    iam_principal_data: bool = True
    # No table configuration: `tags` is a column that every CUR 2.0 table has.
    tags: bool = True

    @property
    def left_out(self) -> Sequence[str]:
        """The contents that are switched off, in the words of the options."""
        switches = [each.name for each in fields(self) if each.name != "time_granularity"]
        return [name.replace("_", "-") for name in switches if not getattr(self, name)]


EVERYTHING = ExportContents()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Query:
    """A table of Data Exports by AWS's name, its configuration and its columns: AWS rejects `SELECT *`."""

    table: str
    configuration: Mapping[str, str]
    columns: Sequence[str]


def resources(
    client: Client, table: ExportTable, contents: ExportContents, notification: Mapping[str, Any]
) -> dict[str, Any]:
    """The bucket, its policy and the export by their logical names; `notification` is the bucket's configuration.

    CSV keeps every amount as AWS wrote it, and overwriting keeps one copy of each month. If the stack is deleted, the
    bucket and its bills stay. Raises UsageError for an export that AWS would not deliver.
    """
    _check(client)
    assert client.bucket is not None
    query = _query(table, contents)
    bucket: dict[str, Any] = {
        "BucketName": client.bucket,
        "BucketEncryption": {
            "ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
        },
        "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
        "PublicAccessBlockConfiguration": {
            "BlockPublicAcls": True,
            "BlockPublicPolicy": True,
            "IgnorePublicAcls": True,
            "RestrictPublicBuckets": True,
        },
    }
    if notification:
        bucket["NotificationConfiguration"] = dict(notification)
    return {
        "ExportBucket": {
            "Type": "AWS::S3::Bucket",
            "DeletionPolicy": "Retain",
            "UpdateReplacePolicy": "Retain",
            "Properties": bucket,
        },
        "ExportBucketPolicy": {
            "Type": "AWS::S3::BucketPolicy",
            "Properties": {"Bucket": {"Ref": "ExportBucket"}, "PolicyDocument": _bucket_policy(client)},
        },
        "BillingExport": {
            "Type": "AWS::BCMDataExports::Export",
            # AWS writes a first object when the export is created, and needs the policy for it.
            "DependsOn": "ExportBucketPolicy",
            "Properties": {"Export": _export(client, query)},
        },
    }


def check_contents(table: ExportTable | None, contents: ExportContents) -> None:
    """Raise UsageError for contents that this table, or a template without an export, cannot have."""
    if contents == EVERYTHING:
        return
    if table is None:
        raise UsageError(
            "contents of an export were given, but no export is created", advice="add --create-export cur2 or focus"
        )
    if table is ExportTable.FOCUS and contents.left_out:
        raise UsageError(
            f"--no-{contents.left_out[0]} is for CUR 2.0: AWS's FOCUS table has only one setting, the time granularity",
            advice=f"leave --no-{contents.left_out[0]} out, or use --create-export cur2",
        )
    if table is ExportTable.CUR2 and contents.split_cost_allocation_data and not contents.resources:
        raise UsageError(
            "split cost allocation data needs resources: its rows name their instance by its resource id",
            advice="add --no-split-cost-allocation-data, or leave --no-resources out",
        )


def preparations(table: ExportTable, contents: ExportContents) -> Sequence[str]:
    """The steps in AWS's console that a template cannot do, as comments."""
    if table is not ExportTable.CUR2:
        return []
    steps = []
    if contents.split_cost_allocation_data:
        steps.append(
            "# In the payer's account, in the Billing and Cost Management console, Cost Management preferences: opt in"
            " to split cost allocation data for Amazon ECS, Amazon EKS or both. AWS provides it from the current month"
            " on, not for earlier months."
        )
    if contents.tags:
        steps.append(
            "# In the same console, Cost allocation tags: activate each tag to export. AWS leaves the others out."
        )
    return steps


def _check(client: Client) -> None:
    if client.region != EXPORT_REGION:
        raise UsageError(
            f"the bucket of client {client.client_id} is in {client.region or 'no known region'}, but AWS creates"
            f" exports in {EXPORT_REGION}, where the template would create the bucket too",
            advice="let the client create the export itself, or register it with --region us-east-1",
        )
    if not client.prefix:
        raise UsageError(
            f"client {client.client_id} has the whole bucket, but an export needs a folder",
            advice="register it with a folder: --prefix exports/",
        )
    if client.kms_key_arn:
        raise UsageError(
            f"client {client.client_id} has its own key, but the template's bucket is encrypted with S3's",
            advice="register it without --kms-key-arn, or let the client create bucket and export itself",
        )


def _bucket_policy(client: Client) -> dict[str, Any]:
    """What AWS requires, for exports of this account only; access without TLS is denied."""
    arn = f"arn:aws:s3:::{client.bucket}"
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "EnableAWSDataExportsToWriteToS3AndCheckPolicy",
                "Effect": "Allow",
                "Principal": {"Service": list(_WRITERS)},
                "Action": ["s3:PutObject", "s3:GetBucketPolicy"],
                "Resource": [arn, f"{arn}/*"],
                "Condition": {
                    "StringEquals": {"aws:SourceAccount": client.account_id},
                    "ArnLike": {
                        "aws:SourceArn": [
                            f"arn:aws:bcm-data-exports:{EXPORT_REGION}:{client.account_id}:export/*",
                            f"arn:aws:cur:{EXPORT_REGION}:{client.account_id}:definition/*",
                        ]
                    },
                },
            },
            {
                "Sid": "RefuseWithoutTls",
                "Effect": "Deny",
                "Principal": "*",
                "Action": "s3:*",
                "Resource": [arn, f"{arn}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            },
        ],
    }


def _query(table: ExportTable, contents: ExportContents) -> _Query:
    """The query of the table: AWS rejects a column that its configuration does not add."""
    granularity = {"TIME_GRANULARITY": contents.time_granularity.upper()}
    if table is ExportTable.FOCUS:
        return _Query(table="FOCUS_1_2_AWS", configuration=granularity, columns=_FOCUS_COLUMNS)
    included = {
        "INCLUDE_RESOURCES": (contents.resources, ["line_item_resource_id"]),
        "INCLUDE_SPLIT_COST_ALLOCATION_DATA": (contents.split_cost_allocation_data, _SPLIT_COLUMNS),
        "INCLUDE_CAPACITY_RESERVATION_DATA": (contents.capacity_reservation_data, _CAPACITY_RESERVATION_COLUMNS),
        "INCLUDE_IAM_PRINCIPAL_DATA": (contents.iam_principal_data, ["line_item_iam_principal"]),
        # Otherwise the discount columns are not there to be asked for.
        "INCLUDE_MANUAL_DISCOUNT_COMPATIBILITY": (False, []),
    }
    # Templates from before these two keys existed lack them, and CloudFormation replaces an export whose configuration
    # gains a key, even with the value that AWS assumes without it (FALSE (I)).
    if not contents.capacity_reservation_data:
        del included["INCLUDE_CAPACITY_RESERVATION_DATA"]
    if not contents.iam_principal_data:
        del included["INCLUDE_IAM_PRINCIPAL_DATA"]
    added = [column for is_on, columns in included.values() if is_on for column in columns]
    # AWS: `tags` contains the other two, which need not be selected.
    tags = ["tags"] if contents.tags else ["cost_category", "resource_tags"]
    return _Query(
        table="COST_AND_USAGE_REPORT",
        configuration=granularity | {name: "TRUE" if is_on else "FALSE" for name, (is_on, _) in included.items()},
        columns=sorted([*_CUR2_COLUMNS, *added, *tags]),
    )


def _export(client: Client, query: _Query) -> dict[str, Any]:
    return {
        # CloudFormation takes letters, digits, hyphens and underscores.
        "Name": f"billfold-{client.client_id}".replace(".", "-"),
        "Description": "Read by Billfold",
        "DataQuery": {
            "QueryStatement": f"SELECT {', '.join(query.columns)} FROM {query.table}",
            "TableConfigurations": {query.table: dict(query.configuration)},
        },
        "DestinationConfigurations": {
            "S3Destination": {
                "S3Bucket": {"Ref": "ExportBucket"},
                "S3Prefix": client.prefix.rstrip("/"),
                "S3Region": EXPORT_REGION,
                "S3OutputConfigurations": {
                    "OutputType": "CUSTOM",
                    "Format": "TEXT_OR_CSV",
                    "Compression": "GZIP",
                    "Overwrite": "OVERWRITE_REPORT",
                },
            }
        },
        "RefreshCadence": {"Frequency": "SYNCHRONOUS"},
    }


# AWS: "CUR 2.0", the columns that are there however the table is configured, without those that `tags` holds.
_CUR2_COLUMNS = """
    bill_bill_type bill_billing_entity bill_billing_period_end_date bill_billing_period_start_date
    bill_invoice_id bill_invoicing_entity bill_payer_account_id bill_payer_account_name discount
    discount_bundled_discount discount_total_discount identity_line_item_id identity_time_interval
    line_item_availability_zone line_item_blended_cost line_item_blended_rate line_item_currency_code
    line_item_legal_entity line_item_line_item_description line_item_line_item_type line_item_net_unblended_cost
    line_item_net_unblended_rate line_item_normalization_factor line_item_normalized_usage_amount
    line_item_operation line_item_product_code line_item_tax_type line_item_unblended_cost
    line_item_unblended_rate line_item_usage_account_id line_item_usage_account_name line_item_usage_amount
    line_item_usage_end_date line_item_usage_start_date line_item_usage_type line_item_user_identifier pricing_currency
    pricing_lease_contract_length pricing_offering_class pricing_public_on_demand_cost
    pricing_public_on_demand_rate pricing_purchase_option pricing_rate_code pricing_rate_id pricing_term
    pricing_unit product product_comment product_fee_code product_fee_description product_from_location
    product_from_location_type product_from_region_code product_instance_family product_instance_type
    product_instancesku product_location product_location_type product_operation product_pricing_unit
    product_product_family product_region_code product_servicecode product_sku product_to_location
    product_to_location_type product_to_region_code product_usagetype
    reservation_amortized_upfront_cost_for_usage reservation_amortized_upfront_fee_for_billing_period
    reservation_availability_zone reservation_effective_cost reservation_end_time
    reservation_modification_status reservation_net_amortized_upfront_cost_for_usage
    reservation_net_amortized_upfront_fee_for_billing_period reservation_net_effective_cost
    reservation_net_recurring_fee_for_usage reservation_net_unused_amortized_upfront_fee_for_billing_period
    reservation_net_unused_recurring_fee reservation_net_upfront_value
    reservation_normalized_units_per_reservation reservation_number_of_reservations
    reservation_recurring_fee_for_usage reservation_reservation_a_r_n reservation_start_time
    reservation_subscription_id reservation_total_reserved_normalized_units reservation_total_reserved_units
    reservation_units_per_reservation reservation_unused_amortized_upfront_fee_for_billing_period
    reservation_unused_normalized_unit_quantity reservation_unused_quantity reservation_unused_recurring_fee
    reservation_upfront_value savings_plan_amortized_upfront_commitment_for_billing_period
    savings_plan_end_time savings_plan_instance_type_family
    savings_plan_net_amortized_upfront_commitment_for_billing_period
    savings_plan_net_recurring_commitment_for_billing_period savings_plan_net_savings_plan_effective_cost
    savings_plan_offering_type savings_plan_payment_option savings_plan_purchase_term
    savings_plan_recurring_commitment_for_billing_period savings_plan_region savings_plan_savings_plan_a_r_n
    savings_plan_savings_plan_effective_cost savings_plan_savings_plan_rate savings_plan_start_time
    savings_plan_total_commitment_to_date savings_plan_used_commitment
""".split()
# AWS: "CUR 2.0", the columns added by each table configuration.
_SPLIT_COLUMNS = """
    split_line_item_actual_usage split_line_item_net_split_cost split_line_item_net_unused_cost
    split_line_item_parent_resource_id split_line_item_public_on_demand_split_cost
    split_line_item_public_on_demand_unused_cost split_line_item_reserved_usage split_line_item_split_cost
    split_line_item_split_usage split_line_item_split_usage_ratio split_line_item_unused_cost
""".split()
_CAPACITY_RESERVATION_COLUMNS = """
    capacity_reservation_capacity_reservation_arn capacity_reservation_capacity_reservation_status
    capacity_reservation_capacity_reservation_type
""".split()
# AWS: "FOCUS 1.2 with AWS columns": 57 columns of FOCUS and three of its own.
_FOCUS_COLUMNS = """
    AvailabilityZone BilledCost BillingAccountId BillingAccountName BillingAccountType BillingCurrency
    BillingPeriodEnd BillingPeriodStart CapacityReservationId CapacityReservationStatus ChargeCategory
    ChargeClass ChargeDescription ChargeFrequency ChargePeriodEnd ChargePeriodStart CommitmentDiscountCategory
    CommitmentDiscountId CommitmentDiscountName CommitmentDiscountQuantity CommitmentDiscountStatus
    CommitmentDiscountType CommitmentDiscountUnit ConsumedQuantity ConsumedUnit ContractedCost
    ContractedUnitPrice EffectiveCost InvoiceId InvoiceIssuerName ListCost ListUnitPrice PricingCategory
    PricingCurrency PricingCurrencyContractedUnitPrice PricingCurrencyEffectiveCost PricingCurrencyListUnitPrice
    PricingQuantity PricingUnit ProviderName PublisherName RegionId RegionName ResourceId ResourceName
    ResourceType ServiceCategory ServiceName ServiceSubcategory SkuId SkuMeter SkuPriceDetails SkuPriceId
    SubAccountId SubAccountName SubAccountType Tags x_Discounts x_Operation x_ServiceCode
""".split()
