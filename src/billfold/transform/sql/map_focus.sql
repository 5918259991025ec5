-- The mapping of FOCUS rows, as AWS exports them (1.0 to 1.2), to charges: one row is one charge, its values as delivered.
--
-- Reads the view `line_item` (FOCUS columns as text) and fills the table `charge`, with the columns of map_cur/charges.sql.

CREATE OR REPLACE TEMP VIEW ledger AS
SELECT
    "BillingAccountId" AS billing_account_id,
    "BillingCurrency" AS billing_currency,
    'charged' AS disposition,
    "ChargeCategory" AS line_item_type,
    CASE WHEN "ChargeCategory" NOT IN ('Usage', 'Purchase', 'Tax', 'Credit', 'Adjustment') THEN 'unknown type'
        WHEN "EffectiveCost" IS NULL THEN 'billed is effective' END AS remark,
    "BilledCost" AS gross_cost,
    NULL::VARCHAR AS net_cost,
    "BilledCost" AS cost,
    NULL::VARCHAR AS cost_more,
    NULL::VARCHAR AS named_discount,
    NULL::VARCHAR AS discount_parts,
    0::SMALLINT AS has_unreadable_discount,
    0::SMALLINT AS is_of_commitment,
    0::SMALLINT AS is_discount,
    -- FOCUS does not mark refunds: they are corrections of invoiced charges (I).
    coalesce("ChargeCategory" = 'Credit' OR "ChargeClass" = 'Correction', false)::SMALLINT AS is_reduction,
    count(*) AS row_count
FROM line_item
GROUP BY ALL;

CREATE OR REPLACE TABLE charge AS
SELECT
    row_hash,
    occurrence,
    0::SMALLINT AS part,
    "ChargePeriodStart" AS charge_period_start,
    coalesce("ChargePeriodEnd", "ChargePeriodStart") AS charge_period_end,

    "ChargeCategory" AS charge_category,
    "ChargeClass" AS charge_class,
    "ChargeFrequency" AS charge_frequency,
    "PricingCategory" AS pricing_category,
    "CommitmentDiscountStatus" AS commitment_discount_status,
    NULL::VARCHAR AS line_item_type,

    "BillingAccountId" AS billing_account_id,
    "BillingAccountName" AS billing_account_name,
    coalesce("BillingAccountType", 'Payer Account') AS billing_account_type,
    "SubAccountId" AS sub_account_id,
    "SubAccountName" AS sub_account_name,
    coalesce("SubAccountType", CASE WHEN "SubAccountId" IS NOT NULL THEN 'Member Account' END) AS sub_account_type,

    coalesce("ProviderName", 'AWS') AS provider_name,
    coalesce("PublisherName", 'AWS') AS publisher_name,
    coalesce("InvoiceIssuerName", 'AWS') AS invoice_issuer_name,
    "x_ServiceCode" AS service_code,
    coalesce("ServiceName", "x_ServiceCode", 'Other') AS service_name,
    coalesce("ServiceCategory", 'Other') AS service_category,
    -- FOCUS 1.0 has no subcategories: the lookup table gives one to services that it puts in the same category (I).
    coalesce(
        "ServiceSubcategory",
        CASE WHEN service_lookup.service_category = "ServiceCategory" THEN service_lookup.service_subcategory END,
        'Other (' || coalesce("ServiceCategory", 'Other') || ')') AS service_subcategory,

    "RegionId" AS region_id,
    coalesce("RegionName", CASE WHEN "RegionId" IS NOT NULL THEN coalesce(region_lookup.region_name, "RegionId") END)
        AS region_name,
    "AvailabilityZone" AS availability_zone,
    "ResourceId" AS resource_id,
    "ResourceName" AS resource_name,
    "ResourceType" AS resource_type,

    "SkuId" AS sku_id,
    "SkuPriceId" AS sku_price_id,
    coalesce("SkuMeter", CASE WHEN "SkuId" IS NOT NULL THEN "x_UsageType" END) AS sku_meter,
    "SkuPriceDetails" AS sku_price_details,
    "x_Operation" AS operation,
    "ChargeDescription" AS charge_description,
    "PricingUnit" AS pricing_unit,
    "ConsumedUnit" AS consumed_unit,

    "CommitmentDiscountId" AS commitment_discount_id,
    "CommitmentDiscountName" AS commitment_discount_name,
    "CommitmentDiscountCategory" AS commitment_discount_category,
    "CommitmentDiscountType" AS commitment_discount_type,
    "CommitmentDiscountUnit" AS commitment_discount_unit,

    "Tags" AS tags,
    "x_CostCategories" AS cost_categories,
    NULL::VARCHAR AS tag_map,
    -- AWS's FOCUS exports lack these columns; files of `billfold export` have them.
    "x_IamPrincipal" AS iam_principal,
    "x_UserIdentifier" AS user_identifier,
    discounts_text("x_Discounts") AS discounts,

    "InvoiceId" AS invoice_id,
    "BillingCurrency" AS billing_currency,
    coalesce("PricingCurrency", "BillingCurrency") AS pricing_currency,
    "CapacityReservationId" AS capacity_reservation_id,
    "CapacityReservationStatus" AS capacity_reservation_status,

    "BilledCost" AS billed_cost,
    NULL::VARCHAR AS billed_cost_more,
    -- An export without the column does not show commitments: only the billed cost is known (I).
    coalesce("EffectiveCost", "BilledCost") AS effective_cost,
    NULL::VARCHAR AS effective_cost_less,
    NULL::VARCHAR AS effective_cost_more,
    false AS is_return,
    NULL::VARCHAR AS effective_net,
    NULL::VARCHAR AS effective_gross,
    "ListCost" AS list_cost,
    NULL::VARCHAR AS list_cost_more,
    "ListUnitPrice" AS list_unit_price,
    coalesce("ContractedCost", "BilledCost") AS contracted_cost,
    NULL::VARCHAR AS contracted_cost_more,
    "ContractedUnitPrice" AS contracted_unit_price,
    NULL::VARCHAR AS contracted_rate,
    -- A unit price that the export lacks is computed from cost and quantity (S).
    "ChargeCategory" IN ('Usage', 'Purchase') AND "ChargeClass" IS DISTINCT FROM 'Correction' AS has_unit_price,
    "PricingQuantity" AS pricing_quantity,
    NULL::VARCHAR AS pricing_quantity_less,
    "ConsumedQuantity" AS consumed_quantity,
    "CommitmentDiscountQuantity" AS commitment_discount_quantity,
    NULL::VARCHAR AS commitment_discount_rate,
    "PricingCurrencyEffectiveCost" AS pricing_currency_effective_cost,
    "PricingCurrencyListUnitPrice" AS pricing_currency_list_unit_price,
    "PricingCurrencyContractedUnitPrice" AS pricing_currency_contracted_unit_price,
    false AS is_workload
FROM line_item
LEFT JOIN service_lookup ON service_lookup.code = lower(trim("x_ServiceCode"))
LEFT JOIN region_lookup ON region_lookup.region_id = lower(trim("RegionId"))
WHERE is_added;
