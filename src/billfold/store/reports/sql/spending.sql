-- What pages about costs need besides the sums: the months with bills, and the charges themselves.

-- name: list_months
SELECT DISTINCT billing_period FROM billing_statements
WHERE counted AND current_publication_id IS NOT NULL AND (%(client)s::text IS NULL OR client_id = %(client)s)
ORDER BY billing_period DESC

-- name: list_charged_days
-- For each client and currency in the bills of a month and of the month before: the first day that these bills charge, and
-- the last day of the month with usage in them. A bill is charged up to one day in all of its currencies: a currency
-- that it seldom charges has no day of its own. No filter of costs changes these days.
WITH cell AS MATERIALIZED (
    SELECT statement_id, billing_period, billing_currency, charge_key, min(charge_date) AS first_on,
        max(charge_date) FILTER (
            WHERE billing_period = %(month)s AND charge_date BETWEEN %(month)s AND %(ends_on)s::date) AS last_on
    FROM billing_daily_cost
    WHERE billing_period IN (%(month)s::date, %(before)s::date)
    GROUP BY statement_id, billing_period, billing_currency, charge_key
),
bill AS (
    SELECT cell.statement_id, min(cell.first_on) AS first_on,
        max(cell.last_on) FILTER (WHERE charge.charge_category = 'Usage') AS last_usage_on
    FROM cell
    JOIN dim_charge AS charge ON charge.charge_key = cell.charge_key
    GROUP BY cell.statement_id
)
SELECT statement.client_id AS client, held.billing_currency AS currency,
    bool_or(held.billing_period = %(month)s) AS has_month,
    min(bill.first_on) AS first_on,
    max(bill.last_usage_on) AS last_usage_on
FROM (SELECT DISTINCT statement_id, billing_period, billing_currency FROM cell) AS held
JOIN bill ON bill.statement_id = held.statement_id
JOIN billing_statements AS statement ON statement.statement_id = held.statement_id
WHERE statement.counted AND (%(client)s::text IS NULL OR statement.client_id = %(client)s)
GROUP BY statement.client_id, held.billing_currency
ORDER BY statement.client_id, held.billing_currency

-- name: has_split
-- Each statement is looked up by index: its first row is enough.
SELECT EXISTS (
    SELECT FROM billing_statements AS statement
    CROSS JOIN LATERAL (
        SELECT FROM billing_split_cost AS split
        WHERE split.statement_id = statement.statement_id AND split.billing_period = statement.billing_period
            AND split.billing_period BETWEEN %(since)s::date AND %(until)s::date
        LIMIT 1
    ) AS found
    WHERE statement.counted AND statement.billing_period BETWEEN %(since)s AND %(until)s
        AND (%(client)s::text IS NULL OR statement.client_id = %(client)s))

-- name: sum_savings
-- Usage of one month by what pays for it. {charged} is the daily costs, with tags if some are requested.
SELECT *, list - contracted AS negotiated, covered - covered_effective - unused AS net FROM (
    SELECT
        fact.billing_currency AS currency,
        coalesce(sum(fact.list_cost) FILTER (WHERE NOT charge.is_unused), 0) AS list,
        coalesce(sum(fact.contracted_cost) FILTER (WHERE NOT charge.is_unused), 0) AS contracted,
        coalesce(sum(fact.contracted_cost) FILTER (WHERE charge.is_used), 0) AS covered,
        coalesce(sum(fact.effective_cost) FILTER (WHERE charge.is_used), 0) AS covered_effective,
        coalesce(sum(fact.effective_cost) FILTER (WHERE charge.is_unused), 0) AS unused
    FROM {charged} AS fact
    JOIN (
        SELECT charge_key, charge_category, coalesce(commitment_discount_status = 'Used', false) AS is_used,
            coalesce(commitment_discount_status = 'Unused', false) AS is_unused
        FROM dim_charge WHERE charge_category = 'Usage'
    ) AS charge ON charge.charge_key = fact.charge_key
    WHERE {chosen}
    GROUP BY fact.billing_currency
) AS saved

