-- What changed between two publications of a statement. A filter that is NULL matches everything.

-- name: match_statements
-- The statements that match the filters, with the number of the last publication of each.
SELECT statement.statement_id, statement.export_name, to_char(statement.billing_period, 'YYYY-MM') AS billing_period,
    (SELECT coalesce(max(number), 0) FROM billing_publications AS publication
        WHERE publication.statement_id = statement.statement_id) AS last_number
FROM billing_statements AS statement
WHERE (%(client)s::text IS NULL OR statement.client_id = %(client)s)
    AND (%(export)s::text IS NULL OR statement.export_name = %(export)s)
    AND (%(period)s::date IS NULL OR statement.billing_period = %(period)s)
    AND (%(statement)s::numeric IS NULL OR statement.statement_id = %(statement)s)
ORDER BY statement.statement_id

-- name: list_spans
-- Two publications of each statement: `later`, current at the requested end (without one, the latest), and `earlier`,
-- current at the requested start (without one, the publication before `later`); NULL if the statement was empty.
SELECT
    statement.statement_id, statement.client_id, statement.export_name,
    to_char(statement.billing_period, 'YYYY-MM') AS billing_period,
    earlier.publication_id AS from_publication_id, earlier.number AS from_number, earlier.kind AS from_kind,
    earlier.published_at AS from_published_at, earlier.delivery_id AS from_delivery_id,
    coalesce(earlier.counted, false) AS from_counted,
    later.publication_id AS to_publication_id, later.number AS to_number, later.kind AS to_kind,
    later.published_at AS to_published_at, later.delivery_id AS to_delivery_id, later.counted AS to_counted,
    between_them.rows_added, between_them.rows_removed
FROM billing_statements AS statement
CROSS JOIN LATERAL (
    SELECT * FROM billing_publications AS publication
    WHERE publication.statement_id = statement.statement_id
        AND (%(to_number)s::bigint IS NULL OR publication.number = %(to_number)s)
        AND (%(to_moment)s::timestamptz IS NULL OR publication.published_at <= %(to_moment)s)
    ORDER BY publication.number DESC LIMIT 1
) AS later
LEFT JOIN LATERAL (
    SELECT * FROM billing_publications AS publication
    WHERE publication.statement_id = statement.statement_id AND CASE
        WHEN %(from_number)s::bigint IS NOT NULL THEN publication.number = %(from_number)s
        WHEN %(from_moment)s::timestamptz IS NOT NULL THEN publication.published_at <= %(from_moment)s
        ELSE publication.number < later.number END
    ORDER BY publication.number DESC LIMIT 1
) AS earlier ON true
CROSS JOIN LATERAL (
    SELECT coalesce(sum(publication.rows_added), 0)::bigint AS rows_added,
        coalesce(sum(publication.rows_removed), 0)::bigint AS rows_removed
    FROM billing_publications AS publication
    WHERE publication.statement_id = statement.statement_id AND publication.number <= later.number
        AND publication.number > coalesce(earlier.number, 0)
) AS between_them
WHERE (%(client)s::text IS NULL OR statement.client_id = %(client)s)
    AND (%(export)s::text IS NULL OR statement.export_name = %(export)s)
    AND (%(period)s::date IS NULL OR statement.billing_period = %(period)s)
    AND (%(statement)s::numeric IS NULL OR statement.statement_id = %(statement)s)
ORDER BY statement.billing_period DESC, statement.client_id, statement.export_name, statement.statement_id

