-- Who called: the IAM principal and the workforce user that AWS names in CUR 2.0, beside the tags of a charge.

ALTER TABLE dim_tag_set
    ADD COLUMN iam_principal text,
    ADD COLUMN user_identifier text;
COMMENT ON TABLE dim_tag_set IS 'Whose a cost is: tags, cost categories, and who called.';
COMMENT ON COLUMN dim_tag_set.iam_principal IS 'The ARN of the IAM principal that made the call (line_item_iam_principal).';
COMMENT ON COLUMN dim_tag_set.user_identifier IS 'The IAM Identity Center identifier of a workforce user (line_item_user_identifier).';

-- The view keeps its columns and gets two more at its end.
CREATE OR REPLACE VIEW focus_cost_and_usage AS
SELECT
    region.availability_zone AS "AvailabilityZone",
    fact.billed_cost AS "BilledCost",
    billing_account.account_id AS "BillingAccountId",
    coalesce(billing_account.account_name, payer.account_name, billing_account.account_id) AS "BillingAccountName",
    billing_account.account_type AS "BillingAccountType",
    fact.billing_currency AS "BillingCurrency",
    (fact.billing_period + interval '1 month') AT TIME ZONE 'UTC' AS "BillingPeriodEnd",
    fact.billing_period::timestamp AT TIME ZONE 'UTC' AS "BillingPeriodStart",
    fact.capacity_reservation_id AS "CapacityReservationId",
    fact.capacity_reservation_status AS "CapacityReservationStatus",
    charge.charge_category AS "ChargeCategory",
    charge.charge_class AS "ChargeClass",
    sku.charge_description AS "ChargeDescription",
    charge.charge_frequency AS "ChargeFrequency",
    fact.charge_period_end AS "ChargePeriodEnd",
    fact.charge_period_start AS "ChargePeriodStart",
    commitment.commitment_discount_category AS "CommitmentDiscountCategory",
    commitment.commitment_discount_id AS "CommitmentDiscountId",
    commitment.commitment_discount_name AS "CommitmentDiscountName",
    fact.commitment_discount_quantity AS "CommitmentDiscountQuantity",
    charge.commitment_discount_status AS "CommitmentDiscountStatus",
    commitment.commitment_discount_type AS "CommitmentDiscountType",
    CASE WHEN fact.commitment_discount_quantity IS NOT NULL THEN commitment.commitment_discount_unit END
        AS "CommitmentDiscountUnit",
    fact.consumed_quantity AS "ConsumedQuantity",
    sku.consumed_unit AS "ConsumedUnit",
    fact.contracted_cost AS "ContractedCost",
    fact.contracted_unit_price AS "ContractedUnitPrice",
    fact.effective_cost AS "EffectiveCost",
    fact.invoice_id AS "InvoiceId",
    service.invoice_issuer_name AS "InvoiceIssuerName",
    fact.list_cost AS "ListCost",
    fact.list_unit_price AS "ListUnitPrice",
    charge.pricing_category AS "PricingCategory",
    fact.pricing_currency AS "PricingCurrency",
    CASE WHEN fact.pricing_currency = fact.billing_currency
        THEN coalesce(fact.pricing_currency_contracted_unit_price, fact.contracted_unit_price)
        ELSE fact.pricing_currency_contracted_unit_price END AS "PricingCurrencyContractedUnitPrice",
    CASE WHEN fact.pricing_currency = fact.billing_currency
        THEN coalesce(fact.pricing_currency_effective_cost, fact.effective_cost)
        ELSE fact.pricing_currency_effective_cost END AS "PricingCurrencyEffectiveCost",
    CASE WHEN fact.pricing_currency = fact.billing_currency
        THEN coalesce(fact.pricing_currency_list_unit_price, fact.list_unit_price)
        ELSE fact.pricing_currency_list_unit_price END AS "PricingCurrencyListUnitPrice",
    fact.pricing_quantity AS "PricingQuantity",
    sku.pricing_unit AS "PricingUnit",
    service.provider_name AS "ProviderName",
    service.publisher_name AS "PublisherName",
    region.region_id AS "RegionId",
    region.region_name AS "RegionName",
    resource.resource_id AS "ResourceId",
    resource.resource_name AS "ResourceName",
    resource.resource_type AS "ResourceType",
    service.service_category AS "ServiceCategory",
    service.service_name AS "ServiceName",
    service.service_subcategory AS "ServiceSubcategory",
    sku.sku_id AS "SkuId",
    sku.sku_meter AS "SkuMeter",
    sku.sku_price_details AS "SkuPriceDetails",
    sku.sku_price_id AS "SkuPriceId",
    sub_account.account_id AS "SubAccountId",
    coalesce(sub_account.account_name, member.account_name, sub_account.account_id) AS "SubAccountName",
    sub_account.account_type AS "SubAccountType",
    tag_set.tags AS "Tags",
    fact.discounts AS "x_Discounts",
    sku.operation AS "x_Operation",
    service.service_code AS "x_ServiceCode",
    statement.client_id AS "x_ClientId",
    fact.statement_id AS "x_StatementId",
    tag_set.cost_categories AS "x_CostCategories",
    tag_set.iam_principal AS "x_IamPrincipal",
    tag_set.user_identifier AS "x_UserIdentifier"
FROM billing_usage_fact AS fact
JOIN billing_statements AS statement ON statement.statement_id = fact.statement_id AND statement.counted
JOIN dim_account AS billing_account ON billing_account.account_key = fact.billing_account_key
JOIN dim_service AS service ON service.service_key = fact.service_key
JOIN dim_charge AS charge ON charge.charge_key = fact.charge_key
LEFT JOIN dim_account AS sub_account ON sub_account.account_key = fact.sub_account_key
LEFT JOIN dim_region AS region ON region.region_key = fact.region_key
LEFT JOIN dim_resource AS resource ON resource.resource_key = fact.resource_key
LEFT JOIN dim_sku AS sku ON sku.sku_key = fact.sku_key
LEFT JOIN dim_commitment AS commitment ON commitment.commitment_key = fact.commitment_key
LEFT JOIN dim_tag_set AS tag_set ON tag_set.tag_set_key = fact.tag_set_key
LEFT JOIN billing_account_owners AS payer
    ON payer.client_id = statement.client_id AND payer.account_id = billing_account.account_id
LEFT JOIN billing_account_owners AS member
    ON member.client_id = statement.client_id AND member.account_id = sub_account.account_id;
