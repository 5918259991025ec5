-- Costs. A filter that is NULL matches everything. {metric} is one of the four costs.

-- The sources of costs have the same columns. Daily costs are much smaller than the charges; they have no invoices, and
-- tags only if these are requested.

-- name: daily_cost
SELECT statement_id, billing_period, charge_date, billing_account_key, sub_account_key, service_key, region_key,
    charge_key, NULL::text AS invoice_id, NULL::integer AS tag_set_key, billing_currency, {metric} AS cost,
    NULL::text AS allocation, NULL::integer AS workload_key, NULL::integer AS workload_tags_key, NULL::text AS parent
FROM billing_daily_cost

-- name: daily_cost_as_of
SELECT statement_id, billing_period, charge_date, billing_account_key, sub_account_key, service_key, region_key,
    charge_key, NULL::text AS invoice_id, NULL::integer AS tag_set_key, billing_currency, {metric} AS cost,
    NULL::text AS allocation, NULL::integer AS workload_key, NULL::integer AS workload_tags_key, NULL::text AS parent
FROM daily_cost_as_of(%(as_of)s)

-- name: daily_tag_cost
SELECT statement_id, billing_period, charge_date, billing_account_key, sub_account_key, service_key, region_key,
    charge_key, NULL::text AS invoice_id, tag_set_key, billing_currency, {metric} AS cost,
    NULL::text AS allocation, NULL::integer AS workload_key, NULL::integer AS workload_tags_key, NULL::text AS parent
FROM billing_daily_tag_cost

-- name: charges
SELECT statement_id, billing_period, (charge_period_start AT TIME ZONE 'UTC')::date AS charge_date,
    billing_account_key, sub_account_key, service_key, region_key, charge_key, invoice_id, tag_set_key,
    billing_currency, {metric} AS cost,
    NULL::text AS allocation, NULL::integer AS workload_key, NULL::integer AS workload_tags_key, NULL::text AS parent
FROM billing_usage_fact

-- name: charges_as_of
SELECT statement_id, billing_period, (charge_period_start AT TIME ZONE 'UTC')::date AS charge_date,
    billing_account_key, sub_account_key, service_key, region_key, charge_key, invoice_id, tag_set_key,
    billing_currency, {metric} AS cost,
    NULL::text AS allocation, NULL::integer AS workload_key, NULL::integer AS workload_tags_key, NULL::text AS parent
FROM charges_as_of(%(as_of)s)

-- name: split_costs
-- What is added to any of the sources when workloads replace their parents. The charge of a parent is subtracted
-- unchanged: it does not belong to anything that is allocated.
SELECT statement_id, billing_period, (charge_period_start AT TIME ZONE 'UTC')::date AS charge_date,
    billing_account_key, sub_account_key, service_key, region_key, charge_key, NULL::text AS invoice_id, tag_set_key,
    billing_currency, cost,
    CASE WHEN allocation <> 'parent' THEN allocation END AS allocation,
    CASE WHEN allocation = 'workload' THEN resource_key END AS workload_key,
    CASE WHEN allocation = 'workload' THEN tag_set_key END AS workload_tags_key,
    CASE WHEN allocation <> 'parent' THEN parent_resource_id END AS parent
FROM billing_split_cost

-- name: split_costs_as_of
SELECT statement_id, billing_period, (charge_period_start AT TIME ZONE 'UTC')::date AS charge_date,
    billing_account_key, sub_account_key, service_key, region_key, charge_key, NULL::text AS invoice_id, tag_set_key,
    billing_currency, cost,
    CASE WHEN allocation <> 'parent' THEN allocation END AS allocation,
    CASE WHEN allocation = 'workload' THEN resource_key END AS workload_key,
    CASE WHEN allocation = 'workload' THEN tag_set_key END AS workload_tags_key,
    CASE WHEN allocation <> 'parent' THEN parent_resource_id END AS parent
FROM split_cost_as_of(%(as_of)s)

