-- Queries of one publication: staging, facts, history, the daily rollup.

-- name: create_staging
CREATE TEMP TABLE charge_staging (
    statement_id integer, billing_period date, added_by bigint,
    row_hash uuid, occurrence integer, part smallint, charge_period_start timestamptz, charge_period_end timestamptz,
    billing_currency text, billed_cost text, billed_cost_more text, effective_cost text, effective_cost_less text,
    effective_cost_more text, effective_net text, effective_gross text, is_return smallint, list_cost text,
    list_cost_more text, list_unit_price text, contracted_cost text, contracted_cost_more text, contracted_unit_price text, contracted_rate text, has_unit_price smallint, pricing_quantity text, pricing_quantity_less text,
    consumed_quantity text, commitment_discount_quantity text, commitment_discount_rate text, invoice_id text, pricing_currency text, pricing_currency_effective_cost text,
    pricing_currency_list_unit_price text, pricing_currency_contracted_unit_price text, capacity_reservation_id text,
    capacity_reservation_status text, discounts text,
    billing_account_key integer, sub_account_key integer, service_key integer, region_key integer, resource_key integer,
    sku_key integer, charge_key integer, commitment_key integer, tag_set_key integer
) ON COMMIT DROP

-- name: insert_charges
-- The arithmetic of charges: every number arrives as AWS wrote it. Sums and differences are exact; a product or a
-- quotient is rounded once, half away from zero at 18 decimals. {partition} is the fact's partition.
INSERT INTO {partition} (
    statement_id, billing_period, added_by, row_hash, occurrence, part, charge_period_start, charge_period_end,
    billing_account_key, sub_account_key, service_key, region_key, resource_key, sku_key, charge_key, commitment_key,
    tag_set_key, billing_currency, billed_cost, effective_cost, list_cost, contracted_cost, list_unit_price,
    contracted_unit_price, pricing_quantity, consumed_quantity, commitment_discount_quantity, invoice_id,
    pricing_currency, pricing_currency_effective_cost, pricing_currency_list_unit_price,
    pricing_currency_contracted_unit_price, capacity_reservation_id, capacity_reservation_status, discounts
)
SELECT
    statement_id, billing_period, added_by, row_hash, occurrence, part, charge_period_start, charge_period_end,
    billing_account_key, sub_account_key, service_key, region_key, resource_key, sku_key, charge_key, commitment_key,
    tag_set_key, billing_currency, billed_cost, effective_cost, list_cost, contracted_cost,
    CASE WHEN list_unit_price IS NULL AND has_unit_price THEN billfold_unit_price(list_cost, pricing_quantity)
        ELSE list_unit_price END,
    -- AWS rounds costs: the rate is kept if it gives the cost apart from rounding.
    CASE WHEN contracted_unit_price IS NOT NULL OR NOT has_unit_price THEN contracted_unit_price
        WHEN abs(contracted_rate * pricing_quantity - contracted_cost) < 0.000000001 THEN contracted_rate
        ELSE billfold_unit_price(contracted_cost, pricing_quantity) END,
    pricing_quantity, consumed_quantity, commitment_discount_quantity, invoice_id, pricing_currency,
    pricing_currency_effective_cost, pricing_currency_list_unit_price, pricing_currency_contracted_unit_price,
    capacity_reservation_id, capacity_reservation_status, discounts