-- name: sum_changes
-- A statement's costs after a publication are its daily costs less all later restatements; without an earlier
-- publication it was empty. Level 0 are the groups that changed, 1 the totals of each statement, 3 the totals of all
-- counted ones. With any grouping, `has_moved` says whether any daily cost differs, and `restated_late` whether publications
-- after the month's end changed any.
WITH span AS (
    SELECT * FROM unnest(
        %(statement_ids)s::integer[], %(from_ids)s::bigint[], %(to_ids)s::bigint[], %(from_counted)s::boolean[],
        %(to_counted)s::boolean[]
    ) AS span (statement_id, from_id, to_id, from_counted, to_counted)
),
-- Each entry is one of four: a current cost, or a change before the end (early, or late: after the month was over)
-- or after it.
entry AS MATERIALIZED (
    SELECT statement_id, from_id, charge_date, billing_account_key, sub_account_key, service_key, region_key, charge_key,
        billing_currency, charge_count, is_now, is_early, is_late, is_after,
        CASE %(metric)s::text
            WHEN 'billed' THEN billed_cost WHEN 'effective' THEN effective_cost
            WHEN 'list' THEN list_cost WHEN 'contracted' THEN contracted_cost END AS cost
    FROM (
        SELECT statement_id, from_id, charge_date, billing_account_key, sub_account_key, service_key, region_key,
            charge_key, billing_currency, billed_cost, effective_cost, list_cost, contracted_cost, charge_count,
            true AS is_now, false AS is_early, false AS is_late, false AS is_after
        FROM span JOIN billing_daily_cost USING (statement_id)
        UNION ALL
        SELECT statement_id, from_id, charge_date, billing_account_key, sub_account_key, service_key, region_key,
            charge_key, billing_currency, billed_cost, effective_cost, list_cost, contracted_cost, charge_count,
            false,
            publication_id <= to_id AND published_at < (billing_period + interval '1 month') AT TIME ZONE 'UTC',
            publication_id <= to_id AND published_at >= (billing_period + interval '1 month') AT TIME ZONE 'UTC',
            publication_id > to_id
        FROM span
        -- The publications first: few of them match, and each changed many rows.
        JOIN billing_publications USING (statement_id)
        JOIN billing_restatement USING (statement_id, publication_id)
        WHERE publication_id > coalesce(from_id, 0)
    ) AS unpriced
),
-- The costs at both ends, by the requested columns. They are summed by key first, so that names are looked up once for
-- each cell and not for each of its changes.
held AS (
    SELECT
        statement_id,
        CASE WHEN 'day' = ANY (%(columns)s::text[]) THEN charge_date END AS charge_date,
        CASE WHEN 'account' = ANY (%(columns)s) THEN billing_account_key END AS billing_account_key,
        CASE WHEN 'account' = ANY (%(columns)s) THEN sub_account_key END AS sub_account_key,
        CASE WHEN 'service' = ANY (%(columns)s) THEN service_key END AS service_key,
        CASE WHEN 'region' = ANY (%(columns)s) THEN region_key END AS region_key,
        CASE WHEN 'category' = ANY (%(columns)s) THEN charge_key END AS charge_key,
        billing_currency, from_id IS NULL AS is_new,
        coalesce(sum(cost) FILTER (WHERE is_now), 0) - coalesce(sum(cost) FILTER (WHERE is_after), 0) AS new,
        coalesce(sum(cost) FILTER (WHERE is_early), 0) + coalesce(sum(cost) FILTER (WHERE is_late), 0) AS difference,
        sum(cost) FILTER (WHERE is_late) AS late,
        coalesce(sum(charge_count) FILTER (WHERE is_now), 0)
            - coalesce(sum(charge_count) FILTER (WHERE is_after), 0) AS new_count,
        coalesce(sum(charge_count) FILTER (WHERE is_early OR is_late), 0) AS count_difference
    FROM entry
    GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9
),
-- A sum of zero does not mean that nothing changed: one cell may have lost what another gained. A day's sum that is not
-- zero is always a change; a sum by key is not, because members that share a name may have lost and gained the same.
unclear AS (
    SELECT statement_id
    FROM (
        SELECT statement_id, sum(CASE WHEN is_new THEN new ELSE difference END) AS moved, sum(late) AS late
        FROM held
        GROUP BY statement_id, charge_date, billing_currency
    ) AS summed
    GROUP BY statement_id
    HAVING bool_and(moved = 0) OR bool_and(late = 0)
),
cell AS (
    SELECT false AS is_finest, held.* FROM held
    UNION ALL
    SELECT
        true, statement_id, charge_date, billing_account_key, sub_account_key, service_key, region_key, charge_key,
        billing_currency, from_id IS NULL,
        coalesce(sum(cost) FILTER (WHERE is_now), 0) - coalesce(sum(cost) FILTER (WHERE is_after), 0),
        coalesce(sum(cost) FILTER (WHERE is_early), 0) + coalesce(sum(cost) FILTER (WHERE is_late), 0),
        sum(cost) FILTER (WHERE is_late), 0, 0
    FROM entry
    WHERE (is_early OR is_late OR from_id IS NULL) AND statement_id IN (SELECT statement_id FROM unclear)
    GROUP BY 2, 3, 4, 5, 6, 7, 8, 9, 10
),
named AS NOT MATERIALIZED (
    SELECT
        is_finest, statement_id, charge_date,
        coalesce(sub_account.account_id, payer.account_id, '') AS account,
        coalesce(service.service_name, service.service_code, '') AS service,
        coalesce(region.region_id, '') AS region,
        coalesce(charge.charge_category, '') AS category,
        billing_currency AS currency, is_new, new, difference, late, new_count, count_difference
    FROM cell
    LEFT JOIN dim_service AS service USING (service_key)
    LEFT JOIN dim_region AS region USING (region_key)
    LEFT JOIN dim_charge AS charge USING (charge_key)
    LEFT JOIN dim_account AS sub_account ON sub_account.account_key = sub_account_key
    LEFT JOIN dim_account AS payer ON payer.account_key = billing_account_key
),
-- Members of a dimension that share a name are one.
moved AS (
    SELECT statement_id, bool_or(moved <> 0) AS has_moved, coalesce(bool_or(late <> 0), false) AS restated_late
    FROM (
        SELECT statement_id, sum(CASE WHEN is_new THEN new ELSE difference END) AS moved, sum(late) AS late
        FROM named
        GROUP BY is_finest, statement_id, charge_date, account, service, region, category, currency
    ) AS finest
    GROUP BY statement_id
),
requested AS (
    SELECT
        statement_id, currency, from_counted, to_counted, new, new_count,
        CASE WHEN is_new THEN 0 ELSE new - difference END AS old,
        CASE WHEN is_new THEN 0 ELSE new_count - count_difference END AS old_count,
        CASE WHEN 'account' = ANY (%(columns)s) THEN account ELSE '' END AS account,
        CASE WHEN 'service' = ANY (%(columns)s) THEN service ELSE '' END AS service,
        CASE WHEN 'region' = ANY (%(columns)s) THEN region ELSE '' END AS region,
        CASE WHEN 'day' = ANY (%(columns)s) THEN to_char(charge_date, 'YYYY-MM-DD') ELSE '' END AS day,
        CASE WHEN 'category' = ANY (%(columns)s) THEN category ELSE '' END AS category
    FROM named JOIN span USING (statement_id)
    WHERE NOT is_finest
),
summed AS (
    SELECT
        grouping(statement_id, account) AS level, statement_id, account, service, region, day, category, currency,
        sum(old) FILTER (WHERE from_counted) AS counted_old, sum(new) FILTER (WHERE to_counted) AS counted_new,
        sum(old) AS old, sum(new) AS new,
        sum(old_count) <> 0 OR sum(new_count) <> 0 AS is_held,
        coalesce(sum(old_count) FILTER (WHERE from_counted) <> 0, false)
            OR coalesce(sum(new_count) FILTER (WHERE to_counted) <> 0, false) AS is_counted
    FROM requested
    GROUP BY GROUPING SETS (
        (statement_id, account, service, region, day, category, currency), (statement_id, currency), (currency)
    )
),
ranked AS (
    SELECT
        level, statement_id, account, service, region, day, category, currency,
        CASE WHEN level = 3 THEN is_counted ELSE is_held END AS is_held,
        CASE WHEN level = 3 THEN coalesce(counted_old, 0) ELSE old END AS old,
        CASE WHEN level = 3 THEN coalesce(counted_new, 0) ELSE new END AS new,
        count(*) FILTER (WHERE level = 0) OVER () AS group_count,
        row_number() OVER (
            PARTITION BY level ORDER BY abs(new - old) DESC, statement_id, account, service, region, day, category,
                currency
        ) AS place
    FROM summed
    WHERE level > 0 OR old <> new
)
SELECT level, statement_id, account, service, region, day, category, currency, old, new, new - old AS difference,
    coalesce(has_moved, false) AS has_moved, coalesce(restated_late, false) AS restated_late, is_held, group_count