-- name: chosen_by_map
-- The condition for one of the two maps: of each key that is named the value must be one of those that are named. Sets of
-- tags are evaluated once each and represent their charges; 0 is none.
(%({map})s::jsonb IS NULL OR coalesce(tag_set_key, 0) IN (
    SELECT tag_set.tag_set_key
    FROM (SELECT tag_set_key, {map} FROM dim_tag_set UNION ALL SELECT 0, NULL) AS tag_set
    WHERE NOT EXISTS (
        SELECT FROM jsonb_each(%({map})s) AS wanted (key, accepted)
        WHERE NOT accepted ? coalesce(tag_set.{map} ->> wanted.key, ''))))

-- name: chosen_by_caller
-- The condition for one of the two callers: it must be one of the named ones; '' is none.
(%({callers})s::text[] IS NULL OR coalesce(tag_set_key, 0) IN (
    SELECT tag_set.tag_set_key
    FROM (SELECT tag_set_key, {caller} FROM dim_tag_set UNION ALL SELECT 0, NULL) AS tag_set
    WHERE coalesce(tag_set.{caller}, '') = ANY (%({callers})s)))

-- name: up_to_days
-- A source up to one day for each client and currency. What has no day is left out.
SELECT entry.* FROM ({source}) AS entry
JOIN billing_statements AS statement ON statement.statement_id = entry.statement_id
JOIN unnest(%(day_clients)s::text[], %(day_currencies)s::text[], %(days)s::date[]) AS last (client_id, currency, day)
    ON last.client_id = statement.client_id AND last.currency = entry.billing_currency AND entry.charge_date <= last.day

-- name: is_refund
-- CUR marks refunds. FOCUS has corrections of invoiced charges: what they take back and what they bill again are left
-- out together, or the same usage would count twice (I).
coalesce(charge.line_item_type = 'Refund' OR charge.line_item_type IS NULL
    AND charge.charge_class = 'Correction' AND charge.charge_category <> 'Credit', false)

-- name: only_by_tag_set
-- The condition that narrows the sets of tags to those that show one of the requested groups.
coalesce(tag_set_key, 0) IN (
    SELECT tag_set.tag_set_key
    FROM (
        SELECT tag_set_key, tags, cost_categories, iam_principal, user_identifier FROM dim_tag_set
        UNION ALL SELECT 0, NULL, NULL, NULL, NULL) AS tag_set
    WHERE coalesce({group}, '') = ANY (%(only)s::text[]))

