-- What pages about costs need besides the sums: which months there are, and the charges themselves.

-- name: list_months
SELECT DISTINCT billing_period FROM billing_statements
WHERE counted AND current_publication_id IS NOT NULL AND (%(client)s::text IS NULL OR client_id = %(client)s)
ORDER BY billing_period DESC

-- name: list_charges
-- {metric} is one of the four costs. Which members of the small dimensions are wanted is known before the charges of the
-- month are read; names are looked up for the page alone.
WITH wanted AS (
    SELECT fact.*, fact.{metric} AS cost
    FROM billing_usage_fact AS fact
    WHERE fact.billing_period = %(month)s
        AND fact.statement_id = ANY (ARRAY(
            SELECT statement.statement_id FROM billing_statements AS statement
            WHERE statement.counted AND statement.billing_period = %(month)s
                AND (%(client)s::text IS NULL OR statement.client_id = %(client)s)))
        AND (%(services)s::text[] IS NULL OR fact.service_key = ANY (ARRAY(
            SELECT service_key FROM dim_service
            WHERE coalesce(service_name, service_code, '') = ANY (%(services)s) OR service_code = ANY (%(services)s))))
        AND (%(accounts)s::text[] IS NULL OR coalesce(fact.sub_account_key, fact.billing_account_key) = ANY (ARRAY(
            SELECT account_key FROM dim_account WHERE coalesce(account_id, '') = ANY (%(accounts)s))))
        AND (%(regions)s::text[] IS NULL OR fact.region_key = ANY (ARRAY(
                SELECT region_key FROM dim_region WHERE coalesce(region_id, '') = ANY (%(regions)s)))
            OR fact.region_key IS NULL AND '' = ANY (%(regions)s))
        AND (%(categories)s::text[] IS NULL OR fact.charge_key = ANY (ARRAY(
            SELECT charge_key FROM dim_charge WHERE charge_category = ANY (%(categories)s))))
        AND (%(tags)s::jsonb IS NULL OR NOT EXISTS (
            SELECT FROM jsonb_each(%(tags)s) AS asked (key, accepted)
            WHERE NOT accepted ? coalesce(
                (SELECT tags ->> asked.key FROM dim_tag_set WHERE tag_set_key = fact.tag_set_key), '')))
    ORDER BY cost DESC, statement_id, row_hash, occurrence, part
    LIMIT %(limit)s OFFSET %(offset)s
)
SELECT
    wanted.charge_period_start AS starts_at,
    wanted.charge_period_end AS ends_at,
    coalesce(sub_account.account_id, payer.account_id, '') AS account,
    coalesce(service.service_name, service.service_code, '') AS service,
    coalesce(region.region_id, '') AS region,
    coalesce(charge.charge_category, '') AS category,
    coalesce(sku.charge_description, '') AS description,
    coalesce(resource.resource_id, '') AS resource,
    wanted.consumed_quantity AS quantity,
    coalesce(sku.consumed_unit, '') AS unit,
    wanted.billing_currency AS currency,
    wanted.cost AS amount
FROM wanted
LEFT JOIN dim_account AS sub_account ON sub_account.account_key = wanted.sub_account_key
LEFT JOIN dim_account AS payer ON payer.account_key = wanted.billing_account_key
LEFT JOIN dim_service AS service ON service.service_key = wanted.service_key
LEFT JOIN dim_region AS region ON region.region_key = wanted.region_key
LEFT JOIN dim_charge AS charge ON charge.charge_key = wanted.charge_key
LEFT JOIN dim_sku AS sku ON sku.sku_key = wanted.sku_key
LEFT JOIN dim_resource AS resource ON resource.resource_key = wanted.resource_key
ORDER BY wanted.cost DESC, wanted.statement_id, wanted.row_hash, wanted.occurrence, wanted.part