FROM (
    SELECT
        statement_id, billing_period, added_by, row_hash, occurrence, part, charge_period_start, charge_period_end,
        billing_account_key, sub_account_key, service_key, region_key, resource_key, sku_key, charge_key, commitment_key,
        tag_set_key, billing_currency, billed_cost,
        -- Multiplied before it is divided, so that it is rounded once.
        CASE WHEN effective_net IS NOT NULL AND effective_gross <> 0
                THEN billfold_quotient(effective_cost * effective_net, effective_gross)
            ELSE effective_cost END AS effective_cost,
        is_return,
        coalesce(list_cost, billfold_rounded(list_unit_price * pricing_quantity), billed_cost) AS list_cost,
        coalesce(contracted_cost, list_cost, billfold_rounded(list_unit_price * pricing_quantity), billed_cost) AS contracted_cost,
        list_unit_price, contracted_unit_price, contracted_rate, has_unit_price, pricing_quantity, consumed_quantity,
        coalesce(commitment_discount_quantity, billfold_rounded(commitment_discount_rate * consumed_quantity),
            CASE WHEN part = 1 THEN pricing_quantity END) AS commitment_discount_quantity,
        invoice_id, pricing_currency, pricing_currency_effective_cost, pricing_currency_list_unit_price,
        pricing_currency_contracted_unit_price, capacity_reservation_id, capacity_reservation_status, discounts
    FROM (
        SELECT
            statement_id, billing_period, added_by, row_hash, occurrence, part, charge_period_start, charge_period_end,
            billing_account_key, sub_account_key, service_key, region_key, resource_key, sku_key, charge_key,
            commitment_key, tag_set_key, billing_currency,
            billed_cost::numeric + coalesce(billfold_sum(billed_cost_more), 0) AS billed_cost,
            coalesce(effective_cost::numeric, 0) - coalesce(effective_cost_less::numeric, 0)
                + coalesce(billfold_sum(effective_cost_more), 0) AS effective_cost,
            effective_net::numeric AS effective_net,
            effective_gross::numeric AS effective_gross,
            coalesce(is_return = 1, false) AS is_return,
            list_cost::numeric + coalesce(billfold_sum(list_cost_more), 0) AS list_cost,
            list_unit_price::numeric AS list_unit_price,
            contracted_cost::numeric + coalesce(billfold_sum(contracted_cost_more), 0) AS contracted_cost,
            contracted_unit_price::numeric AS contracted_unit_price,
            contracted_rate::numeric AS contracted_rate,
            coalesce(has_unit_price = 1, false) AS has_unit_price,
            pricing_quantity::numeric - coalesce(pricing_quantity_less::numeric, 0) AS pricing_quantity,
            consumed_quantity::numeric AS consumed_quantity,
            commitment_discount_quantity::numeric AS commitment_discount_quantity,
            commitment_discount_rate::numeric AS commitment_discount_rate,
            invoice_id, pricing_currency,
            pricing_currency_effective_cost::numeric AS pricing_currency_effective_cost,
            pricing_currency_list_unit_price::numeric AS pricing_currency_list_unit_price,
            pricing_currency_contracted_unit_price::numeric AS pricing_currency_contracted_unit_price,
            capacity_reservation_id, capacity_reservation_status, discounts::jsonb AS discounts
        FROM charge_staging
    ) AS cast_charge
) AS computed
-- The unused part of a commitment is a charge only if something is left; a negative one is AWS's rounding.
-- A refunded fee takes its unused share with it.
WHERE part = 0 OR effective_cost > 0 OR is_return AND effective_cost < 0

-- name: withdraw_rows
WITH withdrawn AS (
    DELETE FROM {raw} AS raw USING removed_row AS removed
    WHERE raw.statement_id = $1 AND raw.row_hash = removed.row_hash AND raw.occurrence = removed.occurrence
    RETURNING raw.*
)
INSERT INTO {raw_history} SELECT withdrawn.*, $2::bigint FROM withdrawn

-- name: withdraw_charges
WITH withdrawn AS (
    DELETE FROM {fact} AS fact USING removed_row AS removed
    WHERE fact.statement_id = $1 AND fact.row_hash = removed.row_hash AND fact.occurrence = removed.occurrence
    RETURNING fact.*
)
INSERT INTO {fact_history} SELECT withdrawn.*, $2::bigint FROM withdrawn

-- name: withdraw_all_charges
WITH withdrawn AS (DELETE FROM {fact} AS fact WHERE fact.statement_id = $1 RETURNING fact.*)
INSERT INTO {fact_history} SELECT withdrawn.*, $2::bigint FROM withdrawn

-- name: withdraw_rows_since
-- The rows added after the publication $3.
WITH withdrawn AS (DELETE FROM {raw} AS raw WHERE raw.statement_id = $1 AND raw.added_by > $3 RETURNING raw.*)
INSERT INTO {raw_history} SELECT withdrawn.*, $2::bigint FROM withdrawn