FROM ranked LEFT JOIN moved USING (statement_id)
WHERE level > 0 OR %(limit)s::bigint IS NULL OR place <= %(limit)s
ORDER BY level, place

-- name: list_moves
-- The publications, the newest first, each with what it changed by currency. The first publication of a statement
-- changes nothing. Differences are found by the same groups as in sum_changes.
WITH chosen AS (
    SELECT publication.publication_id, publication.statement_id, statement.client_id, statement.export_name,
        statement.billing_period, publication.number, publication.kind, publication.published_at, publication.counted,
        coalesce(statement.current_publication_id = publication.publication_id AND statement.counted, false)
            AS is_current,
        coalesce(statement.current_publication_id = publication.publication_id, false) AS is_standing,
        publication.billed_cost_before, publication.billed_cost_after
    FROM billing_publications AS publication
    JOIN billing_statements AS statement USING (statement_id)
    WHERE (%(client)s::text IS NULL OR statement.client_id = %(client)s)
        AND (%(export)s::text IS NULL OR statement.export_name = %(export)s)
        AND (%(period)s::date IS NULL OR statement.billing_period = %(period)s)
        AND (%(statement)s::numeric IS NULL OR publication.statement_id = %(statement)s)
    ORDER BY publication.published_at DESC, publication.publication_id DESC
    LIMIT %(limit)s OFFSET %(offset)s
),
entry AS NOT MATERIALIZED (
    SELECT publication_id, charge_date, billing_account_key, sub_account_key, service_key, region_key, charge_key,
        billing_currency AS currency,
        CASE %(metric)s::text
            WHEN 'billed' THEN billed_cost WHEN 'effective' THEN effective_cost
            WHEN 'list' THEN list_cost WHEN 'contracted' THEN contracted_cost END AS cost
    FROM chosen JOIN billing_restatement AS restatement USING (statement_id, publication_id)
),
total AS (
    SELECT publication_id, currency, sum(cost) AS difference FROM entry GROUP BY publication_id, currency
),
-- A sum of zero does not mean that nothing changed: one cell may have lost what another gained.
shifted AS (
    SELECT publication_id, currency
    FROM total
    JOIN entry USING (publication_id, currency)
    LEFT JOIN dim_service AS service USING (service_key)
    LEFT JOIN dim_region AS region USING (region_key)
    LEFT JOIN dim_charge AS charge USING (charge_key)
    LEFT JOIN dim_account AS sub_account ON sub_account.account_key = sub_account_key
    LEFT JOIN dim_account AS payer ON payer.account_key = billing_account_key
    WHERE total.difference = 0
    GROUP BY publication_id, currency, charge_date,
        coalesce(sub_account.account_id, payer.account_id, ''),
        coalesce(service.service_name, service.service_code, ''), coalesce(region.region_id, ''),
        coalesce(charge.charge_category, '')
    HAVING sum(cost) <> 0
),
moved AS (
    SELECT publication_id, jsonb_object_agg(currency, difference::text) AS difference
    FROM total
    WHERE difference <> 0 OR (publication_id, currency) IN (SELECT publication_id, currency FROM shifted)
    GROUP BY publication_id
)
SELECT publication_id, statement_id, client_id, export_name, to_char(billing_period, 'YYYY-MM') AS billing_period, number,
    kind, published_at, counted, is_current, is_standing, billed_cost_before, billed_cost_after,
    coalesce(difference, '{}') AS difference,
    difference IS NOT NULL AS has_moved,
    difference IS NOT NULL
        AND published_at >= (billing_period + interval '1 month') AT TIME ZONE 'UTC' AS closed_month_moved
FROM chosen LEFT JOIN moved USING (publication_id)
ORDER BY published_at DESC, publication_id DESC
