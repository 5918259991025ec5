-- Charges of mapping version 2: unit prices, price details as JSON, names for accounts.

-- The price of one unit, as exact as a quotient can be (16 significant digits or more); nothing costs nothing.
CREATE FUNCTION billfold_unit_price(cost numeric, quantity numeric) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN quantity <> 0 THEN trim_scale(cost / quantity) WHEN quantity = 0 THEN 0::numeric END
$$;

-- Price details are an object now, so that dashboards can ask for one of them.
DROP VIEW focus_cost_and_usage;
ALTER TABLE dim_sku ALTER COLUMN sku_price_details TYPE jsonb USING
    CASE WHEN sku_price_details IS JSON AND sku_price_details NOT LIKE '%\u0000%' THEN sku_price_details::jsonb
        ELSE to_jsonb(sku_price_details) END;

-- What analysts read: FOCUS 1.2, column for column. An account without a name of AWS's bears the one that was given to it
-- with its owner, else its id (S: a name stands where an id stands). What has the billing currency's price needs no other.

CREATE VIEW focus_cost_and_usage AS
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
LEFT JOIN dim_tag_set AS tag_set ON tag_set.tag_set_key = fact.tag_set_key
LEFT JOIN billing_account_owners AS payer
    ON payer.client_id = statement.client_id AND payer.account_id = billing_account.account_id
LEFT JOIN billing_account_owners AS member
    ON member.client_id = statement.client_id AND member.account_id = sub_account.account_id;
COMMENT ON VIEW focus_cost_and_usage IS 'The charges of all counted statements under the column names of FOCUS 1.2.';

-- The accounts that a statement has costs of, each with its payer: by them two exports of one bill are told.
CREATE FUNCTION billfold_accounts(wanted_statement_id integer)
RETURNS TABLE (billing_account_id text, usage_account_id text) LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT DISTINCT payer.account_id, coalesce(member.account_id, payer.account_id)
    FROM (
        SELECT DISTINCT billing_account_key, sub_account_key FROM billing_daily_cost WHERE statement_id = wanted_statement_id
    ) AS daily
    JOIN dim_account AS payer ON payer.account_key = daily.billing_account_key
    LEFT JOIN dim_account AS member ON member.account_key = daily.sub_account_key
$$;

-- Other statements of the client and month that hold the same bill, the one published first leading: both have costs of
-- one account under one payer. Single files of one folder and format are parts of one bill, not two bills. The delivery
-- and its format are those that are being published; else the statement's own.
CREATE FUNCTION billfold_overlaps(
    wanted_statement_id integer, wanted_delivery_id uuid DEFAULT NULL, wanted_format text DEFAULT NULL
) RETURNS TABLE (statement_id integer, export_name text, counted boolean) LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT other.statement_id, other.export_name, other.counted
    FROM billing_statements AS own
    JOIN billing_statements AS other
        ON other.client_id = own.client_id AND other.billing_period = own.billing_period
        AND other.statement_id <> own.statement_id
    LEFT JOIN billing_deliveries AS own_delivery
        ON own_delivery.delivery_id = coalesce(wanted_delivery_id, own.current_delivery_id)
    LEFT JOIN billing_deliveries AS other_delivery ON other_delivery.delivery_id = other.current_delivery_id
    WHERE own.statement_id = wanted_statement_id AND other.current_publication_id IS NOT NULL
        AND NOT (
            own_delivery.manifest_key IS NULL AND other_delivery.manifest_key IS NULL
            AND own.bucket = other.bucket
            AND regexp_replace(own.export_path, '[^/]*$', '') = regexp_replace(other.export_path, '[^/]*$', '')
            AND coalesce(wanted_format, own_delivery.format) = other_delivery.format
        )
        AND EXISTS (
            SELECT * FROM billfold_accounts(own.statement_id) AS held
            INTERSECT
            SELECT * FROM billfold_accounts(other.statement_id) AS held_there
        )
    ORDER BY (SELECT min(publication_id) FROM billing_publications AS first WHERE first.statement_id = other.statement_id)
$$;

ALTER TABLE billing_statements
    ADD COLUMN yields boolean NOT NULL DEFAULT false,
    ADD CHECK (NOT (counted AND yields));
COMMENT ON COLUMN billing_statements.yields IS 'It is not counted because another statement of the same bill is: it counts again when none is any more.';

ALTER TABLE billing_publications ADD COLUMN unproved_cost jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN billing_publications.unproved_cost IS 'By currency, what the costs on net basis are off the gross costs less the discounts that the export names.';