-- name: withdraw_charges_since
WITH withdrawn AS (DELETE FROM {fact} AS fact WHERE fact.statement_id = $1 AND fact.added_by > $3 RETURNING fact.*)
INSERT INTO {fact_history} SELECT withdrawn.*, $2::bigint FROM withdrawn

-- name: restore_rows
-- The rows that were current after the publication $3 and withdrawn since are added again: history keeps its rows.
INSERT INTO {raw} (statement_id, billing_period, ingestion_run_id, source_bucket, source_s3_key, source_etag, row_hash,
    occurrence, row_data, added_by, ingested_at)
SELECT statement_id, billing_period, ingestion_run_id, source_bucket, source_s3_key, source_etag, row_hash,
    occurrence, row_data, $2::bigint, ingested_at
FROM {raw_history} WHERE statement_id = $1 AND added_by <= $3 AND removed_by > $3

-- name: restore_charges
INSERT INTO {fact} (
    statement_id, billing_period, row_hash, occurrence, part, added_by, charge_period_start, charge_period_end,
    billing_account_key, sub_account_key, service_key, region_key, resource_key, sku_key, charge_key, commitment_key,
    tag_set_key, billing_currency, billed_cost, effective_cost, list_cost, contracted_cost, list_unit_price,
    contracted_unit_price, pricing_quantity, consumed_quantity, commitment_discount_quantity, invoice_id,
    pricing_currency, pricing_currency_effective_cost, pricing_currency_list_unit_price,
    pricing_currency_contracted_unit_price, capacity_reservation_id, capacity_reservation_status, discounts
)
SELECT
    statement_id, billing_period, row_hash, occurrence, part, $2::bigint, charge_period_start, charge_period_end,
    billing_account_key, sub_account_key, service_key, region_key, resource_key, sku_key, charge_key, commitment_key,
    tag_set_key, billing_currency, billed_cost, effective_cost, list_cost, contracted_cost, list_unit_price,
    contracted_unit_price, pricing_quantity, consumed_quantity, commitment_discount_quantity, invoice_id,
    pricing_currency, pricing_currency_effective_cost, pricing_currency_list_unit_price,
    pricing_currency_contracted_unit_price, capacity_reservation_id, capacity_reservation_status, discounts
FROM {fact_history} WHERE statement_id = $1 AND added_by <= $3 AND removed_by > $3

-- name: create_moved_tags
CREATE TEMP TABLE moved_tag_day (LIKE billing_daily_tag_cost) ON COMMIT DROP

-- name: sum_moved_tags
-- By day and set of tags, what this publication added less what it withdrew.
INSERT INTO moved_tag_day (
    statement_id, billing_period, charge_date, billing_account_key, sub_account_key, service_key, region_key, charge_key,
    tag_set_key, billing_currency, billed_cost, effective_cost, list_cost, contracted_cost, charge_count
)
SELECT
    statement_id, billing_period, (charge_period_start AT TIME ZONE 'UTC')::date, billing_account_key, sub_account_key,
    service_key, region_key, charge_key, tag_set_key, billing_currency, sum(billed_cost), sum(effective_cost),
    sum(list_cost), sum(contracted_cost), sum(sign)
FROM (
    SELECT 1 AS sign, statement_id, billing_period, charge_period_start, billing_account_key, sub_account_key, service_key,
        region_key, charge_key, tag_set_key, billing_currency, billed_cost, effective_cost, list_cost, contracted_cost
    FROM {fact} WHERE statement_id = $1 AND added_by = $2
    UNION ALL
    SELECT -1, statement_id, billing_period, charge_period_start, billing_account_key, sub_account_key, service_key,
        region_key, charge_key, tag_set_key, billing_currency, -billed_cost, -effective_cost, -list_cost, -contracted_cost
    FROM {fact_history} WHERE statement_id = $1 AND removed_by = $2
) AS moved
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
HAVING sum(sign) <> 0 OR sum(billed_cost) <> 0 OR sum(effective_cost) <> 0 OR sum(list_cost) <> 0
    OR sum(contracted_cost) <> 0

-- name: create_moved
CREATE TEMP TABLE moved_day (LIKE billing_daily_cost) ON COMMIT DROP