-- name: selected
-- What passes the filters, with names. Sums by the requested keys come first, so that names are looked up once for each
-- sum and not for each charge. As of an earlier moment the source decides which statements counted.
cell AS MATERIALIZED (
    SELECT
        billing_period,
        CASE WHEN 'statement_id' = ANY (%(keys)s::text[]) THEN statement_id END AS statement_id,
        CASE WHEN 'charge_date' = ANY (%(keys)s) THEN charge_date END AS charge_date,
        CASE WHEN 'account_key' = ANY (%(keys)s) THEN billing_account_key END AS billing_account_key,
        CASE WHEN 'account_key' = ANY (%(keys)s) THEN sub_account_key END AS sub_account_key,
        CASE WHEN 'service_key' = ANY (%(keys)s) THEN service_key END AS service_key,
        CASE WHEN 'region_key' = ANY (%(keys)s) THEN region_key END AS region_key,
        CASE WHEN 'charge_key' = ANY (%(keys)s) THEN charge_key END AS charge_key,
        CASE WHEN 'invoice_id' = ANY (%(keys)s) THEN invoice_id END AS invoice_id,
        CASE WHEN 'tag_set_key' = ANY (%(keys)s) THEN tag_set_key END AS tag_set_key,
        CASE WHEN 'workload' = ANY (%(keys)s) THEN allocation END AS allocation,
        CASE WHEN 'workload' = ANY (%(keys)s) THEN workload_key END AS workload_key,
        CASE WHEN 'workload' = ANY (%(keys)s) THEN workload_tags_key END AS workload_tags_key,
        CASE WHEN 'parent' = ANY (%(keys)s) THEN parent END AS parent,
        billing_currency,
        sum(cost) AS cost
    FROM ({source}) AS entry
    WHERE statement_id IN (
            SELECT statement.statement_id FROM billing_statements AS statement
            WHERE (statement.counted OR %(as_of)s::timestamptz IS NOT NULL)
                AND (%(client)s::text IS NULL OR statement.client_id = %(client)s)
                AND (%(export)s::text IS NULL OR statement.export_name = %(export)s)
                AND (%(since)s::date IS NULL OR statement.billing_period >= %(since)s)
                AND (%(until)s::date IS NULL OR statement.billing_period <= %(until)s))
        AND (%(since)s::date IS NULL OR billing_period >= %(since)s)
        AND (%(until)s::date IS NULL OR billing_period <= %(until)s)
        AND {chosen_tags}
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
),
-- Each query of it skips the tables whose columns it does not use. A charge without a sub-account is its payer's.
named AS NOT MATERIALIZED (
    SELECT
        statement.client_id AS client,
        cell.charge_date,
        coalesce(service.service_name, service.service_code, '') AS service,
        service.service_code,
        coalesce(service.service_category, '') AS service_category,
        coalesce(sub_account.account_id, payer.account_id, '') AS account,
        coalesce(account_owner.owner, '') AS owner,
        coalesce(region.region_id, '') AS region,
        coalesce(charge.charge_category, '') AS category,
        coalesce(charge.charge_frequency, '') AS frequency,
        coalesce(charge.pricing_category, '') AS pricing,
        coalesce(charge.commitment_discount_status, '') AS commitment,
        {is_refund} AS is_refund,
        to_char(cell.charge_date, 'YYYY-MM-DD') AS day,
        to_char(cell.billing_period, 'YYYY-MM') AS month,
        coalesce(cell.invoice_id, '') AS invoice,
        tag_set.tags,
        tag_set.cost_categories,
        coalesce(tag_set.iam_principal, '') AS iam_principal,
        coalesce(tag_set.user_identifier, '') AS user_identifier,
        coalesce(cell.parent, '') AS parent,
        coalesce(nullif(cell.allocation, 'workload'), container.cluster, '') AS cluster,
        coalesce(nullif(cell.allocation, 'workload'), container.namespace, '') AS namespace,
        coalesce(nullif(cell.allocation, 'workload'), container.workload, '') AS workload,
        coalesce(nullif(cell.allocation, 'workload'), container.pod, '') AS pod,
        cell.billing_currency AS currency,
        cell.cost
    FROM cell
    LEFT JOIN billing_statements AS statement ON statement.statement_id = cell.statement_id
    LEFT JOIN dim_service AS service ON service.service_key = cell.service_key
    LEFT JOIN dim_account AS sub_account ON sub_account.account_key = cell.sub_account_key
    LEFT JOIN dim_account AS payer ON payer.account_key = cell.billing_account_key
    LEFT JOIN billing_account_owners AS account_owner
        ON account_owner.client_id = statement.client_id
        AND account_owner.account_id = coalesce(sub_account.account_id, payer.account_id)
    LEFT JOIN dim_region AS region ON region.region_key = cell.region_key
    LEFT JOIN dim_charge AS charge ON charge.charge_key = cell.charge_key
    LEFT JOIN dim_tag_set AS tag_set ON tag_set.tag_set_key = cell.tag_set_key
    LEFT JOIN dim_resource AS resource ON resource.resource_key = cell.workload_key
    LEFT JOIN dim_tag_set AS workload_tags ON workload_tags.tag_set_key = cell.workload_tags_key
    -- A Batch job runs as an ECS task: its environment says more than the cluster that AWS makes for it (I). The
    -- ReplicaSet of a Deployment changes its name with each rollout.
    CROSS JOIN LATERAL (
        SELECT
            coalesce(called.batch_compute_environment, called.cluster) AS cluster,
            coalesce(called.batch_job_queue, called.namespace) AS namespace,
            coalesce(called.batch_job_definition, called.ecs_service, called.deployment, called.workload_name)
                AS workload,
            coalesce(called.pod, called.task) AS pod
        FROM billfold_workload(workload_tags.tags, resource.resource_id) AS called
    ) AS container
),
selected AS NOT MATERIALIZED (
    SELECT * FROM named
    WHERE (%(services)s::text[] IS NULL OR service = ANY (%(services)s) OR service_code = ANY (%(services)s))
        AND (%(accounts)s::text[] IS NULL OR account = ANY (%(accounts)s))
        AND (%(regions)s::text[] IS NULL OR region = ANY (%(regions)s))
        AND (%(categories)s::text[] IS NULL OR category = ANY (%(categories)s))
        AND (%(owners)s::text[] IS NULL OR owner = ANY (%(owners)s))
        AND (%(parents)s::text[] IS NULL OR parent = ANY (%(parents)s))
        AND (%(clusters)s::text[] IS NULL OR cluster = ANY (%(clusters)s))
        AND (%(namespaces)s::text[] IS NULL OR namespace = ANY (%(namespaces)s))
        AND (%(workloads)s::text[] IS NULL OR workload = ANY (%(workloads)s))
        AND (%(pods)s::text[] IS NULL OR pod = ANY (%(pods)s))
        AND NOT ('tax' = ANY (%(without)s::text[]) AND category = 'Tax')
        AND NOT ('credit' = ANY (%(without)s) AND category = 'Credit')
        AND NOT ('refund' = ANY (%(without)s) AND is_refund)
)

