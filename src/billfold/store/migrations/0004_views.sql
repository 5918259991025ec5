-- What analysts read: FOCUS 1.2, column for column.

CREATE VIEW focus_cost_and_usage AS
SELECT
    region.availability_zone AS "AvailabilityZone",
    fact.billed_cost AS "BilledCost",
    billing_account.account_id AS "BillingAccountId",
    billing_account.account_name AS "BillingAccountName",
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
    fact.pricing_currency_contracted_unit_price AS "PricingCurrencyContractedUnitPrice",
    fact.pricing_currency_effective_cost AS "PricingCurrencyEffectiveCost",
    fact.pricing_currency_list_unit_price AS "PricingCurrencyListUnitPrice",
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
    sub_account.account_name AS "SubAccountName",
    sub_account.account_type AS "SubAccountType",
    tag_set.tags AS "Tags",
    fact.discounts AS "x_Discounts",
    sku.operation AS "x_Operation",
    service.service_code AS "x_ServiceCode",
    statement.client_id AS "x_ClientId",
    fact.statement_id AS "x_StatementId",
    tag_set.cost_categories AS "x_CostCategories"
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
LEFT JOIN dim_tag_set AS tag_set ON tag_set.tag_set_key = fact.tag_set_key;
COMMENT ON VIEW focus_cost_and_usage IS 'The charges of all counted statements under the column names of FOCUS 1.2.';

-- The role that `billfold sql` connects as: reads everything, writes nothing. Where the migrating role may not create
-- roles, the database's owner does it once (docs/operating.md).
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'billfold_reader') THEN
        CREATE ROLE billfold_reader NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOINHERIT;
    END IF;
EXCEPTION
    WHEN duplicate_object OR unique_violation THEN NULL;
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'role billfold_reader is missing: an administrator creates it, then grants it SELECT on all tables';
END
$$;
DO $$
DECLARE
    relation text;
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'billfold_reader') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO billfold_reader', current_schema());
        -- The schema may hold tables of another role: they are not ours to open, and to try would fail.
        FOR relation IN
            SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v')
                AND (relname ~ '^(billing_|raw_aws_billing_rows|dim_)'
                    OR relname IN ('billfold_migrations', 'focus_cost_and_usage'))
        LOOP
            EXECUTE format('GRANT SELECT ON %I.%I TO billfold_reader', current_schema(), relation);
        END LOOP;
        -- An external id is between a client and us.
        REVOKE SELECT ON billing_clients FROM billfold_reader;
        GRANT SELECT (client_id, role_arn, bucket, prefix, region, account_id, currency, created_at)
            ON billing_clients TO billfold_reader;
        EXECUTE format('ALTER DEFAULT PRIVILEGES IN SCHEMA %I GRANT SELECT ON TABLES TO billfold_reader', current_schema());
    END IF;
END
$$;