-- name: sum_moved
-- The same by day alone.
INSERT INTO moved_day (
    statement_id, billing_period, charge_date, billing_account_key, sub_account_key, service_key, region_key, charge_key,
    billing_currency, billed_cost, effective_cost, list_cost, contracted_cost, charge_count
)
SELECT
    statement_id, billing_period, charge_date, billing_account_key, sub_account_key, service_key, region_key, charge_key,
    billing_currency, sum(billed_cost), sum(effective_cost), sum(list_cost), sum(contracted_cost),
    sum(charge_count)::bigint
FROM moved_tag_day
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
HAVING sum(charge_count) <> 0 OR sum(billed_cost) <> 0 OR sum(effective_cost) <> 0
    OR sum(list_cost) <> 0 OR sum(contracted_cost) <> 0

-- name: roll_up
-- {daily} are the daily costs, and {moved} what is to be added to them.
INSERT INTO {daily} AS daily SELECT * FROM {moved}
{onto}

-- name: onto
-- The end of a roll-up, unless the statement has no daily costs yet: looking for them would take twice the time.
ON CONFLICT (statement_id, charge_date, billing_account_key, sub_account_key, service_key, region_key, charge_key,
    {tag_set_key} billing_currency)
DO UPDATE SET
    billed_cost = daily.billed_cost + excluded.billed_cost,
    effective_cost = daily.effective_cost + excluded.effective_cost,
    list_cost = daily.list_cost + excluded.list_cost,
    contracted_cost = daily.contracted_cost + excluded.contracted_cost,
    charge_count = daily.charge_count + excluded.charge_count

-- name: keep_restatement
INSERT INTO billing_restatement (
    statement_id, publication_id, billing_period, charge_date, billing_account_key, sub_account_key, service_key,
    region_key, charge_key, billing_currency, billed_cost, effective_cost, list_cost, contracted_cost, charge_count
)
SELECT statement_id, $1::bigint, billing_period, charge_date, billing_account_key, sub_account_key, service_key,
    region_key, charge_key, billing_currency, billed_cost, effective_cost, list_cost, contracted_cost, charge_count
FROM moved_day

-- name: drop_moved
DROP TABLE moved_day, moved_tag_day

-- name: drop_empty_days
DELETE FROM {daily} WHERE statement_id = $1 AND charge_count = 0

-- name: current_rows
SELECT row_hash, occurrence FROM {raw} WHERE statement_id = $1

-- name: landed_rows
SELECT row_hash, occurrence, row_data::text AS row_data FROM {raw} WHERE statement_id = {statement_id}

-- name: sum_raw_added
-- Rows and money of the landed line items, read back from their JSON.
SELECT currency, count(*)::bigint, coalesce(sum(gross_cost), 0)::text, coalesce(sum(net_cost), 0)::text FROM (
    SELECT {currency} AS currency, {gross_cost} AS gross_cost, {net_cost} AS net_cost
    FROM {raw} AS raw WHERE raw.statement_id = $1 AND raw.added_by = $2
) AS landed GROUP BY currency

-- name: sum_raw_known
-- The same for rows of earlier publications, which may have the headers of another format.
SELECT currency, count(*)::bigint, coalesce(sum(gross_cost), 0)::text, coalesce(sum(net_cost), 0)::text FROM (
    SELECT
        coalesce(item."lineItem/CurrencyCode", item.line_item_currency_code, item."BillingCurrency", $3::text) AS currency,
        coalesce(item."lineItem/UnblendedCost", item.line_item_unblended_cost, item."BilledCost")::numeric AS gross_cost,
        billfold_number(coalesce(item."lineItem/NetUnblendedCost", item.line_item_net_unblended_cost)) AS net_cost
    FROM {table} AS raw, json_to_record(raw.row_data) AS item (
        "lineItem/CurrencyCode" text, line_item_currency_code text, "BillingCurrency" text,
        "lineItem/UnblendedCost" text, line_item_unblended_cost text, "BilledCost" text,
        "lineItem/NetUnblendedCost" text, line_item_net_unblended_cost text)
    WHERE raw.statement_id = $1 AND raw.{mark} = $2
) AS known GROUP BY currency

-- name: sum_charges
SELECT billing_currency, count(*)::bigint, sum(billed_cost)::text FROM {fact}
WHERE statement_id = $1 AND {mark} = $2 GROUP BY billing_currency