-- name: sum_costs
-- {group_by} is one or more of the columns of `named` or values of its two maps. Level 0 are the groups, the most
-- expensive of them, level 1 the totals by month. {only} narrows the groups alone. A group that costs nothing because
-- workloads replace all of it is left out.
WITH {selected}
SELECT level, place, currency, amount FROM (
    (
        SELECT 0 AS level, ARRAY[{group_by}] AS place, currency, sum(cost) AS amount
        FROM selected WHERE {only} GROUP BY {group_by}, currency HAVING sum(cost) <> 0 OR NOT %(is_split)s::boolean
        ORDER BY amount DESC, place, currency
        LIMIT %(limit)s
    )
    UNION ALL
    SELECT 1, ARRAY[month], currency, sum(cost) FROM selected GROUP BY month, currency
) AS summed
ORDER BY level, amount DESC, place, currency

-- name: measure_costs
-- What the pace of each client in each currency is made of, in the bills of a month and of the month before it. The rate is
-- that of the days from `rate_from` up to, without it, `through`.
WITH {selected}
SELECT entry.client, entry.currency,
    coalesce(sum(cost) FILTER (WHERE in_month), 0) AS amount,
    coalesce(sum(cost) FILTER (WHERE NOT in_month AND charge_date <= compared_until), 0) AS before_to_date,
    coalesce(sum(cost) FILTER (WHERE NOT in_month), 0) AS before,
    coalesce(sum(cost) FILTER (WHERE is_usage AND charge_date >= rate_from AND charge_date < through), 0) AS usage,
    coalesce(sum(cost) FILTER (WHERE recurs AND charge_date >= rate_from AND charge_date < through), 0) AS recurring,
    coalesce(sum(cost) FILTER (WHERE in_month AND (is_usage OR recurs) AND charge_date >= through), 0) AS replaced
FROM (
    SELECT client, currency, charge_date, cost,
        month = to_char(%(month)s::date, 'YYYY-MM') AS in_month,
        category = 'Usage' AS is_usage,
        -- Monthly fees are charged on the first of a month.
        category = 'Purchase' AND frequency = 'Recurring' AND extract(day FROM charge_date) > 1 AS recurs
    FROM selected
) AS entry
JOIN unnest(%(span_clients)s::text[], %(span_currencies)s::text[], %(rate_from)s::date[], %(through)s::date[],
        %(compared_until)s::date[]) AS span (client, currency, rate_from, through, compared_until)
    ON span.client = entry.client AND span.currency = entry.currency
GROUP BY entry.client, entry.currency
ORDER BY entry.client, entry.currency