-- name: chosen
-- Which charges or daily costs of one month are requested: the same ones that `selected` of costs.sql returns. The last
-- condition is the one for sets of tags, or true.
fact.billing_period = %(month)s
    AND fact.statement_id = ANY (ARRAY(
        SELECT statement.statement_id FROM billing_statements AS statement
        WHERE statement.counted AND statement.billing_period = %(month)s
            AND (%(client)s::text IS NULL OR statement.client_id = %(client)s)
            AND (%(export)s::text IS NULL OR statement.export_name = %(export)s)))
    AND (%(services)s::text[] IS NULL OR fact.service_key = ANY (ARRAY(
        SELECT service_key FROM dim_service
        WHERE coalesce(service_name, service_code, '') = ANY (%(services)s) OR service_code = ANY (%(services)s))))
    -- A charge without a sub-account, or with one that has no id, is its payer's.
    AND (%(accounts)s::text[] IS NULL AND %(owners)s::text[] IS NULL
        OR fact.sub_account_key = ANY (ARRAY({chosen_accounts} AND account.account_id IS NOT NULL))
        OR fact.billing_account_key = ANY (ARRAY({chosen_accounts}))
            AND (fact.sub_account_key IS NULL
                OR fact.sub_account_key = ANY (ARRAY(SELECT account_key FROM dim_account WHERE account_id IS NULL))))
    AND (%(regions)s::text[] IS NULL OR fact.region_key = ANY (ARRAY(
            SELECT region_key FROM dim_region WHERE coalesce(region_id, '') = ANY (%(regions)s)))
        OR fact.region_key IS NULL AND '' = ANY (%(regions)s))
    AND (%(categories)s::text[] IS NULL AND %(without)s::text[] = '{{}}' OR fact.charge_key = ANY (ARRAY(
        SELECT charge_key FROM dim_charge AS charge
        WHERE (%(categories)s IS NULL OR coalesce(charge_category, '') = ANY (%(categories)s))
            AND NOT ('tax' = ANY (%(without)s) AND coalesce(charge_category, '') = 'Tax')
            AND NOT ('credit' = ANY (%(without)s) AND coalesce(charge_category, '') = 'Credit')
            AND NOT ('refund' = ANY (%(without)s) AND {is_refund}))))
    AND {chosen_tags}

-- name: chosen_accounts
-- The requested accounts, or those whose owners are requested.
SELECT account.account_key FROM dim_account AS account
LEFT JOIN billing_account_owners AS owned
    ON owned.client_id = account.client_id AND owned.account_id = account.account_id
WHERE (%(accounts)s IS NULL OR coalesce(account.account_id, '') = ANY (%(accounts)s))
    AND (%(owners)s IS NULL OR coalesce(owned.owner, '') = ANY (%(owners)s))

-- name: list_charges
-- {metric} is one of the four costs. Which members of the small dimensions are wanted is known before the charges of the
-- month are read; names are looked up for the page alone.
WITH wanted AS (
    SELECT fact.*, fact.{metric} AS cost
    FROM billing_usage_fact AS fact
    WHERE {chosen}
        AND (%(after_cost)s::numeric IS NULL
            OR (-fact.{metric}, fact.statement_id, fact.row_hash, fact.occurrence, fact.part)
                > (-%(after_cost)s, %(after_statement_id)s::integer, %(after_row_hash)s::uuid,
                    %(after_occurrence)s::integer, %(after_part)s::integer))
    ORDER BY cost DESC, statement_id, row_hash, occurrence, part
    LIMIT %(limit)s
)
SELECT
    wanted.statement_id, wanted.row_hash, wanted.occurrence, wanted.part,
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
    wanted.cost AS amount,
    EXISTS (
        SELECT FROM billing_split_cost AS split
        WHERE split.billing_period = %(month)s AND split.statement_id = wanted.statement_id
            AND split.row_hash = wanted.row_hash AND split.occurrence = wanted.occurrence AND split.part = wanted.part
            AND split.allocation = 'parent') AS is_split
FROM wanted
LEFT JOIN dim_account AS sub_account ON sub_account.account_key = wanted.sub_account_key
LEFT JOIN dim_account AS payer ON payer.account_key = wanted.billing_account_key
LEFT JOIN dim_service AS service ON service.service_key = wanted.service_key
LEFT JOIN dim_region AS region ON region.region_key = wanted.region_key
LEFT JOIN dim_charge AS charge ON charge.charge_key = wanted.charge_key
LEFT JOIN dim_sku AS sku ON sku.sku_key = wanted.sku_key
LEFT JOIN dim_resource AS resource ON resource.resource_key = wanted.resource_key
ORDER BY wanted.cost DESC, wanted.statement_id, wanted.row_hash, wanted.occurrence, wanted.part
